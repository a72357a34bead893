"""Whom a name means, where it is not written as the people's names are."""

from collections.abc import Iterable

from idl_hf.schema import comparable
from idl_hf.shown import visible


def alike(asked: str, names: Iterable[str]) -> list[str]:
    """Return the names that read like the one asked for, or that a terminal shows as it."""
    return [name for name in names if comparable(name) == comparable(asked) or visible(name) == asked]
