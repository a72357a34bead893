"""Telegram Desktop: `result.json`, of one chat or of all (`chats.list`); also its folder.

Times are written as the local clock showed them and as seconds since 1970; together they give the zone. A forwarded
text is not the speaker's own, and what was sent "via" a bot is the bot's.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports import entry as entries
from idl_hf.corpora.exports.entry import Entry, fields, identifier, kind, parsed
from idl_hf.corpora.exports.json_reader import JsonReader
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.names import Names, distinct
from idl_hf.corpora.exports.parts import beginning, parts
from idl_hf.corpora.exports.times import from_iso, from_unix

_FILE = r"result\.json"
_CALLS = ("phone_call", "group_call", "conference_call", "invite_to_group_call")
_FORWARDED = ("forwarded_from", "forwarded_from_id", "saved_from")  # null where the account is gone
_MEDIA = (
    *("media_type", "photo", "file", "location_information", "place_name", "poll", "contact_information"),
    *("game_title", "invoice_information", "todo_list", "dice", "giveaway_information", "paid_media", "contact_vcard"),
)


def found(path: Path) -> bool:
    """Return whether this is an export of Telegram Desktop."""
    export = beginning(path, _FILE)
    if not isinstance(export, dict):
        return False
    if isinstance(export.get("messages"), list):
        first = next(iter(export["messages"]), {"date": "", "type": ""})
        return isinstance(export.get("type"), str) and isinstance(first, dict) and {"date", "type"} <= first.keys()
    return isinstance(export.get("about"), str) and bool(
        {"chats", "left_chats", "personal_information", "contacts", "profile_pictures"} & export.keys()
    )


def read(path: Path, log: ErrorLog) -> Iterator[Message]:
    """Yield the messages, chat by chat in the order of the file."""
    with parts(path, _FILE, "a result.json") as files:
        for file in files:
            with file.reader() as reader:
                yield from _read_export(reader, log)


def _read_export(reader: JsonReader, log: ErrorLog) -> Iterator[Message]:
    chats: dict[str, str] = {}
    people = Names()
    has_chats, name = False, ""
    for key in reader.members():
        has_chats = has_chats or key in ("messages", "chats", "left_chats")
        if key == "messages":
            yield from _read_messages(reader, log, name, people)
        elif key == "name":
            name = identifier(reader.value())
        elif key in ("chats", "left_chats"):
            for inner in reader.members():
                if inner == "list":
                    yield from _read_chats(reader, log, chats, people)
                else:
                    reader.value()
        else:
            reader.value()
    if not has_chats:
        raise reader.error("Expected 'messages' or 'chats', found neither. Export with the box for chats ticked.")


def _read_chats(reader: JsonReader, log: ErrorLog, taken: dict[str, str], people: Names) -> Iterator[Message]:
    for number in reader.elements():
        if reader.peek() != "{":
            chat = reader.entry(number)
            entries.report(chat, log, f"Expected a chat, found {kind(chat.value)}.")
            continue
        about: dict[str, object] = {}
        for key in reader.members():
            if key == "messages":
                identity = identifier(about.get("id")) or str(number)
                name = identifier(about.get("name"))  # null where the other's account is gone
                name = name or f"{identifier(about.get('type')) or 'chat'} {identity}"
                yield from _read_messages(reader, log, distinct(name, identity, taken), people)
            else:
                about[key] = reader.value()


def _read_messages(reader: JsonReader, log: ErrorLog, conversation: str, people: Names) -> Iterator[Message]:
    return parsed(reader.entries(), log, partial(_message, conversation=conversation, people=people))


def _message(entry: Entry, conversation: str, people: Names) -> Message:
    record = fields(entry.value)
    is_message = entries.text(record, "type") in ("message", "unsupported")
    who = ("from", "from_id") if is_message else ("actor", "actor_id")
    identity = identifier(record.get(who[1]))  # a number in the exports until 2021
    name = entries.text(record, who[0])
    written, dropped = "", _why_dropped(record)
    if not dropped:
        written = _text_of(record)
        dropped = "" if written.strip() else "media" if any(key in record for key in _MEDIA) else "empty"
    speaker = people.name_of(identity or name, name) or identity or "deleted account"
    return Message(speaker, "" if dropped else written, entry.place, _time_of(record), conversation, dropped)


def _why_dropped(record: dict[str, object]) -> str:
    match record.get("type"):
        case "message":
            return (
                "forwarded" if any(key in record for key in _FORWARDED) else "via a bot" if "via_bot" in record else ""
            )
        case "unsupported":
            return "media"
        case "service":
            return "call" if record.get("action") in _CALLS else "system line"
        case _:
            raise CorpusError("Expected the 'type' of a message.")


def _text_of(record: dict[str, object]) -> str:
    """Return the text, which is a list of texts and of formatted pieces if a piece of it is formatted."""
    pieces = record.get("text")
    if not isinstance(pieces, list):
        return entries.text(record, "text")
    return "".join(piece if isinstance(piece, str) else entries.text(fields(piece), "text") for piece in pieces)


def _time_of(record: dict[str, object]) -> datetime | None:
    local, utc = from_iso(record.get("date")), from_unix(record.get("date_unixtime"))
    if local is None or utc is None or local.tzinfo:
        return local or utc
    offset = timedelta(minutes=round((local.replace(tzinfo=UTC) - utc) / timedelta(minutes=1)))
    return local.replace(tzinfo=timezone(offset)) if abs(offset) < timedelta(days=1) else utc
