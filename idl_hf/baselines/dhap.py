"""DHAP: a chatbot by implicit profiles (Ma et al., SIGIR 2021).

No profile is given: a Transformer reads what the person answered before as a general profile, a memory of past posts
and answers is asked at each word of the reply (the dynamic profile), and the decoder generates or copies a word of the
person's past answers. Of the released code the masks are mended: there the general profile is always zero, and padding
can be copied.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idl_hf.baselines.inputs import Batch
from idl_hf.baselines.latent import beginning
from idl_hf.baselines.model import Baseline, BaselineConfig, masked_mean

_NOT_THERE = -1e4  # in place of a score, so that a row of these is not NaN


class DHAPConfig(BaselineConfig):
    """hidden is the size of words and of the decoder's state; layers and heads are those of the Transformers."""

    model_type = "idl_dhap"

    def __init__(self, layers: int = 1, **kwargs: object) -> None:
        super().__init__(layers=layers, **kwargs)  # type: ignore[arg-type]


class DHAP(Baseline):
    """The model."""

    config_class = DHAPConfig

    def __init__(self, config: DHAPConfig) -> None:
        super().__init__(config)
        size, sizes = config.hidden, config.limits
        self.words = nn.Embedding(config.vocab_size, size)
        self.places = nn.Embedding(sizes.line, size)  # within a line; each begins anew
        self.summary = nn.Parameter(torch.zeros(1, 1, size))  # reads the general profile
        self.answers, self.asked = _transformer(config), _transformer(config)
        self.start = nn.Linear(size, size)  # of the encoder of the post, by the general profile
        self.post = nn.GRU(size, size // 2, batch_first=True, bidirectional=True)
        self.reply = nn.GRU(size, size, batch_first=True)
        self.to_memory = nn.Linear(size, size, bias=False)
        self.to_copy = nn.Linear(size, size, bias=False)
        self.mix = nn.Linear(4 * size, size)
        self.switch = nn.Linear(4 * size, 2)
        self.post_init()

    def log_probs(self, batch: Batch, replies: Tensor) -> Tensor:
        """Return log-probs (B, R + 1, V) of generating or copying each token."""
        answers, general = self._answers(batch)
        keys = masked_mean(self._asked(batch), batch.posts_mask)
        values = masked_mean(answers, batch.replies_mask)
        lines_there = batch.replies_mask.any(-1)
        post, state = self._post(batch, general)
        begun = torch.cat([beginning(replies, self.config.end_token_id), replies], 1)
        states, _ = self.reply(self._embedded(begun), state)
        heard = _read(states, post, post, batch.context_mask)
        dynamic = _read(self.to_memory(states), keys, values, lines_there)
        together = torch.cat([heard, states, general[:, None].expand_as(states), dynamic], -1)
        generated = F.log_softmax(torch.tanh(self.mix(together)) @ self.words.weight.T, dim=-1)
        copied = self._copied(states, answers, batch)
        switch = F.log_softmax(self.switch(together), dim=-1)
        switch = torch.where(lines_there.any(-1)[:, None, None], switch, switch.new_tensor([0.0, _NOT_THERE]))
        return torch.logaddexp(switch[..., :1] + generated, switch[..., 1:] + copied)

    def _embedded(self, ids: Tensor) -> Tensor:
        """Return the words as vectors, as long as states are: they are tied to the output, and begin short."""
        return self.words(ids) * math.sqrt(self.config.hidden)

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the states of past answers, (B, lines, line, D), and the general profile (B, D)."""
        ids, mask = batch.replies, batch.replies_mask
        tokens = (self._embedded(ids) + self.places.weight[: ids.shape[-1]]).flatten(1, 2)
        whole = torch.cat([tokens, self.summary.expand(len(ids), -1, -1)], 1)
        there = torch.cat([mask.flatten(1), torch.ones_like(mask[:, :1, 0])], 1)
        states = self.answers(whole, src_key_padding_mask=~there)
        return states[:, :-1].unflatten(1, ids.shape[1:]), states[:, -1]

    def _asked(self, batch: Batch) -> Tensor:
        """Return the states of past posts, each read alone, (B, lines, line, D)."""
        ids, mask = batch.posts.flatten(0, 1), batch.posts_mask.flatten(0, 1)
        there = mask.clone()
        there[:, 0] = True  # a line of nothing is read, and counted nowhere
        states = self.asked(self._embedded(ids) + self.places.weight[: ids.shape[-1]], src_key_padding_mask=~there)
        return states.unflatten(0, batch.posts.shape[:2])

    def _post(self, batch: Batch, general: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states of the last turns (B, T, D) and what the decoder begins with (1, B, D)."""
        start = torch.stack(torch.tanh(self.start(general)).chunk(2, -1))  # (2, B, D / 2): each direction
        lengths = batch.context_mask.sum(1).clamp_min(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            self._embedded(batch.context), lengths, batch_first=True, enforce_sorted=False
        )
        states, last = self.post(packed, start.contiguous())
        states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=batch.context.shape[1])
        return states, last.transpose(0, 1).flatten(1)[None].contiguous()

    def _copied(self, states: Tensor, answers: Tensor, batch: Batch) -> Tensor:
        """Return the log-probs (B, R, V) of copying a token of the past answers."""
        there = batch.replies_mask.flatten(1)
        scores = self.to_copy(states) @ answers.flatten(1, 2).transpose(1, 2)
        shares = scores.masked_fill(~there[:, None], _NOT_THERE).softmax(-1) * there[:, None]
        places = batch.replies.flatten(1)[:, None].expand_as(shares)
        of_words = states.new_zeros(*states.shape[:2], self.config.vocab_size).scatter_add(-1, places, shares)
        return of_words.clamp_min(1e-12).log()


def _transformer(config: DHAPConfig) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        config.hidden, config.heads, 2 * config.hidden, config.dropout, activation="gelu", batch_first=True
    )
    return nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)


def _read(queries: Tensor, keys: Tensor, values: Tensor, there: Tensor) -> Tensor:
    """Return what queries (B, R, D) find among values (B, M, D) that are there, (B, R, D); zeros where none is."""
    scores = (queries @ keys.transpose(1, 2)) / math.sqrt(keys.shape[-1])
    shares = scores.masked_fill(~there[:, None], _NOT_THERE).softmax(-1) * there[:, None]
    return shares @ values
