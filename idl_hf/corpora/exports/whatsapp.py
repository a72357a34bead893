"""WhatsApp: the .txt of a chat, or the .zip with it, from Android and iOS.

    13/01/24, 21:05 - Ann: hello                  Android; a line without a time goes on with the message above it
    [13.01.24, 21:05:33] Ann: hello               iOS; what the app itself writes begins with a left-to-right mark

The export has no zone, and its dates stand in the order of the phone's language. What is no text is told by the mark,
by its brackets, or by the words of `whatsapp_words`.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports import whatsapp_words as words
from idl_hf.corpora.exports.dates import SPACE, TIME, from_match, order_of
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.parts import Part, parts

_MARKS = "[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]*"
_HEADS = {
    "Android": re.compile(rf"{_MARKS}{TIME}{_MARKS}{SPACE}[-–]{SPACE}", re.IGNORECASE),
    "iOS": re.compile(rf"{_MARKS}\[{_MARKS}{TIME}{_MARKS}\]{SPACE}", re.IGNORECASE),
}
_FILE = r"(?i:[^/]*\.txt)"
_LOOKED_AT = 50  # lines, in which a chat must have begun
_LONGEST_NAME = 100
_NAMED = re.compile(r"WhatsApp\b.{0,30}?(?:\bwith|\bmit|\bcon|\bavec|\bcom|\bmet| -)\s+(?P<name>.+)", re.IGNORECASE)
# White space is looked at from its beginning only: a long run of it would take quadratic time
_EDITED = re.compile(rf"(?<!\s)\s*\u200e?<(?:{words.EDITED})\.?>\s*$", re.IGNORECASE)
_EDITED_MARK = re.compile(r"(?<!\s)\s*\u200e<[^<>\n]{5,60}>\s*$")
_LINES = re.compile("\n| ?(?=\u200e<)")  # a caption may stand before the mark of its picture


class _Entry(NamedTuple):
    """A message with the lines that belong to it, and the number of the first."""

    number: int
    time: datetime
    text: str


def found(path: Path) -> bool:
    """Return whether one of the first lines begins as those of WhatsApp do."""
    try:
        with parts(path, _FILE, "a chat as .txt") as texts:
            head = _chat_of(texts, path).head().decode("utf-8", "replace")
        return any(map(_style, head.splitlines()[:_LOOKED_AT]))
    except (OSError, ValueError):
        return False


def read(path: Path, log: ErrorLog, date_order: str = "") -> Iterator[Message]:
    """Yield the messages. date_order: "dmy", "mdy" or "ymd", needed where the file does not tell."""
    with _lines(path, ErrorLog("skip")) as lines:
        style = next(filter(None, map(_style, lines)), None)
    if style is None:
        raise CorpusError(f"{path}:1: Expected lines as '13/01/24, 21:05 - Ann: hello', found none.")
    with _lines(path, ErrorLog("skip")) as lines:
        order = order_of(filter(None, map(_HEADS[style].match, lines)), date_order, path)
    name = _NAMED.match(path.stem)
    conversation = name["name"].strip() if name else ""
    with _lines(path, log) as lines:
        for entry in _entries(lines, style, order, path, log):
            yield _message(entry, path, conversation)


def _style(line: str) -> str | None:
    return next((style for style, head in _HEADS.items() if head.match(line)), None)


@contextmanager
def _lines(path: Path, log: ErrorLog) -> Iterator[Iterator[str]]:
    """Yield the lines of the chat, also of one in an archive or a folder."""
    with parts(path, _FILE, "a chat as .txt") as texts:
        yield _decoded(_chat_of(texts, path).lines(), log)


def _chat_of(texts: list[Part], path: Path) -> Part:
    named = [(part.name.rpartition("/")[2], part) for part in texts]
    chats = [part for name, part in named if name == "_chat.txt"]
    chats = chats or [part for name, part in named if _NAMED.match(name)] or texts
    if len(chats) != 1:
        found = ", ".join(part.name for part in chats[:5])
        raise CorpusError(f"{path}: Expected one chat, as _chat.txt or 'WhatsApp Chat with NAME.txt', found {found}.")
    return chats[0]


def _decoded(lines: Iterable[bytes], log: ErrorLog) -> Iterator[str]:
    for line in lines:
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            log.notes["line that is not UTF-8, of which some signs are replaced"] += 1
            yield line.decode("utf-8", "replace").rstrip("\r\n")


def _entries(lines: Iterator[str], style: str, order: str, path: Path, log: ErrorLog) -> Iterator[_Entry]:
    """Yield each message; lines before the first are reported. What has no date in the order is text, as a quote."""
    begun: datetime | None = None
    begin = 1
    pieces: list[str] = []
    for number, line in enumerate(lines, start=1):
        match = _HEADS[style].match(line)
        time = match and from_match(match, order)
        if match and time:
            if begun is not None:
                yield _Entry(begin, begun, "\n".join(pieces))
            elif any(part.strip() for part in pieces):
                _report_start(path, pieces, log)
            begun, begin, pieces = time, number, [line[match.end() :]]
        else:
            if match:  # the day is none, as of a quote, or where the order that was asked for is not that of the file
                log.notes["line that begins as a message does, with a date that is none, taken for text"] += 1
            pieces.append(line)
    if begun is not None:
        yield _Entry(begin, begun, "\n".join(pieces))
    elif any(part.strip() for part in pieces):
        _report_start(path, pieces, log)


def _report_start(path: Path, pieces: list[str], log: ErrorLog) -> None:
    log.report(path, 1, f"Expected a line that begins with a time, found {pieces[0][:80]!r}.")


def _message(entry: _Entry, path: Path, conversation: str) -> Message:
    written, colon, text = entry.text.partition(": ")
    if not colon and entry.text.rstrip().endswith(":") and "\n" not in entry.text:
        written, colon = entry.text.rstrip()[:-1], ":"  # an empty message
    speaker = re.sub(_MARKS, "", written).removeprefix("~").strip(" \u00a0\u202f")
    place, time = f"{path.name}:{entry.number}", entry.time
    if not colon or not speaker or "\n" in written or len(speaker) > _LONGEST_NAME or words.is_notice(entry.text):
        dropped = "call" if words.is_call(entry.text) else "system line"
        return Message("", "", place, time, conversation, dropped)
    text, dropped = _kept(text)
    return Message(speaker, text, place, time, conversation, dropped)


def _kept(text: str) -> tuple[str, str]:
    """Return what somebody wrote, and why it is nothing to learn from if it is none."""
    by_app = text.startswith("\u200e")
    text = _EDITED_MARK.sub("", _EDITED.sub("", text)) if not by_app else text
    lines = _LINES.split(text)
    written = [line for line in lines if not words.is_media(line)]
    if len(written) < len(lines):
        caption = "\n".join(written).strip()
        return caption, "" if caption else "media"
    plain = text.replace("\u200e", "").strip()
    for reason, is_such in words.REASONS.items():
        if is_such(plain):
            return "", reason
    if by_app:
        return "", "system line"
    return (text, "") if plain else ("", "empty")
