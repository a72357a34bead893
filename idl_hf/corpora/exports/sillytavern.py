"""SillyTavern and kin: a chat as JSON Lines, a header with the names and then a message a line.

Of the `swipes` of a message, its other versions, `mes` is the one that was chosen; they are no messages of the chat.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports import entry as entries
from idl_hf.corpora.exports.entry import Entry, fields, kind, parsed
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.parts import beginning
from idl_hf.corpora.exports.records import read_records
from idl_hf.corpora.exports.times import from_iso, from_unix

_LINES = r"[^/]*\.jsonl"
_HEADER = ("user_name", "character_name", "chat_metadata")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WORDS = re.compile(r"([A-Za-z]{3})[a-z]*\.? (\d{1,2}), (\d{4}),? (\d{1,2}):(\d\d)(?::(\d\d))? ?([ap])m", re.I | re.A)
_UNITS = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2}) ?@ ?(\d{1,2})h ?(\d{1,2})m ?(?:(\d{1,2})s)? ?(?:(\d{1,3})ms)?", re.ASCII
)


def found(path: Path) -> bool:
    """Return whether this is a chat of SillyTavern."""
    first = beginning(path, _LINES)
    if not isinstance(first, dict) or "messages" in first:
        return False
    return {"mes", "is_user"} <= first.keys() or "chat_metadata" in first or set(_HEADER[:2]) <= first.keys()


def read(path: Path, log: ErrorLog) -> Iterator[Message]:
    """Yield the messages. The header, which is none, gives the names of those who have none."""
    header: dict[str, object] = {}
    begun: set[str] = set()
    for entry in read_records(path, log):
        record = entry.value
        is_first = entry.file not in begun
        if is_first:
            begun.add(entry.file)
            header = {}
        if is_first and isinstance(record, dict) and "mes" not in record and any(key in record for key in _HEADER):
            header = record
        else:
            chat = entry.name.removesuffix(".jsonl")
            yield from parsed([entry], log, partial(_message, header=header, conversation=chat))


def _message(entry: Entry, header: dict[str, object], conversation: str) -> Message:
    record = fields(entry.value)
    if not isinstance(record.get("mes"), str):
        raise CorpusError(f"Expected the text of a message as its 'mes', found {kind(record.get('mes'))}.")
    text = entries.text(record, "mes")
    is_user = record.get("is_user") is True
    named = header.get("user_name" if is_user else "character_name")
    speaker = entries.text(record, "name") or (named if isinstance(named, str) else "")
    extra = record.get("extra")
    extra = extra if isinstance(extra, dict) else {}
    if record.get("is_system") is True or extra.get("type") in ("narrator", "comment", "help", "welcome"):
        dropped = "system line"
    else:
        dropped = "" if text.strip() else "media" if extra.get("image") or extra.get("file") else "empty"
    return Message(
        speaker, "" if dropped else text, entry.place, time_of(record.get("send_date")), conversation, dropped
    )


def time_of(date: object) -> datetime | None:
    """Return when a message was sent, which versions of the program write in five ways; None of any other value."""
    if not isinstance(date, str) or date.isdigit():
        return from_unix(date, 1000)
    date = date.strip()
    if match := _WORDS.fullmatch(date):  # June 19, 2023 2:20pm
        month, day, year, hour, minute, second, half = match.groups()
        if month.lower() not in _MONTHS:
            return None
        numbers = [
            year,
            _MONTHS.index(month.lower()) + 1,
            day,
            int(hour) % 12 + 12 * (half in "pP"),
            minute,
            second,
            0,
        ]
    elif match := _UNITS.fullmatch(date):  # 2023-6-19 @14h 20m 5s 250ms
        numbers = [*match.groups()[:6], int(match[7] or 0) * 1000]
    else:
        return from_iso(date)
    try:
        year, month, day, hour, minute, second, micro = (int(number or 0) for number in numbers)
        return datetime(year, month, day, hour, minute, second, micro)
    except ValueError:
        return None
