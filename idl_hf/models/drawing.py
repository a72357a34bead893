"""How a reply's next token is drawn, one reply at a time, whatever others are computed along with it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor, MinPLogitsWarper, TemperatureLogitsWarper, TopPLogitsWarper

from idl_hf.models.generation import GenerationSettings
from idl_hf.models.replies import ReplyPenalty


class Drawer:
    """Draws the tokens of one reply from a generator of its own, so that a seed gives the same words again."""

    def __init__(self, settings: GenerationSettings, said: Sequence[int] = ()) -> None:
        """Take how words are drawn. said: tokens of the replies before, which the repetition penalty is of too."""
        self._settings = settings
        self._penalty = (
            ReplyPenalty(float(settings.repetition_penalty), said) if settings.repetition_penalty != 1 else None
        )
        self._warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(float(settings.temperature or 1))]
        if settings.top_p < 1:
            self._warpers.append(TopPLogitsWarper(float(settings.top_p)))
        if settings.min_p > 0:
            self._warpers.append(MinPLogitsWarper(float(settings.min_p)))
        self._generator = torch.Generator()
        if settings.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(settings.seed)

    def __call__(self, written: Sequence[int], logits: Tensor) -> int:
        """Return the next token of a reply. written: its tokens so far; logits: (vocabulary,)."""
        scores = logits[None].float()
        if self._penalty is not None:
            scores = self._penalty(torch.tensor([list(written)], dtype=torch.long, device=logits.device), scores)
        if self._settings.temperature == 0:
            return int(scores.argmax())
        # All that follows is of the few that top_k leaves: to sort a whole vocabulary takes longer than the model
        count = min(self._settings.top_k or scores.shape[-1], scores.shape[-1])
        scores, tokens = (part.cpu() for part in scores.topk(count))
        for warp in self._warpers:
            scores = warp(tokens, scores)
        return int(tokens[0, torch.multinomial(scores.softmax(-1)[0], 1, generator=self._generator)])
