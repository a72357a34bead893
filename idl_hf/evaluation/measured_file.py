"""What is measured of a file of replies: their words. It has no log-probs, so their cells stay empty."""

from collections.abc import Sequence
from typing import Any, NoReturn

from idl_hf.evaluation.data import EvaluationData
from idl_hf.evaluation.measured_model import Judge, MeasuredLine, Notes, Reply
from idl_hf.models.responder import NoLogProbsError


class MeasuredFile(MeasuredLine):
    """A line of somebody's replies."""

    def __init__(
        self, label: str, replies: Sequence[Reply], data: EvaluationData, notes: Notes, judge: Judge | None
    ) -> None:
        self.label, self.data, self.notes, self.judge = label, data, notes, judge
        self.replies = list(replies)
        self.options, self.attention_rows, self.comparable_tokens = {"conditioning": "references"}, 0, True

    def nll(self, **options: Any) -> NoReturn:
        """Raise NoLogProbsError."""
        raise self._no_log_probs()

    def lineup(self, strangers: int | None = None) -> NoReturn:
        """Raise NoLogProbsError."""
        raise self._no_log_probs()

    def _no_log_probs(self) -> NoLogProbsError:
        return NoLogProbsError(
            f"{self.label} is a file of replies, which has no log-probs, so there is no NLL, persona gain and "
            "identification of it."
        )
