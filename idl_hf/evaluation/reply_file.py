"""Replies in a file: JSON Lines of {"dialogue_id", "turn", "text"}, one reply a line.

`turn` is the number of the turn that the reply is instead of, from 0: in a dialogue's turns the first of the person's
reply. A line may also hold the "person_id", which is needed where several people have a dialogue of one name.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from idl_hf.cache import write_whole
from idl_hf.corpora.files import text_lines
from idl_hf.corpora.jsonl import is_text
from idl_hf.schema import clean

REPLIES = "replies"  # folder of a report in which they lie
_EXPECTED = 'Expected {"dialogue_id": text, "turn": number, "text": text}'


class GivenReply(NamedTuple):
    """A reply as a line of a file gives it; person_id is empty where it says nothing of it."""

    dialogue_id: str
    turn: int
    text: str
    person_id: str = ""
    line: int = 0


def read_replies(path: Path, texts: bool = True) -> list[GivenReply]:
    """Return the replies of a file; without their texts where it says only where to reply. Raises FileNotFoundError,
    and ValueError, with the line, for one that is malformed."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of replies '{path}'.")
    replies = []
    for number, line in text_lines(path):
        try:
            values = json.loads(line)
            person_id, dialogue_id = clean(values.get("person_id", "")), clean(values["dialogue_id"])
            turn, text = values["turn"], values["text"] if texts else ""
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _error(path, number, line) from error
        if type(turn) is not int or not all(map(is_text, (text, dialogue_id, person_id))):
            raise _error(path, number, line)
        replies.append(GivenReply(dialogue_id, turn, text, person_id, number))
    if not replies:
        raise ValueError(f"'{path}' holds no replies. {_EXPECTED}, one a line.")
    return replies


def _error(path: Path, number: int, line: bytes) -> ValueError:
    return ValueError(f"{path}:{number}: {_EXPECTED}, found {line.decode(errors='replace')[:80]!r}.")


def write_replies(path: Path, replies: Iterable[GivenReply], texts: bool = True) -> None:
    """Write replies as `read_replies` reads them, or only where they are."""
    with write_whole(path) as partial, partial.open("w", encoding="utf-8") as file:
        for reply in replies:
            values = reply._asdict()
            names = ["person_id", "dialogue_id", "turn", *(["text"] if texts else [])]
            file.write(json.dumps({name: values[name] for name in names}, ensure_ascii=False) + "\n")


def places_of(test: str) -> str:
    """Return the file in the folder of a report that says where the lines of a test reply."""
    return f"places/{file_names([test])[test]}.jsonl"


def files_of(lines: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]:
    """Return by test and line the file of the line's replies in the folder of a report. lines: the names by test."""
    several = len(lines) > 1
    titles = {test: {name: f"{test}, {name}" if several else name for name in names} for test, names in lines.items()}
    files = file_names([title for of_test in titles.values() for title in of_test.values()])
    return {
        test: {name: f"{REPLIES}/{files[title]}.jsonl" for name, title in of_test.items()}
        for test, of_test in titles.items()
    }


def file_names(names: Sequence[str]) -> dict[str, str]:
    """Return for each name one that any file system holds beside the others, and that tells no folder.

    A name that is changed for it, or that differs from another by case alone, ends in a hash of what it was.
    """
    last = {name: re.split(r"[/\\]+", name.rstrip("/\\"))[-1] for name in names}
    safe = {name: re.sub(r"[^\w.,+ -]+", "-", text, flags=re.ASCII).strip("-. ")[:80] for name, text in last.items()}
    folded = [text.casefold() for text in safe.values()]
    return {
        name: text if text == name and folded.count(text.casefold()) == 1 else _hashed(name, text)
        for name, text in safe.items()
    }


def _hashed(name: str, text: str) -> str:
    return "-".join(filter(None, (text, sha256(name.encode()).hexdigest()[:8])))
