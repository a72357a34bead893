"""Tables with named columns, as iMazing (iMessage, WhatsApp), tools for Signal and SMS, and spreadsheets write them.

One message a row; speaker and text are needed, time and conversation are not. The columns are known by their names,
or named: `text_column`, `speaker_column`, `time_column`, `conversation_column`. An outgoing message without a speaker
is said by `me`. Where SMS and Signal are exported, a column such as `address` has the other person of sent messages
too: these are said by `me`, and the column tells the chats apart.
"""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports.dates import order_of, parse_time, written
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.files import open_text

ME = "me"
_HEAD = 1 << 17  # bytes that the names of columns fit into; JSON may be a line of gigabytes
_NAMES = {
    "text": ("text", "message", "body", "content", "message text", "message body", "msg"),
    "speaker": (
        *("speaker", "sender name", "sender", "from", "author", "from name", "name", "user", "username"),
        *("contact name", "sender id", "address", "handle", "phone"),
    ),
    "time": (
        *("time", "timestamp", "date", "datetime", "message date", "sent at", "sent", "date sent", "created at"),
        "readable date",
    ),
    "conversation": ("conversation", "chat session", "chat", "chat name", "thread", "group", "conversation id"),
    "direction": ("direction", "type", "kind"),
    "attachment": ("attachment", "attachments", "media"),
    "number": ("address", "handle", "phone"),
}  # fmt: skip
_OTHERS = ("contact name", *_NAMES["number"])  # of the speaker's names: those of the other person
_NAMELESS = ("", "(unknown)", "unknown")  # what a contact's name is where there is none, the same for all of them
_SENT = ("outgoing", "sent", "out", "from me", "2")  # Android writes numbers, 1 of what was received
_UNSENT = ("draft", "outbox", "failed", "queued", "3", "4", "5", "6")
_NOTICES = ("notification", "system", "notice")
_CALLS = ("call", "missed call", "incoming call", "outgoing call", "missed")


class _Columns(NamedTuple):
    """Where each kind of value stands in a row; -1 where the table has none."""

    text: int
    speaker: int
    time: int
    conversation: int
    direction: int
    attachment: int
    number: int  # of the other person, where the speaker's column has their name
    is_other: bool  # whether the speaker's column has the other person of sent messages too

    def cell(self, row: list[str], name: str) -> str:
        index = getattr(self, name)
        return row[index].strip() if index >= 0 else ""


def found(path: Path) -> bool:
    """Return whether the first line names a speaker and a text."""
    try:
        with open_text(path) as file:
            head = file.read(_HEAD).decode("utf-8-sig", "replace")
        names = next((row for _, row in _parsed(io.StringIO(head, newline=""), path)), [])
        return len(names) > 1 and all(_known(names, kind) >= 0 for kind in ("text", "speaker"))
    except (OSError, ValueError):
        return False


def read(
    path: Path,
    log: ErrorLog,
    date_order: str = "",
    text_column: str = "",
    speaker_column: str = "",
    time_column: str = "",
    conversation_column: str = "",
) -> Iterator[Message]:
    """Yield the messages in the order of the rows. Raises CorpusError for a table without the columns."""
    named = {
        "text": text_column, "speaker": speaker_column, "time": time_column, "conversation": conversation_column
    }  # fmt: skip
    with _rows(path) as rows:
        names = next(iter(rows), (0, []))[1]
    columns = _columns(path, names, named)
    order = "ymd"
    if columns.time >= 0:
        with _rows(path) as rows:
            cells = (row[columns.time] for _, row in islice(rows, 1, None) if len(row) == len(names))
            order = order_of(filter(None, map(written, cells)), date_order, path)
    with _rows(path) as rows:
        for line, row in islice(rows, 1, None):
            if len(row) != len(names):
                log.report(path, line, f"Expected {len(names)} columns as in the first line, found {len(row)}.")
            elif (message := _message(row, line, columns, order, path, log)) is not None:
                yield message


def _columns(path: Path, names: list[str], named: dict[str, str]) -> _Columns:
    """Return where the columns stand. Raises CorpusError where one is missing, or nothing tells what was sent."""
    indices = {kind: _column(path, names, kind, named.get(kind, "")) for kind in _NAMES}
    speaker = names[indices["speaker"]]
    is_other = _plain(speaker) in _OTHERS
    if is_other and not named["speaker"] and indices["direction"] < 0 and indices["conversation"] < 0:
        raise CorpusError(
            f"{path}:1: Expected a column such as direction or type, which tells what was sent, since '{speaker}' has "
            f"the other person of it too; found {_shown(names)}. Pass --speaker_column '{speaker}' if it has who says "
            "each message."
        )
    return _Columns(**indices, is_other=is_other and indices["direction"] >= 0)


def _known(names: list[str], kind: str) -> int:
    plain = list(map(_plain, names))
    return next((plain.index(name) for name in _NAMES[kind] if name in plain), -1)


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _column(path: Path, names: list[str], kind: str, named: str) -> int:
    if named and named not in names:
        raise CorpusError(f"{path}:1: Expected the column '{named}' (--{kind}_column), found {_shown(names)}.")
    index = names.index(named) if named else _known(names, kind)
    if index < 0 and kind in ("text", "speaker"):
        raise CorpusError(
            f"{path}:1: Expected a first line that names the columns, one of them the {kind}, found "
            f"{_shown(names)}. Pass --{kind}_column NAME."
        )
    return index


def _shown(names: list[str]) -> str:
    return ", ".join(" ".join(name.split()) for name in names)[:300] or "nothing"


@contextmanager
def _rows(path: Path) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Yield the rows that are not blank, the names of the columns first, each with the line in which it ends."""
    with open_text(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        yield _parsed(text, path)


def _parsed(text: TextIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        first = text.readline()
        text.seek(0)
        reader = csv.reader(text, delimiter=max(",;\t|", key=first.count))
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: Expected UTF-8 text, found the byte {error.object[error.start]:#x}.") from error
    except csv.Error as error:
        line = reader.line_num
        raise CorpusError(f"{path}:{line}: The table cannot be read: {error}. Is a quote left open?") from error


def _message(row: list[str], line: int, columns: _Columns, order: str, path: Path, log: ErrorLog) -> Message | None:
    """Return the message of a row, None where it was reported."""
    direction = columns.cell(row, "direction").casefold()
    written = columns.cell(row, "speaker")
    if columns.is_other and written.casefold() in _NAMELESS:
        written = columns.cell(row, "number") or written
    is_unsent = columns.is_other and direction in _UNSENT
    is_own = is_unsent or (direction in _SENT and (columns.is_other or not written))
    speaker = ME if is_own else written
    conversation = columns.cell(row, "conversation") or (written if columns.is_other else "")
    text, written_time = columns.cell(row, "text"), columns.cell(row, "time")
    time = parse_time(written_time, order) if written_time else None
    if written_time and time is None:
        log.report(path, line, f"Expected a time, found {written_time[:80]!r}.")
        return None
    dropped = "system line" if direction in _NOTICES else "call" if direction in _CALLS else ""
    dropped = "not sent" if is_unsent else dropped
    if not dropped and not text:
        dropped = "media" if columns.cell(row, "attachment") else "empty"
    if not dropped and not speaker:
        dropped = "no speaker"
    place = f"{path.name}:{line}"
    return Message(speaker, "" if dropped else text, place, time, conversation, dropped)
