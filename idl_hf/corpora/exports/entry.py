"""One entry of an export as its file writes it, and how it becomes a message or a line of the log."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports.message import Message

HALVES = "message with half of a character, which is shown as U+FFFD"
_HALF = re.compile("[\ud800-\udfff]")
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}


class Entry(NamedTuple):
    """A JSON value of an export, and where it stands. number: counts the entries of a list from 1, and is 0 of what
    has a line to itself."""

    value: object
    path: Path
    line: int
    number: int
    name: str = ""  # of the file within the export; that of `path` if it is the export

    @property
    def file(self) -> str:
        """Return the path of the file, through the export that holds it."""
        return f"{self.path}/{self.name}" if self.name else str(self.path)

    @property
    def place(self) -> str:
        """Return `file:line`; where a list is written in one line, with the entry's number behind it."""
        place = f"{self.name or self.path.name}:{self.line}"
        return f"{place}, entry {self.number}" if self.number and self.line == 1 else place


def parsed(entries: Iterable[Entry], log: ErrorLog, parse: Callable[[Entry], Message]) -> Iterator[Message]:
    """Yield the message of each entry; one that `parse` raises CorpusError for is reported to `log`.
    Halves of surrogate pairs, which JSON may hold and no file of UTF-8, are replaced and counted."""
    for entry in entries:
        try:
            message = parse(entry)
            if not message.dropped and not message.speaker.strip():
                raise CorpusError("Expected the name of who says this, found none.")
        except CorpusError as error:
            report(entry, log, str(error))
            continue
        if any(map(_HALF.search, (message.text, message.speaker, message.conversation))):
            log.notes[HALVES] += 1
            message = replace(
                message,
                speaker=_HALF.sub("\ufffd", message.speaker),
                text=_HALF.sub("\ufffd", message.text),
                conversation=_HALF.sub("\ufffd", message.conversation),
            )
        yield message


def report(entry: Entry, log: ErrorLog, problem: str) -> None:
    """Report a malformed entry to `log`, which raises CorpusError or counts it."""
    log.report(entry.file, entry.line, f"Entry {entry.number}: {problem}" if entry.number else problem)


def fields(value: object) -> dict[str, object]:
    """Return a JSON object. Raises CorpusError for any other value."""
    if not isinstance(value, dict):
        raise CorpusError(f"Expected an object, found {kind(value)}.")
    return value


def text(record: dict[str, object], key: str) -> str:
    """Return a field that is a text, "" where it is null or missing. Raises CorpusError for any other value."""
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise CorpusError(f"Expected '{key}' to be a text, found {kind(value)}.")
    return value or ""


def identifier(value: object) -> str:
    """Return an id, which some exports write as a number, as text; "" of any other value."""
    return str(value) if type(value) is int else value if isinstance(value, str) else ""


def kind(value: object) -> str:
    """Return what a JSON value is, in words. Never what it holds: that may be a page long, or private."""
    return _KINDS.get(type(value), "a number")
