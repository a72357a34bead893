"""BoB: BERT over BERT (Song et al., ACL 2021).

An encoder reads profile and query, a first decoder replies, and a second one, which sees the profile and the first
one's reply whole, rewrites it; it learns consistency from pairs of which the second sentence follows from the first,
by likelihood, or denies it, by unlikelihood. Where no corpus of such pairs is at hand the profile is the first
sentence, and the second is the person's reply, or the criterion reply that denies it, of type inconsistency. Unlike
the released code, the second decoder looks at the first sentence of a pair, sees to both sides as the paper's figure
has it, and its unlikelihood is -log(1 - p). What it is shown is the first decoder's own reply, not the true one, which
it could copy. Likelihoods are the first decoder's: the second has none of a reply that it has not read.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from idl_hf.baselines.inputs import IGNORED, Batch
from idl_hf.baselines.latent import beginning
from idl_hf.baselines.model import Baseline, BaselineConfig, shown

_SHARE = 0.01  # of the second decoder's losses beside the first's
_DENIED, _FOLLOWING = 0.4, 0.6  # of unlikelihood and likelihood in what is learnt of pairs
_NOISE = 0.3  # of the tokens of a pair's second sentence, which are hidden from the decoder that is to write it


class BoBConfig(BaselineConfig):
    """ramp_steps: of the first decoder alone."""

    model_type = "idl_bob"

    def __init__(self, **kwargs: Any) -> None:  # transformers makes one of its own where a class has none
        super().__init__(**kwargs)


class BoB(Baseline):
    """The model."""

    config_class = BoBConfig
    stacks = ("encoder", "first")

    def __init__(self, config: BoBConfig) -> None:
        super().__init__(config)
        self.encoder = BertModel(_bert(config), add_pooling_layer=False)
        self.first = BertModel(_bert(config, is_decoder=True, add_cross_attention=True), add_pooling_layer=False)
        self.second = nn.ModuleList(_Rewriter(config) for _ in range(config.layers))
        self.post_init()

    def log_probs(self, batch: Batch, replies: Tensor) -> Tensor:
        """Return the first decoder's log-probs (B, R + 1, V)."""
        return self._spoken(self._first(batch, replies))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the NLL per token of the first decoder and, after `ramp_steps`, those of the second and of pairs."""
        states = self._first(batch, shown(batch.labels))
        log_probs = self._spoken(states)
        terms = {"nll": self.nll(log_probs, batch.labels)}
        if self.steps.item() < self.config.ramp_steps:
            return terms
        there = batch.labels != IGNORED
        rewritten = self._second(batch, log_probs.argmax(-1), states, there)
        terms["rewritten"] = _SHARE * self.nll(rewritten, batch.labels)
        if batch.denials is not None and bool((batch.denials != IGNORED).any()):
            of_pair = (batch.denials != IGNORED).any(1)
            following = torch.where(of_pair[:, None], batch.labels, IGNORED)
            terms["following"] = _SHARE * _FOLLOWING * self.nll(self._from_noise(batch, following), following)
            denied = unlikelihood(self._from_noise(batch, batch.denials), batch.denials)
            terms["denied"] = _SHARE * _DENIED * denied
        return terms

    @torch.inference_mode()
    def write(self, batch: Batch, max_new_tokens: int) -> list[list[int]]:
        """Return the greedy reply of the first decoder as the second rewrites it, without what ends it."""
        drafts, end = super().write(batch, max_new_tokens), self.config.end_token_id
        length = 1 + max(map(len, drafts))
        ids = torch.tensor([[*draft, *[end] * (length - len(draft))] for draft in drafts], device=self.device)
        there = torch.tensor([[i <= len(draft) for i in range(length)] for draft in drafts], device=self.device)
        states = self._first(batch, ids[:, :-1])
        written = self._second(batch, ids, states, there).argmax(-1).tolist()
        rewritten = [row[: 1 + len(draft)] for row, draft in zip(written, drafts, strict=True)]
        return [row[: row.index(end)] if end in row else row for row in rewritten]

    def _first(self, batch: Batch, replies: Tensor) -> Tensor:
        """Return the first decoder's states, (B, R + 1, D)."""
        ids = torch.cat([batch.profile, batch.context], 1)
        there = torch.cat([batch.profile_mask, batch.context_mask], 1).long()
        kinds = torch.cat([torch.ones_like(batch.profile), torch.zeros_like(batch.context)], 1)
        read = self.encoder(input_ids=ids, attention_mask=there, token_type_ids=kinds).last_hidden_state
        begun = torch.cat([beginning(replies, self.config.end_token_id), replies], 1)
        return self.first(
            input_ids=begun, encoder_hidden_states=read, encoder_attention_mask=there, use_cache=False
        ).last_hidden_state

    def _second(self, batch: Batch, drafts: Tensor, states: Tensor, there: Tensor) -> Tensor:
        """Return the second decoder's log-probs (B, R, V) of what drafts (B, R) should be; states: of the first
        decoder, of which `there` tells which are of a reply."""
        profile = self.encoder.embeddings(input_ids=batch.profile, token_type_ids=torch.ones_like(batch.profile))
        rewritten = self.first.embeddings(input_ids=drafts)
        for layer in self.second:
            rewritten = layer(rewritten, profile, batch.profile_mask, states, there)
        return self._spoken(rewritten)

    def _from_noise(self, batch: Batch, labels: Tensor) -> Tensor:
        """Return the second decoder's log-probs (B, R, V) of a sentence of which it sees a part, and the profile."""
        there = labels != IGNORED
        hidden = (torch.rand(labels.shape, device=labels.device) < _NOISE) | ~there
        drafts = torch.where(hidden, self.config.end_token_id, labels)
        return self._second(batch, drafts, self.first.embeddings(input_ids=drafts), there)

    def _spoken(self, states: Tensor) -> Tensor:
        return F.log_softmax(states.float() @ self.first.embeddings.word_embeddings.weight.float().T, dim=-1)


class _Rewriter(nn.Module):
    """A layer of the second decoder: among the words of the draft, then on the profile, then on the first decoder's
    states."""

    def __init__(self, config: BoBConfig) -> None:
        super().__init__()
        size = config.hidden
        self.attend = nn.ModuleList(
            nn.MultiheadAttention(size, config.heads, config.dropout, batch_first=True) for _ in range(3)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(4))
        self.feed = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, draft: Tensor, profile: Tensor, profile_mask: Tensor, states: Tensor, there: Tensor) -> Tensor:
        """Return the draft's states after this layer, (B, R, D)."""
        for attend, norm, (keys, mask) in zip(
            self.attend, self.norms, ((draft, there), (profile, profile_mask), (states, there)), strict=False
        ):
            mask = mask.clone()
            mask[:, 0] = True  # where nothing is there, something must be looked at
            found, _ = attend(draft, keys, keys, key_padding_mask=~mask, need_weights=False)
            draft = norm(draft + found)
        return self.norms[-1](draft + self.feed(draft))


def unlikelihood(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of -log(1 - p) over the tokens of labels (Welleck et al. 2020), of log-probs (B, R, V)."""
    picked = log_probs.gather(-1, labels.clamp_min(0)[..., None])[..., 0]
    there = labels != IGNORED
    unlikely = -torch.log1p(-picked.exp().clamp_max(1 - 1e-6))
    return (unlikely * there).sum() / there.sum()


def _bert(config: BoBConfig, **more: Any) -> BertConfig:
    if config.backbone:
        return BertConfig(**{**config.backbone, **more, "pad_token_id": None})
    sizes = config.limits
    return BertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=4 * config.hidden,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        max_position_embeddings=max(sizes.profile + sizes.context, sizes.reply + 1),
        pad_token_id=None,  # the end of a reply is a word as others are
        **more,
    )
