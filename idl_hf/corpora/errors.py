"""What a reader says of input it cannot read."""

from dataclasses import dataclass, field
from pathlib import Path


class CorpusError(ValueError):
    """A malformed file, line or set of files; the message says where, what was expected and what to do."""


@dataclass
class ErrorLog:
    """on_error="raise" stops at the first malformed line; "skip" leaves out its dialogue, counts and remembers it."""

    on_error: str = "raise"
    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error={self.on_error!r} is unknown. The valid values are: 'raise', 'skip'.")

    def report(self, path: str | Path, line: int, problem: str) -> None:
        message = f"{path}:{line}: {problem}"
        if self.on_error == "raise":
            raise CorpusError(f"{message} Pass on_error='skip' to leave out such dialogues and have them counted.")
        self.messages.append(message)
