"""What these systems are given: of a prompt its profile, its past exchanges and its last turns, as tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from idl_hf import token_ids
from idl_hf.schema import Message

IGNORED = -100  # in labels, as everywhere in transformers


@dataclass(frozen=True)
class Exchange:
    """What somebody said, and what the person answered."""

    post: str
    reply: str


@dataclass(frozen=True)
class Known:
    """What a system is told before a reply."""

    profile: str  # what the system message says, "" without one
    past: list[Exchange]  # of the person, in the order of the prompt; the last turn is not among them
    turns: list[str]  # of both, the last one the partner's


@dataclass(frozen=True)
class Sizes:
    """How much of everything a system takes, in tokens and exchanges. What is beyond is cut: of the past and the turns
    the oldest, of a text its end."""

    profile: int = 96
    exchanges: int = 15
    line: int = 24  # of a post or reply in the past
    turns: int = 1
    context: int = 64  # of all turns together
    reply: int = 40


@dataclass
class Batch:
    """Token ids and, in masks, which of them are there; B examples."""

    profile: Tensor  # (B, profile)
    profile_mask: Tensor
    posts: Tensor  # (B, exchanges, line)
    posts_mask: Tensor
    replies: Tensor  # (B, exchanges, line)
    replies_mask: Tensor
    context: Tensor  # (B, context)
    context_mask: Tensor
    labels: Tensor = field(default_factory=lambda: torch.zeros(0))  # (B, reply), the end included; IGNORED beyond
    denials: Tensor | None = None  # replies that deny the profile, as labels; IGNORED alone where there is none


def known_of(prompt: Sequence[Message]) -> Known:
    """Return what a prompt tells, whatever conditioning it was made with. Whose exchanges are of a past dialogue and
    whose of this one makes no difference."""
    system = [message["content"] for message in prompt if message["role"] == "system"]
    said = [message for message in prompt if message["role"] != "system"]
    past = [
        Exchange(said[i - 1]["content"] if i else "", message["content"])
        for i, message in enumerate(said)
        if message["role"] == "assistant"
    ]
    return Known("\n".join(system), past, [message["content"] for message in said])


class Encoder:
    """Texts to tokens of a fixed size. No text becomes a control token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, sizes: Sizes) -> None:
        """Raise ValueError for a tokenizer without a token that ends a text."""
        if tokenizer.eos_token_id is None:
            raise ValueError("The tokenizer has no eos_token, by which these systems end a reply. Take another.")
        self._tokenizer, self.sizes, self.end = tokenizer, sizes, int(tokenizer.eos_token_id)
        self._around = {tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.eos_token_id}

    def encode(self, known: Known, reply: str | None = None, denial: str = "") -> dict[str, Any]:
        """Return the tokens of one example, without padding; of the replies with the token that ends them.

        denial: a reply that denies the profile, "" without one.
        """
        sizes = self.sizes
        past = known.past[-sizes.exchanges :]
        context = [token for text in known.turns[-sizes.turns :] for token in (*self._ids(text), self.end)]
        encoded: dict[str, Any] = {
            "profile": self._ids(known.profile)[: sizes.profile],
            "posts": [self._ids(exchange.post)[: sizes.line] for exchange in past],
            "replies": [self._ids(exchange.reply)[: sizes.line] for exchange in past],
            "context": context[-sizes.context :],
        }
        if reply is not None:
            encoded["labels"] = [*self._ids(reply), self.end][: sizes.reply]
            encoded["denials"] = [*self._ids(denial), self.end][: sizes.reply] if denial else []
        return encoded

    def collate(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return a batch of examples as tensors, those of `Batch` by name."""
        sizes, batch = self.sizes, {}
        for name, length in (("profile", sizes.profile), ("context", sizes.context)):
            batch[name], batch[f"{name}_mask"] = self._padded([example[name] for example in examples], length)
        for name in ("posts", "replies"):
            lines = [[*example[name], *[[]] * (sizes.exchanges - len(example[name]))] for example in examples]
            ids, mask = self._padded([line for of_example in lines for line in of_example], sizes.line)
            shape = (len(examples), sizes.exchanges, sizes.line)
            batch[name], batch[f"{name}_mask"] = ids.view(shape), mask.view(shape)
        for name in ("labels", "denials") if "labels" in examples[0] else ():
            labels, mask = self._padded([example[name] for example in examples], sizes.reply)
            batch[name] = labels.masked_fill(~mask, IGNORED)
        return batch

    def _ids(self, text: str) -> list[int]:
        ids = token_ids.text_ids(self._tokenizer, text) if text else []
        return [token for token in ids if token not in self._around]

    def _padded(self, texts: Sequence[Sequence[int]], length: int) -> tuple[Tensor, Tensor]:
        ids = torch.full((len(texts), length), self.end)
        mask = torch.zeros(len(texts), length, dtype=torch.bool)
        for place, text in enumerate(texts):
            ids[place, : len(text)] = torch.tensor(text, dtype=torch.long)
            mask[place, : len(text)] = True
        return ids, mask
