"""What a YAML file holds as dataclasses: all fields known, and of the types that the dataclass names."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from idl_hf.command_line import KINDS

T = TypeVar("T")
_WORDS = {**KINDS, NoneType: "nothing"}


def filled(kind: type[T], values: object, source: str) -> T:
    """Return a dataclass with these values. source: what they are of. Raises ValueError for a field that is unknown,
    missing or of another type, and for what the dataclass itself refuses."""
    try:
        return kind(**checked(kind, values, source))
    except TypeError as error:
        raise ValueError(f"{source} lacks something: {error}.") from error


def checked(kind: type, values: object, source: str) -> dict[str, Any]:
    """Return values for fields of a dataclass. Raises ValueError for an unknown one and for one of another type."""
    if not isinstance(values, dict):
        raise ValueError(f"{source} must be a map, found {values!r:.80}.")
    refuse_unknown(f"field of {source}", values, [field.name for field in fields(kind)])
    hints = get_type_hints(kind)
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise ValueError(f"{name} of {source} must be {_in_words(hints[name])}, found {value!r:.80}.")
    return values


def refuse_unknown(kind: str, names: Iterable[object], known: Iterable[object]) -> None:
    """Raise ValueError, naming what is known, if any of the names is not."""
    known = list(known)
    unknown = [str(name) for name in names if name not in known]
    if unknown:
        raise ValueError(f"Unknown {kind}: {', '.join(unknown)}. Known are: {', '.join(map(str, known))}.")


def _fits(value: object, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in inner)
    if origin is Literal:
        return value in inner
    if origin is list:
        return isinstance(value, list) and all(_fits(entry, inner[0]) for entry in value)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            return False
        return all(_fits(key, inner[0]) and _fits(of_key, inner[1]) for key, of_key in value.items())
    if hint is float:
        return type(value) in (int, float)
    return hint is Any or type(value) is hint


def _in_words(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_in_words, inner))
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is list:
        return f"a list, each entry {_in_words(inner[0])}"
    if origin in (dict, Mapping):
        return "a map" if inner[1] is Any else f"a map, each value {_in_words(inner[1])}"
    return _WORDS.get(hint, "a map")
