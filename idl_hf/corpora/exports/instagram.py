r"""Instagram and Messenger: `message_1.json` and its like, or the folder or zip that holds such files of many chats.

The files hold the newest message first, 10,000 each, the newest in `message_1.json`. Each byte of UTF-8 is written as
a character of its own ("\u00c3\u00a9" for é), which is mended. What the app says for a person ("Liked a message") has
no mark but its wording, in the language of the app; the wordings known here are left out. Chats that Messenger
encrypts are exported by it with other names for the same (`senderName`).
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports import entry as entries
from idl_hf.corpora.exports.entry import Entry, fields, parsed
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.names import distinct
from idl_hf.corpora.exports.parts import Part, beginning, parts
from idl_hf.corpora.exports.times import from_unix

_FILE = r"message_\d{1,9}\.json"
_MEDIA = (
    *("photos", "videos", "audio_files", "gifs", "sticker", "files", "share", "media", "ip"),
    *("shared_album", "bumped_message_metadata"),
)
_MARK = ".{1,20}"  # an emoji
_REACTION = re.compile(
    rf"(?:liked (?:a|your) message|reacted {_MARK} to (?:your|a) message"
    rf"|gefällt (?:eine|deine) nachricht|hat (?:mit {_MARK} )?auf deine nachricht (?:mit {_MARK} )?reagiert"
    rf"|le gustó (?:un|tu) mensaje|(?:ha reaccionado|reaccionó) con {_MARK} a tu mensaje"
    rf"|a aimé (?:un|votre) message|a réagi avec {_MARK} à (?:votre|ton) message"
    rf"|curtiu uma mensagem|reagiu com {_MARK} à sua mensagem"
    rf"|ha messo [\"“«]?mi piace[\"”»]? a un messaggio|ha reagito con {_MARK} al tuo messaggio)\.?",
    re.IGNORECASE | re.DOTALL,
)
_CALL = re.compile(  # after a name
    r"(?:started|missed|joined|ended) (?:an?|the|your) (?:\w+ ){0,2}(?:call|chat)(?: (?:from|with) .+)?\.",
    re.IGNORECASE | re.DOTALL,
)
_CALL_ENDED = re.compile(
    r"(?:audio|video) (?:call|chat) ended\.?|the (?:audio |video )?(?:call|chat) (?:has )?ended\.?", re.IGNORECASE
)
_SHARED = re.compile(
    r"(?:sent an attachment|shared a (?:post|story|reel|link|photo|video)|hat einen anhang gesendet"
    r"|(?:envió|ha enviado) un archivo adjunto|a envoyé une pièce jointe|enviou um anexo|ha inviato un allegato)\.",
    re.IGNORECASE,
)
_SYSTEM = re.compile(  # after a name
    r"(?:changed the (?:chat |group )?(?:theme|photo|colou?rs)(?: to [^.,?!]{1,60})?"
    r"|(?:set|cleared) (?:the|your|his|her|their)(?: own)? nickname(?: for [^,?!]{1,100})?(?: to [^,?!]{1,100})?"
    r"|set the (?:quick reaction|emoji) to \S{1,12}|named the group [^?!]{1,200}"
    r"|(?:added|removed) .+ (?:to|from) the group|(?:left|created|joined) the group|pinned a message"
    r"|turned (?:on|off) (?:vanish|disappearing) m\w+(?:\. .{0,100})?|created a poll(?:: .{1,200})?"
    r"|voted .{1,200} in the poll|unsent a message)\.?",
    re.IGNORECASE | re.DOTALL,
)


def found(path: Path) -> bool:
    """Return whether this is an export of Instagram or Messenger."""
    export = beginning(path, _FILE)
    return isinstance(export, dict) and isinstance(export.get("participants"), list)


def read(path: Path, log: ErrorLog) -> Iterator[Message]:
    """Yield the messages, chat by chat, the oldest first. One file's messages are held in memory."""
    with parts(path, _FILE, "message_1.json") as files:
        chats: dict[str, list[Part]] = {}
        taken: dict[str, str] = {}  # titles, each with its folder
        for file in files:
            chats.setdefault(file.name.rpartition("/")[0], []).append(file)
        if re.fullmatch(_FILE, path.name) and path.with_name(f"message_{_number(path.name) + 1}.json").is_file():
            log.notes["file beside this one with older messages of the chat: pass the folder to read them"] += 1
        for folder, chat in chats.items():
            for file in sorted(chat, key=lambda file: -_number(file.name)):
                yield from _read_file(file, log, folder if len(chats) > 1 else "", taken)


def _number(name: str) -> int:
    number = re.search(r"(\d{1,9})\.json\Z", name)
    return int(number[1]) if number else 0


def _read_file(file: Part, log: ErrorLog, folder: str, taken: dict[str, str]) -> list[Message]:
    messages: list[Message] | None = None
    title = ""
    with file.reader() as reader:
        for key in reader.members():
            if key == "messages":
                messages = [*(messages or []), *parsed(reader.entries(), log, partial(_message, chat=folder))]
            elif key == "title":
                value = reader.value()
                title = mended(value) if isinstance(value, str) else ""
            else:
                reader.value()
        if messages is None:
            raise reader.error("Expected a chat with 'messages', found none. Export it again as JSON.")
    if title:  # so that a group has its name
        name = distinct(title, folder, taken)
        messages = [replace(message, conversation=name) for message in messages]
    times = [message.time for message in messages if message.time]
    return messages if times and times[0] < times[-1] else messages[::-1]


def _message(entry: Entry, chat: str) -> Message:
    record = fields(entry.value)
    speaker = mended(entries.text(record, "sender_name") or entries.text(record, "senderName"))
    if not ({"sender_name", "senderName"} & record.keys()):
        raise CorpusError("Expected the 'sender_name' of a message.")
    text = mended(entries.text(record, "content") or entries.text(record, "text"))
    time = from_unix(record.get("timestamp_ms", record.get("timestamp")), 1000)
    dropped = _why_dropped(record, speaker, text)
    # Of accounts that are gone nothing is left to tell them apart but the chat
    gone = f"deleted account ({chat.rpartition('/')[2]})" if chat else "deleted account"
    return Message(speaker or gone, "" if dropped else text, entry.place, time, chat, dropped)


def _why_dropped(record: dict[str, object], speaker: str, text: str) -> str:
    """Return why a message is not what its sender typed; "" of one that is."""
    line = text.strip()
    # "Mira Kern sent an attachment.", "Mira named the group Chess.", "You missed a call from Mira."
    names = [name for name in (speaker, *speaker.split()[:1], "You") if name and line.startswith(f"{name} ")]
    said = line[len(names[0]) + 1 :] if names else ""
    if record.get("is_unsent") is True or record.get("isUnsent") is True:
        return "deleted"
    if "call_duration" in record or record.get("type") == "Call" or _CALL.fullmatch(said):
        return "call"
    if _CALL_ENDED.fullmatch(line):
        return "call"
    if record.get("type") in ("Subscribe", "Unsubscribe") or record.get("users") or _SYSTEM.fullmatch(said):
        return "system line"
    if _REACTION.fullmatch(said or line):
        return "reaction"
    if _SHARED.fullmatch(said) or (record.get("share") and speaker and line.startswith(f"{speaker} ")):
        return "media"
    if line:
        return ""
    return "media" if any(record.get(key) for key in _MEDIA) else "empty"


def mended(text: str) -> str:
    """Return a text in which bytes of UTF-8 that were taken for characters are the characters that they make."""
    return re.sub("[\x80-\xff]+", _decoded, text)


def _decoded(match: re.Match[str]) -> str:
    try:
        return match[0].encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return match[0]
