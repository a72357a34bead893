"""Your own logs: JSON Lines, one dialogue a line.

    {"person_id": "ruth", "dialogue_id": "ruth-1", "profile": ["i live in maine."],
     "turns": [{"role": "partner", "text": "hi"}, {"role": "self", "text": "hello"}]}

`profile` is optional, and so are `partner_id` of a dialogue (whom the person talks to) and `time` (ISO 8601) and
`speaker` (who of a group) of a turn. Instead of `turns` the chat format may be used, where the assistant is the
person: `"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]`. A content may be
a list of parts, of which those that are text are read. Turns that are null or empty are left out and counted, and so
are optional values that are none.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from idl_hf.corpora.errors import MEND_ADVICE, CorpusError, ErrorLog
from idl_hf.corpora.files import open_text
from idl_hf.schema import Dialogue, Role, Turn, clean, comparable

_T = TypeVar("_T")
_CHAT_ROLES: dict[str, Role] = {"user": "partner", "assistant": "self", "partner": "partner", "self": "self"}
_OPTIONAL = {"time": "a time in ISO 8601", "speaker": "a text", "partner_id": "a text or a whole number"}
_TEXT_PARTS = (None, "text", "input_text", "output_text")  # types of the parts of a content


def read_dialogues(
    path: str | Path, log: ErrorLog | None = None, seen: dict[tuple[str, str], str] | None = None
) -> Iterator[Dialogue]:
    """Yield the dialogues in file order; a malformed line is reported to `log` (default: raises CorpusError).
    seen: where the dialogues of the other files of the split stand, by person_id and dialogue_id; those of this file
    are added."""
    log, seen = log or ErrorLog(advice=MEND_ADVICE), {} if seen is None else seen
    for number, dialogue in read_json(path, log, lambda record: parse_dialogue(record, log.notes)):
        key = (dialogue.person_id, dialogue.dialogue_id)
        if key in seen:
            name = dialogue.dialogue_id[:80]
            log.report(path, number, f"The dialogue_id '{name}' occurs twice for this person, first at {seen[key]}.")
        else:
            seen[key] = f"{path}:{number}"
            yield replace(dialogue, source=f"{Path(path).name}:{number}")


def read_json(
    path: str | Path, log: ErrorLog, parse: Callable[[object], _T], dialogues: int = 1
) -> Iterator[tuple[int, _T]]:
    """Yield (number, what `parse` makes of it) of each line; a malformed one is reported to `log` with its dialogues.
    parse: raises CorpusError with what is missing or wrong in the JSON value of a line."""
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                if line.strip():
                    yield number, parse(json.loads(line.decode("utf-8-sig")))
            except UnicodeDecodeError as error:
                problem = f"Expected UTF-8 text, found the byte {error.object[error.start]:#x}."
                log.report(path, number, problem, dialogues)
            except CorpusError as error:
                log.report(path, number, str(error), dialogues)
            except (ValueError, RecursionError) as error:  # JSON errors, numbers of thousands of digits, deep nesting
                log.report(path, number, f"Expected one JSON object on this line: {error}.", dialogues)


def parse_dialogue(record: object, notes: Counter[str] | None = None) -> Dialogue:
    """Return a dialogue from its JSON object; raise CorpusError with what is missing or wrong.
    Ids that are whole numbers are read as text. notes: see `parse_turns`."""
    if not isinstance(record, dict):
        found = type(record).__name__
        raise CorpusError(f"Expected a JSON object with person_id, dialogue_id and turns, found {found}.")
    ids = {key: _id_of(record.get(key)) for key in ("person_id", "dialogue_id")}
    missing = [key for key, value in ids.items() if not value]
    if "turns" not in record and "messages" not in record:
        missing.append("turns (or messages)")
    if missing:
        found = str(sorted(record))[:200]
        raise CorpusError(f"Expected the text fields {', '.join(missing)}, found the fields {found}.")
    profile = record.get("profile") or []
    if not _are_texts(profile):
        raise CorpusError("Expected profile to be a list of sentences.")
    turns = parse_turns(record, notes)
    partner = _optional(record, "partner_id", _id_of, notes)
    return Dialogue(ids["person_id"], ids["dialogue_id"], turns, tuple(profile), partner_id=partner)


def _id_of(value: object) -> str:
    """Return an id as text, empty where it is none."""
    text = str(value) if type(value) is int else value
    return clean(text) if is_text(text) else ""


def parse_turns(record: Mapping[str, object], notes: Counter[str] | None = None) -> tuple[Turn, ...]:
    """Return the turns of a JSON object, from its `turns` or else from its `messages`.
    System messages are instructions, not dialogue, and are left out. notes: counts turns that are null or empty, parts
    of a content that are no text, and a time or speaker that is none, which are left out; without it an empty turn is
    an error, and so is such a time or speaker. Raises CorpusError with what is wrong."""
    entries = record.get("turns", record.get("messages"))
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CorpusError("Expected turns (or messages) to be a list of objects with role and text.")
    turns = []
    left_out: Counter[str] = Counter()
    for position, entry in enumerate(entries, start=1):
        named = entry.get("role")
        if named in ("system", "developer"):
            continue
        role = _CHAT_ROLES.get(str(named))
        text, others = _text_of(entry)
        left_out["part of a content that is no text"] += others
        if role is None:
            raise CorpusError(f"Turn {position}: expected the role 'self' or 'partner', found {repr(named)[:80]}.")
        if notes is not None and {"text", "content"} & entry.keys() and (text is None or _is_empty(text)):
            left_out["empty turn left out of its dialogue"] += 1
            continue
        if not isinstance(text, str) or _is_empty(text):
            raise CorpusError(f"Turn {position}: expected a text that is not empty, found {repr(text)[:80]}.")
        candidates = entry.get("candidates") or []
        if not is_text(text) or not _are_texts(candidates):
            raise CorpusError(f"Turn {position}: expected valid Unicode text, and candidates as a list of texts.")
        time = _optional(entry, "time", _time_of, left_out if notes is not None else None)
        speaker = _optional(entry, "speaker", _name_of, left_out if notes is not None else None)
        turns.append(Turn(role, text, tuple(candidates), time, speaker))
    if not turns:
        raise CorpusError("Expected at least one turn, found none.")
    if notes is not None:
        notes.update(+left_out)
    return tuple(turns)


def _text_of(entry: Mapping[str, Any]) -> tuple[object, int]:
    """Return the text of a turn, of a list of parts those that are text, a line each, and how many parts are none."""
    content = next((entry[key] for key in ("text", "content") if entry.get(key) is not None), None)
    if not isinstance(content, list) or not all(isinstance(part, str | dict) for part in content):
        return content, 0
    parts = [{"text": part} if isinstance(part, str) else part for part in content]
    texts = [part["text"] for part in parts if part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str)]
    return "\n".join(texts), len(parts) - len(texts)


def _is_empty(text: object) -> bool:
    return isinstance(text, str) and not comparable(text)


def _optional(
    entry: Mapping[str, object], name: str, text_of: Callable[[object], str], notes: Counter[str] | None
) -> str:
    """Return an optional value as text, "" where it is null or missing; one that is none is left out and counted."""
    value = entry.get(name)
    if value is None or value == "":
        return ""
    text = text_of(value)
    if not text and notes is None:
        raise CorpusError(f"Expected {_OPTIONAL[name]}, found {repr(value)[:80]}.")
    if not text and notes is not None:
        notes[f"{name} that is not {_OPTIONAL[name]}, left out"] += 1
    return text


def _name_of(value: object) -> str:
    return clean(value) if is_text(value) else ""


def _time_of(value: object) -> str:
    """Return a time as ISO 8601 writes it, empty where it is none."""
    try:
        if isinstance(value, str) and value.isascii():  # any sign may stand between day and hour
            datetime.fromisoformat(re.sub("[zZ]$", "+00:00", value))
            return value
    except ValueError:
        pass
    return ""


def is_text(value: object) -> TypeGuard[str]:
    """Return whether this is a text that can be written down again: JSON may hold half of a surrogate pair."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(is_text, value))
