"""Which formats there are, and of which a file is: the modules of this folder that can find and read."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Protocol, cast

from idl_hf.command_line import did_you_mean
from idl_hf.corpora import exports
from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.parts import parts

AUTO = "auto"
_NAME_IT = (
    " Name the format to hear what is wrong with the file; csv reads a table whose columns are named by --text_column "
    "and --speaker_column."
)


class Read(Protocol):
    """The reader of a format. What it takes by name are its options."""

    def __call__(self, path: Path, log: ErrorLog, **options: str) -> Iterator[Message]:
        """Yield each entry of the file once."""


class Found(Protocol):
    """Tells whether a file is of a format, without reading all of it."""

    def __call__(self, path: Path) -> bool:
        """Return whether it is."""


class Format(Protocol):
    """The module of a format."""

    found: Found
    read: Read


def formats() -> list[str]:
    """Return the names of the formats, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(exports.__path__))
    return [name for name in names if all(hasattr(_module(name), part) for part in ("found", "read"))]


def format_of(name: str, path: Path) -> str:
    """Return the format of a file: the one that is named, or for "auto" the one that it is.
    Raises CorpusError for a file of none or of several, ValueError for a name that is none."""
    known = formats()
    listed = ", ".join(known)
    if name != AUTO and name not in known:
        meant = did_you_mean(name, [AUTO, *known])
        hint = " The format comes before the file." if Path(name).exists() else ""
        raise ValueError(f"Unknown format '{name}'.{meant}{hint} The formats are: {AUTO}, {listed}.")
    if not path.exists():
        raise CorpusError(f"The file '{path}' does not exist. Expected a chat export; the formats are: {listed}.")
    if name != AUTO:
        return name
    matching = [known_name for known_name in known if _module(known_name).found(path)]
    if len(matching) > 1:
        raise CorpusError(f"'{path}' can be read as {' and as '.join(matching)}. Name one of them instead of {AUTO}.")
    if not matching:
        raise CorpusError(
            f"'{path}' is in none of the formats that are known: {listed}.{_why_unread(path) or _NAME_IT}"
        )
    return matching[0]


def _why_unread(path: Path) -> str:
    """Return what no format could read, as a sentence; "" of what can be read."""
    try:
        with parts(path, ".*", "a file") as files:
            files[0].head()
    except CorpusError as error:
        return f" {error}"
    return ""


def reader_of(name: str) -> Read:
    """Return what reads files of the format."""
    return _module(name).read


def options_of(name: str) -> list[str]:
    """Return the options that the reader of the format takes."""
    return list(signature(reader_of(name)).parameters)[2:]


def _module(name: str) -> Format:
    return cast(Format, import_module(f"{exports.__name__}.{name}"))
