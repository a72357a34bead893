"""Discord, as DiscordChatExporter writes a channel to JSON; also a folder of such files, a channel each."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports import entry as entries
from idl_hf.corpora.exports.entry import Entry, fields, parsed
from idl_hf.corpora.exports.json_reader import JsonReader
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.names import Names, distinct
from idl_hf.corpora.exports.parts import Part, parts
from idl_hf.corpora.exports.times import from_iso

_FILE = r"[^/]*\.json"
_PART = re.compile(r" \[part (\d{1,9})\]\.json\Z")
_LOOKED_AT = 50  # files, one of which must be a channel
_SAID = ("Default", "Reply")
_MEDIA = ("attachments", "stickers", "embeds", "poll")
_GIF = re.compile(r"https?://(?:[\w-]+\.)*(?:tenor|giphy)\.com/\S+")  # what choosing a GIF writes


def found(path: Path) -> bool:
    """Return whether this is an export of DiscordChatExporter."""
    try:
        with parts(path, _FILE, "JSON") as files:
            return any(_is_channel(file.beginning()) for file in files[:_LOOKED_AT])
    except CorpusError:
        return False


def read(path: Path, log: ErrorLog) -> Iterator[Message]:
    """Yield the messages, channel by channel."""
    people = Names()
    with parts(path, _FILE, "JSON files of DiscordChatExporter") as files:
        chats: dict[str, str] = {}
        for file in sorted(files, key=_place):
            start = file.beginning()
            if len(files) > 1 and start is not None and not _is_channel(start):
                log.notes["JSON file that is no channel, as an attachment, left out"] += 1
                continue
            with file.reader() as reader:
                yield from _read_channel(reader, file, log, chats, people)


def _place(file: Part) -> tuple[str, int]:
    """Return where a file stands among others: "chess [part 10].json" after "chess [part 9].json" and "chess.json"."""
    match = _PART.search(file.name)
    return (file.name[: match.start()], int(match[1])) if match else (file.name.removesuffix(".json"), 1)


def _is_channel(export: object) -> bool:
    return isinstance(export, dict) and isinstance(export.get("channel"), dict) and "guild" in export


def _read_channel(
    reader: JsonReader, file: Part, log: ErrorLog, taken: dict[str, str], people: Names
) -> Iterator[Message]:
    """Yield the messages of a file. The files of a channel that was exported in parts are one conversation."""
    chat, has_messages = file.name.removesuffix(".json"), False
    for key in reader.members():
        if key == "messages":
            has_messages = True
            yield from parsed(reader.entries(), log, partial(_message, conversation=chat, people=people))
        elif key == "channel":
            channel = fields(reader.value())
            identity = entries.text(channel, "id") or file.name
            chat = distinct(entries.text(channel, "name") or chat, identity, taken)
        else:
            reader.value()
    if not has_messages:
        raise reader.error("Expected a channel with 'messages', found none. Export it again as JSON.")


def _message(entry: Entry, conversation: str, people: Names) -> Message:
    record = fields(entry.value)
    author = fields(record.get("author"))
    name = entries.text(author, "nickname") or entries.text(author, "name")
    identity = entries.text(author, "id") or name
    text = entries.text(record, "content")
    dropped = _why_dropped(record, author, text)
    return Message(
        people.name_of(identity, name) or identity,
        "" if dropped else text,
        entry.place,
        from_iso(record.get("timestamp")),
        conversation,
        dropped,
    )


def _why_dropped(record: dict[str, object], author: dict[str, object], text: str) -> str:
    """Return why a message is not what its author typed; "" of one that is."""
    kind = entries.text(record, "type")
    reference = record.get("reference")
    if author.get("isBot") is True:
        return "bot"
    if kind not in _SAID:
        return "call" if kind == "Call" else "system line"
    if record.get("forwardedMessage") or (isinstance(reference, dict) and reference.get("type") == "Forward"):
        return "forwarded"
    if _GIF.fullmatch(text.strip()):
        return "media"
    if text.strip():
        return ""
    return "media" if any(record.get(key) for key in _MEDIA) else "empty"
