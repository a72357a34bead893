"""What a reader says of input that it cannot read."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

MALFORMED = "dialogue that is malformed"
SKIP_ADVICE = "Pass on_error='skip' to leave out such dialogues and have them counted."
MEND_ADVICE = "Mend the line, or delete it."  # where there is no such option


class CorpusError(ValueError):
    """A malformed file, line or set of files; the message says where, what was expected and what to do."""


class MalformedError(Exception):
    """What is wrong with a line of a dialogue: the line's number and the problem, as `ErrorLog.report` takes them."""


@dataclass
class ErrorLog:
    """What of the input did not become a dialogue, and why: dialogues read + `drops` = dialogues in the files.
    A dialogue is one conversation as one person sees it. on_error="raise" stops at the first malformed line; "skip"
    leaves out its dialogue, counts and remembers it. What the corpus is known to hold and is left out by design is a
    `drop`; what was mended without losing a dialogue is a `note`."""

    on_error: str = "raise"
    messages: list[str] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    advice: str = SKIP_ADVICE

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error={self.on_error!r} is unknown. The valid values are: 'raise', 'skip'.")

    def report(self, path: str | Path, line: int, problem: str, dialogues: int = 1) -> None:
        """Raise CorpusError for a malformed line, or remember it and count it where such lines are skipped.
        dialogues: how many are lost by this; 0 where the loss shows elsewhere or is reported already."""
        message = f"{path}:{line}: {problem}"
        if self.on_error == "raise":
            raise CorpusError(f"{message} {self.advice}")
        self.messages.append(message)
        self.drops[MALFORMED] += dialogues
