"""Slack: the folder of a workspace's export, or its zip: `users.json` and a folder for each channel, a file a day.

A thread is a conversation of its own, which begins with the message that it answers.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports import entry as entries
from idl_hf.corpora.exports.entry import Entry, fields, identifier, parsed
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.names import Names, distinct
from idl_hf.corpora.exports.parts import Part, beginning, parts
from idl_hf.corpora.exports.times import from_unix

_DAY = r"\d{4}-\d\d-\d\d\.json"
_LISTS = r"users\.json|dms\.json|mpims\.json"
_SAID = ("", "me_message", "thread_broadcast", "reply_broadcast", "file_share", "file_mention")
_NOT_SAID = {"tombstone": "deleted", "huddle_thread": "call", "sh_room_created": "call", "sh_room_shared": "call"}
_MARK = re.compile(r"<([^<>|]*)(?:\|([^<>]*))?>")  # <@U12>, <#C12|chess>, <!here>, <https://a.b|the link>


class _People(NamedTuple):
    names: Names
    bots: set[str]


def found(path: Path) -> bool:
    """Return whether this is the export of a Slack workspace, or of one of its channels."""
    day = beginning(path, _DAY)
    first = next(iter(day), None) if isinstance(day, list) else None
    return isinstance(first, dict) and "ts" in first and {"type", "text", "user"} & first.keys() != set()


def read(path: Path, log: ErrorLog) -> Iterator[Message]:
    """Yield the messages, channel by channel, in the order of time; those of threads among them."""
    with parts(path, f"{_LISTS}|{_DAY}", "users.json and files such as 2024-05-17.json") as files:
        lists = {
            file.name.rpartition("/")[2]: file for file in files if re.search(rf"(?:^|/)(?:{_LISTS})\Z", file.name)
        }
        people = _people(lists["users.json"], log) if "users.json" in lists else _People(Names(), {"USLACKBOT"})
        days = [file for file in files if file not in lists.values()]
        channels = {file.name.rpartition("/")[0] for file in days}
        names = _channel_names(lists, log, people)
        for file in days:
            folder = file.name.rpartition("/")[0].rpartition("/")[2]
            channel = names.get(folder, folder) if len(channels) > 1 else ""
            with file.reader() as reader:
                yield from parsed(reader.entries(), log, partial(_message, channel=channel, people=people))


def _records(file: Part, log: ErrorLog) -> Iterator[dict[str, object]]:
    """Yield the objects of a list that tells names; what else is in it costs no message, and is noted."""
    with file.reader() as reader:
        for entry in reader.entries():
            if isinstance(entry.value, dict) and isinstance(entry.value.get("id"), str):
                yield entry.value
            else:
                log.notes[f"entry of {file.name or file.path.name} that names nobody"] += 1


def _people(file: Part, log: ErrorLog) -> _People:
    people = _People(Names(), {"USLACKBOT"})
    for user in _records(file, log):
        identity = str(user["id"])
        people.names.name_of(identity, _name_of(user) or identity)
        if user.get("is_bot") is True:
            people.bots.add(identity)
    return people


def _name_of(user: dict[str, object]) -> str:
    """Return the name that Slack shows for a user."""
    profile = user.get("profile")
    profile = profile if isinstance(profile, dict) else {}
    names = [record.get(key) for key in ("display_name", "real_name") for record in (profile, user)]
    return next((name for name in [*names, user.get("name")] if isinstance(name, str) and name), "")


def _channel_names(lists: dict[str, Part], log: ErrorLog, people: _People) -> dict[str, str]:
    """Return the names of direct messages, whose folders are called by an id: those of their members."""
    names: dict[str, str] = {}
    for file in (lists[name] for name in ("dms.json", "mpims.json") if name in lists):
        taken: dict[str, str] = {}
        for chat in _records(file, log):
            members = chat.get("members")
            members = members if isinstance(members, list) else []
            shown = [people.names.name_of(identifier(member), "") for member in members]
            if all(shown) and shown:
                folder = identifier(chat["id"] if file.name.endswith("dms.json") else chat.get("name"))
                names[folder] = distinct(", ".join(shown), folder, taken)
    return names


def _message(entry: Entry, channel: str, people: _People) -> Message:
    record = fields(entry.value)
    if "ts" not in record:
        raise CorpusError("Expected the 'ts' of a message, which is its time.")
    text = _plain(entries.text(record, "text"), people.names.by_id)
    identity = entries.text(record, "user") or entries.text(record, "bot_id")
    shown = record.get("user_profile")
    written = _name_of(shown if isinstance(shown, dict) else {})  # of another workspace's people, who are in no list
    name = people.names.name_of(identity or written, written)
    speaker = name or entries.text(record, "username") or identity or "Slack"
    thread = entries.text(record, "thread_ts")
    conversation = f"{channel} thread {thread}".strip() if thread else channel
    dropped = _why_dropped(record, identity in people.bots, text)
    return Message(speaker, "" if dropped else text, entry.place, from_unix(record["ts"]), conversation, dropped)


def _why_dropped(record: dict[str, object], is_bot: bool, text: str) -> str:
    """Return why a message is not what its user typed; "" of one that is."""
    subtype = entries.text(record, "subtype")
    if subtype in _NOT_SAID:
        return _NOT_SAID[subtype]
    if subtype == "bot_message" or is_bot or record.get("bot_id"):
        return "bot"
    if subtype not in _SAID or record.get("type") != "message":
        return "system line"
    if text.strip():
        return ""
    attached = record.get("attachments")
    if isinstance(attached, list) and any(isinstance(piece, dict) and piece.get("is_share") for piece in attached):
        return "forwarded"
    return "media" if record.get("files") or record.get("file") or attached else "empty"


def _plain(text: str, names: dict[str, str]) -> str:
    """Return a text without Slack's marks: with names for ids, and with the signs that it escapes."""
    text = _MARK.sub(lambda mark: _shown(mark[1], mark[2] or "", names), text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _shown(target: str, label: str, names: dict[str, str]) -> str:
    if target.startswith("@"):
        return f"@{names.get(target[1:]) or label.removeprefix('@') or target[1:]}"
    if target.startswith("#"):
        return f"#{label or target[1:]}"
    if target.startswith("!"):  # <!here>, <!subteam^S12|@chess>, <!date^1392734382^{date}|18 February>
        name = target[1:].partition("^")[0]
        return label or f"@{name}"
    return label or target.removeprefix("mailto:")
