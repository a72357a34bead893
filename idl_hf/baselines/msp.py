"""MSP: refining a dialogue history (Zhong et al., NAACL 2022).

The strongest of the systems without a profile. A user refiner takes people who talk alike, a topic refiner what they
and the person answered to posts near this one; both before the model, by sentence vectors (`refine`). The token
refiner scores each token of these answers by what the post attends to, and a GPT-2 continues the best few tokens and
the post. The refiner learns by matching: the true reply among the answers, and answers that share words with it. The
first two refiners are not in the public code; there the generator begins with random weights, and padding is attended
to.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idl_hf.baselines.inputs import IGNORED, Batch
from idl_hf.baselines.latent import causal_log_probs, stack
from idl_hf.baselines.model import Baseline, BaselineConfig, masked_mean

_OVERLAP = 0.2  # of an answer's tokens, from which it counts as matching


class MSPConfig(BaselineConfig):
    """kept: how many tokens of past answers the generator is shown."""

    model_type = "idl_msp"

    def __init__(self, kept: int = 100, **kwargs: Any) -> None:
        self.kept = kept
        super().__init__(**kwargs)


class MSP(Baseline):
    """The model."""

    config_class = MSPConfig
    stacks = ("generator",)

    def __init__(self, config: MSPConfig) -> None:
        super().__init__(config)
        size, sizes = config.hidden, config.limits
        self.words = nn.Embedding(config.vocab_size, size)  # of the refiner
        self.places = nn.Embedding(max(sizes.line, sizes.context, sizes.reply), size)
        layer = nn.TransformerEncoderLayer(size, config.heads, 2 * size, config.dropout, batch_first=True)
        self.reader = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.match = nn.Sequential(nn.Linear(3 * size, size), nn.ReLU(), nn.Linear(size, 1))
        self.generator = stack(config)
        self.post_init()

    def log_probs(self, batch: Batch, replies: Tensor) -> Tensor:
        """Return log-probs (B, R + 1, V) of a reply after the kept tokens and the post."""
        kept, there = self.refined(batch)
        before = self.generator.wte(torch.cat([kept, batch.context], 1))
        mask = torch.cat([there, batch.context_mask], 1)
        return causal_log_probs(self.generator, before, mask, replies, self.config.end_token_id)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the NLL per token and the refiner's cross-entropy of matching. The first does not reach the refiner,
        whose choice of tokens has no gradient."""
        terms = super().losses(batch)
        return {**terms, "match": self._match(batch)}

    @torch.no_grad()
    def refined(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the tokens of past answers that the post attends to most, (B, kept), in the order they stand in, and
        which of them are there."""
        ids, there = batch.replies.flatten(1), batch.replies_mask.flatten(1)
        kept = min(self.config.kept, ids.shape[1])
        scores = self.scores(batch).flatten(1).masked_fill(~there, -math.inf)
        best = scores.topk(kept, dim=1).indices.sort(dim=1).values
        return ids.gather(1, best), there.gather(1, best)

    def scores(self, batch: Batch) -> Tensor:
        """Return what the post attends to, (B, exchanges, line): of each token the most that a token of the post gives
        it within its answer."""
        post, answers = self._read(batch.context, batch.context_mask), self._lines(batch.replies, batch.replies_mask)
        shares = self._attention(post, answers, batch.replies_mask)  # (B, lines, T, line)
        return shares.masked_fill(~batch.context_mask[:, None, :, None], 0).amax(2)

    def _attention(self, post: Tensor, answers: Tensor, there: Tensor) -> Tensor:
        """Return how tokens of the post (B, T, D) share attention over each answer (B, lines, L, D)."""
        scores = torch.einsum("btd,bkld->bktl", self.query(post), self.key(answers)) / math.sqrt(post.shape[-1])
        return scores.masked_fill(~there[:, :, None], -1e4).softmax(-1) * there[:, :, None]

    def _match(self, batch: Batch) -> Tensor:
        """Return the cross-entropy of telling the true reply, and answers that share words with it, from others."""
        reply, reply_there = batch.labels.clamp_min(0), batch.labels != IGNORED
        length = batch.replies.shape[-1]
        candidates = torch.cat([_cut(reply, length)[:, None], batch.replies], 1)
        there = torch.cat([_cut(reply_there, length)[:, None], batch.replies_mask], 1)
        targets = overlap(candidates, there, reply, reply_there) > _OVERLAP
        post = self._read(batch.context, batch.context_mask)
        answers = self._lines(candidates, there)
        shares = self._attention(post, answers, there)
        heard = masked_mean(torch.einsum("bktl,bkld->bktd", shares, self.value(answers)), batch.context_mask[:, None])
        asked = masked_mean(post, batch.context_mask)[:, None].expand_as(heard)
        logits = self.match(torch.cat([heard, asked, heard * asked], -1))[..., 0]
        counted = there.any(-1)
        return F.binary_cross_entropy_with_logits(logits[counted], targets[counted].to(logits.dtype))

    def _lines(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self._read(ids.flatten(0, 1), mask.flatten(0, 1)).unflatten(0, ids.shape[:2])

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        there = mask.clone()
        there[:, 0] = True  # a line of nothing is read, and counted nowhere
        return self.reader(self.words(ids) + self.places.weight[: ids.shape[1]], src_key_padding_mask=~there)


def overlap(lines: Tensor, there: Tensor, reply: Tensor, reply_there: Tensor) -> Tensor:
    """Return which share of each line's tokens (B, K, L) the reply (B, R) has, (B, K)."""
    same = (lines[..., None] == reply[:, None, None]) & reply_there[:, None, None]
    shared = same.any(-1) & there
    return shared.sum(-1) / there.sum(-1).clamp_min(1)


def _cut(ids: Tensor, length: int) -> Tensor:
    return F.pad(ids[:, :length], (0, max(0, length - ids.shape[1])))
