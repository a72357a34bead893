"""Your own logs: JSON Lines, one dialogue a line.

    {"person_id": "ruth", "dialogue_id": "ruth-1", "profile": ["i live in maine."],
     "turns": [{"role": "partner", "text": "hi"}, {"role": "self", "text": "hello"}]}

`profile` is optional. Instead of `turns` the chat format may be used, where the assistant is the person:
`"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard, TypeVar

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.schema import Dialogue, Role, Turn

_T = TypeVar("_T")
_CHAT_ROLES: dict[str, Role] = {"user": "partner", "assistant": "self", "partner": "partner", "self": "self"}


def read_dialogues(path: str | Path, log: ErrorLog | None = None) -> Iterator[Dialogue]:
    """Yield the dialogues in file order; a malformed line is reported to `log` (default: raises CorpusError)."""
    log = log or ErrorLog()
    seen: set[tuple[str, str]] = set()
    for number, dialogue in read_json(path, log, parse_dialogue):
        key = (dialogue.person_id, dialogue.dialogue_id)
        if key in seen:
            log.report(path, number, f"The dialogue_id '{dialogue.dialogue_id[:80]}' occurs twice for this person.")
        else:
            seen.add(key)
            yield replace(dialogue, source=f"{Path(path).name}:{number}")


def read_json(
    path: str | Path, log: ErrorLog, parse: Callable[[object], _T], dialogues: int = 1
) -> Iterator[tuple[int, _T]]:
    """Yield (number, what `parse` makes of it) of each line; a malformed one is reported to `log` with its dialogues.
    parse: raises CorpusError with what is missing or wrong in the JSON value of a line."""
    with open(path, "rb") as lines:
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


def parse_dialogue(record: object) -> Dialogue:
    """Return a dialogue from its JSON object; raise CorpusError with what is missing or wrong."""
    if not isinstance(record, dict):
        found = type(record).__name__
        raise CorpusError(f"Expected a JSON object with person_id, dialogue_id and turns, found {found}.")
    missing = [key for key in ("person_id", "dialogue_id") if not record.get(key) or not is_text(record[key])]
    if "turns" not in record and "messages" not in record:
        missing.append("turns (or messages)")
    if missing:
        found = str(sorted(record))[:200]
        raise CorpusError(f"Expected the text fields {', '.join(missing)}, found the fields {found}.")
    profile = record.get("profile") or []
    if not _are_texts(profile):
        raise CorpusError("Expected profile to be a list of sentences.")
    return Dialogue(record["person_id"], record["dialogue_id"], parse_turns(record), tuple(profile))


def parse_turns(record: Mapping[str, object]) -> tuple[Turn, ...]:
    """Return the turns of a JSON object, from its `turns` or else from its `messages`.
    System messages are instructions, not dialogue, and are left out. Raises CorpusError with what is wrong."""
    entries = record.get("turns", record.get("messages"))
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CorpusError("Expected turns (or messages) to be a list of objects with role and text.")
    turns = []
    for position, entry in enumerate(entries, start=1):
        named = entry.get("role")
        if named == "system":
            continue
        role = _CHAT_ROLES.get(str(named))
        text = entry.get("text", entry.get("content"))
        if role is None:
            raise CorpusError(f"Turn {position}: expected the role 'self' or 'partner', found {repr(named)[:80]}.")
        if not isinstance(text, str) or not text.strip():
            raise CorpusError(f"Turn {position}: expected a text that is not empty, found {repr(text)[:80]}.")
        candidates = entry.get("candidates") or []
        if not is_text(text) or not _are_texts(candidates):
            raise CorpusError(f"Turn {position}: expected valid Unicode text, and candidates as a list of texts.")
        turns.append(Turn(role, text.strip(), tuple(candidates)))
    if not turns:
        raise CorpusError("Expected at least one turn, found none.")
    return tuple(turns)


def is_text(value: object) -> TypeGuard[str]:
    """Return whether this is a text that can be written down again: JSON may hold half of a surrogate pair."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(is_text, value))
