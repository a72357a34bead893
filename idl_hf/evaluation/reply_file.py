"""Somebody's replies in a file: JSON Lines of {"dialogue_id", "turn", "text"}, one reply a line.

`turn` is the number of the turn that the reply is instead of, from 0: in a dialogue's turns the first of the person's
reply. So dialogue and turn also tell whose reply it is where two people of a corpus share a dialogue.
"""

import json
from pathlib import Path
from typing import NamedTuple

from idl_hf.corpora.files import text_lines
from idl_hf.corpora.jsonl import is_text
from idl_hf.schema import clean

_EXPECTED = 'Expected {"dialogue_id": text, "turn": number, "text": text}'


class Place(NamedTuple):
    """Where a reply stands."""

    dialogue_id: str
    turn: int


def read_replies(path: Path) -> dict[Place, str]:
    """Return the replies of a file by their place. Raises ValueError, with the line, for one that is malformed."""
    replies: dict[Place, str] = {}
    for number, line in text_lines(path):
        try:
            values = json.loads(line)
            place, text = Place(clean(values["dialogue_id"]), values["turn"]), values["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise _error(path, number, line) from error
        if type(place.turn) is not int or not is_text(text) or not is_text(place.dialogue_id):
            raise _error(path, number, line)
        if place in replies:
            raise ValueError(
                f"{path}:{number}: The file has two replies to turn {place.turn} of '{place.dialogue_id[:80]}'. Leave "
                "one of them."
            )
        replies[place] = text
    if not replies:
        raise ValueError(f"'{path}' holds no replies. {_EXPECTED}, one a line.")
    return replies


def _error(path: Path, number: int, line: bytes) -> ValueError:
    return ValueError(f"{path}:{number}: {_EXPECTED}, found {line.decode(errors='replace')[:80]!r}.")
