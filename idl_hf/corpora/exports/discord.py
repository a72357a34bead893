"""Discord, as DiscordChatExporter writes a channel to JSON; also a folder of such files, a channel each."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from idl_hf.corpora.errors import ErrorLog
from idl_hf.corpora.exports import entry as entries
from idl_hf.corpora.exports.entry import Entry, fields, parsed
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.names import Names
from idl_hf.corpora.exports.parts import beginning, parts
from idl_hf.corpora.exports.times import from_iso

_FILE = r"[^/]*\.json"
_SAID = ("Default", "Reply")
_MEDIA = ("attachments", "stickers", "embeds", "poll")
_GIF = re.compile(r"https?://(?:[\w-]+\.)*(?:tenor|giphy)\.com/\S+")  # what choosing a GIF writes


def found(path: Path) -> bool:
    """Return whether this is an export of DiscordChatExporter."""
    export = beginning(path, _FILE)
    return isinstance(export, dict) and isinstance(export.get("channel"), dict) and "guild" in export


def read(path: Path, log: ErrorLog) -> Iterator[Message]:
    """Yield the messages, channel by channel."""
    people = Names()
    with parts(path, _FILE, "JSON files of DiscordChatExporter") as files:
        for file in files:
            chat = file.name.removesuffix(".json") if len(files) > 1 else ""
            parse = partial(_message, conversation=chat, people=people)
            with file.reader() as reader:
                keys = set()
                for key in reader.members():
                    keys.add(key)
                    if key == "messages":
                        yield from parsed(reader.entries(), log, parse)
                    else:
                        reader.value()
                if "messages" not in keys:
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
