"""Conversations as lists of turns, each with who says it: how ShareGPT and OpenAI write them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports import entry as entries
from idl_hf.corpora.exports.entry import Entry, fields, kind, parsed, report
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.names import distinct
from idl_hf.corpora.exports.parts import beginning
from idl_hf.corpora.exports.records import JSON_FILE, read_records

_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant"}
_DROPPED = {"system": "system line", "developer": "system line"} | dict.fromkeys(
    ("tool", "function", "function_call", "function_response", "observation", "tool_call", "tool_response"), "tool"
)
_TEXT_PARTS = (None, "text", "input_text", "output_text")


def begins_with_turns(path: Path, key: str, who: str) -> bool:
    """Return whether a file's first conversation has turns under `key` that name under `who` whose they are."""
    first = beginning(path, JSON_FILE)
    first = next(iter(first), None) if isinstance(first, list) else first
    turns = first.get(key) if isinstance(first, dict) else None
    return isinstance(turns, list) and bool(turns) and isinstance(turns[0], dict) and who in turns[0]


def read_turns(path: Path, log: ErrorLog, key: str) -> Iterator[Message]:
    """Yield the turns under `key` of each conversation of a file, which is called by its id or else its number."""
    taken: dict[str, str] = {}
    for record in read_records(path, log):
        turns = record.value.get(key) if isinstance(record.value, dict) else None
        if not isinstance(record.value, dict) or not isinstance(turns, list):
            found = kind(record.value if turns is None else turns)
            report(record, log, f"Expected an object with the turns of a conversation as '{key}', found {found}.")
            continue
        identity = record.value.get("id")
        name = identity if isinstance(identity, str) and identity else f"conversation {record.number or record.line}"
        parse = partial(_message, conversation=distinct(name, record.place, taken))
        yield from parsed((record._replace(value=turn) for turn in turns), log, parse)


def _message(entry: Entry, conversation: str) -> Message:
    turn = fields(entry.value)
    who = entries.text(turn, "from") or entries.text(turn, "role")
    if not who:
        raise CorpusError("Expected who says a turn as its 'from' or 'role'.")
    speaker = entries.text(turn, "name") or _SPEAKERS.get(who.lower(), who)
    text, has_others = _text_of(turn)
    dropped = _DROPPED.get(who.lower(), "")
    if not dropped and not text.strip():
        dropped = "tool" if turn.get("tool_calls") or turn.get("function_call") else "media" if has_others else "empty"
    return Message(speaker, "" if dropped else text, entry.place, None, conversation, dropped)


def _text_of(turn: dict[str, object]) -> tuple[str, bool]:
    """Return the text of a turn, of a list of parts a line each, and whether there are parts that are no text."""
    key = next((key for key in ("value", "content", "text") if key in turn), None)
    if key is None and not (turn.get("tool_calls") or turn.get("function_call")):
        raise CorpusError("Expected the text of a turn as its 'value' or 'content'.")
    content = turn.get(key or "")
    if not isinstance(content, list):
        return entries.text(turn, key or ""), False
    parts = [fields({"text": part} if isinstance(part, str) else part) for part in content]
    texts = [entries.text(part, "text") for part in parts if part.get("type") in _TEXT_PARTS]
    return "\n".join(text for text in texts if text), len(texts) < len(parts)
