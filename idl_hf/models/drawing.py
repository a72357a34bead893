"""How a reply's next token is drawn, one reply at a time, whatever others are computed along with it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor, MinPLogitsWarper, TemperatureLogitsWarper, TopPLogitsWarper

from idl_hf.models.replies import ReplyPenalty


@dataclass(frozen=True)
class Drawing:
    """Settings of `generate` for a reply: the likeliest token, unless the temperature is above 0.

    said: tokens of the replies before, which the repetition penalty is of too. seed None: other words each time.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 50
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    said: Sequence[int] = ()


class Drawer:
    """Draws the tokens of one reply from a generator of its own, so that a seed gives the same words again."""

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._penalty = (
            ReplyPenalty(drawing.repetition_penalty, drawing.said) if drawing.repetition_penalty != 1 else None
        )
        self._warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(float(drawing.temperature or 1))]
        if drawing.top_p < 1:
            self._warpers.append(TopPLogitsWarper(float(drawing.top_p)))
        if drawing.min_p > 0:
            self._warpers.append(MinPLogitsWarper(float(drawing.min_p)))
        self._generator = torch.Generator()
        if drawing.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(drawing.seed)

    def __call__(self, written: Sequence[int], logits: Tensor) -> int:
        """Return the next token of a reply. written: its tokens so far; logits: (vocabulary,)."""
        scores = logits[None].float()
        if self._penalty is not None:
            scores = self._penalty(torch.tensor([list(written)], dtype=torch.long, device=logits.device), scores)
        if self._drawing.temperature == 0:
            return int(scores.argmax())
        # All that follows is of the few that top_k leaves: to sort a whole vocabulary takes longer than the model
        count = min(self._drawing.top_k or scores.shape[-1], scores.shape[-1])
        scores, tokens = (part.cpu() for part in scores.topk(count))
        for warp in self._warpers:
            scores = warp(tokens, scores)
        return int(tokens[0, torch.multinomial(scores.softmax(-1)[0], 1, generator=self._generator)])
