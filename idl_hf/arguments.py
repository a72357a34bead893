"""How the options of the verbs, builders and scripts are declared: fields with a help text. Imports nothing heavy."""

from collections.abc import Sequence
from dataclasses import field
from typing import Any, TypeVar

_T = TypeVar("_T")


def option(default: _T, text: str, choices: Sequence[_T] = ()) -> _T:
    """Return a dataclass field: an option with its default, its help and, where these are few, its values."""
    return field(default=default, metadata={"help": text, **({"choices": choices} if choices else {})})


def required(text: str, *aliases: str) -> Any:
    """Return a dataclass field without a default: an option that must be given, with its help and other spellings."""
    return field(metadata={"help": text, **({"aliases": list(aliases)} if aliases else {})})


def refuse_less_than_one(**counts: int | None) -> None:
    """Raise ValueError for the first option whose count is less than one; None is one that was not given."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"--{name} must be 1 or more, found {count}.")
