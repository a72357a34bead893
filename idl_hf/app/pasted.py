"""Dialogues that somebody typed or pasted: `Name: text` lines, and an empty line between two dialogues."""

import re
from collections import Counter
from collections.abc import Sequence

from idl_hf.corpora.exports.dialogues import Burst, Session, dialogue_of
from idl_hf.schema import Dialogue, clean, comparable

_LINE = re.compile(r"([^:]+):\s+(\S.*)")  # with a space, so that no address on the Web is a name
_SHOWN = 60


def parse_pasted(text: str) -> list[Dialogue]:
    """Return each dialogue as each of its speakers has it; lines of one speaker in a row are one turn.

    Raises ValueError, with the number of the line, for one that is no `Name: text`, and for a dialogue of one speaker.
    """
    sessions = _sessions(text.splitlines())
    if not sessions:
        raise ValueError("There is no dialogue in the text. Expected lines such as 'Ana: hello', one of each speaker.")
    numbers: Counter[tuple[str, str]] = Counter()
    dialogues = []
    for session in sessions:
        for person in session.speakers:
            others = [name for name in session.speakers if name != person]
            partner = others[0] if len(others) == 1 else "the group"
            numbers[person, partner] += 1
            dialogues.append(dialogue_of(session, person, partner, numbers[person, partner], str))
    return dialogues


def _sessions(lines: Sequence[str]) -> list[Session]:
    sessions: list[Session] = []
    begin = 0  # the line in which the dialogue begins, 0 between two
    for number, line in enumerate([*lines, ""], start=1):
        if not line.strip():
            if begin and len(sessions[-1].speakers) < 2:
                raise ValueError(
                    f"In the dialogue that begins in line {begin} only '{sessions[-1].speakers[0]}' speaks. "
                    "Expected two names or more; an empty line ends a dialogue."
                )
            begin = 0
            continue
        speaker, said = _parsed(number, line)
        if not begin:
            sessions.append(Session(None))
            begin = number
        bursts = sessions[-1].bursts
        if not bursts or bursts[-1].speaker != speaker:
            bursts.append(Burst(speaker, ""))
        bursts[-1].texts.append(said)
    return sessions


def _parsed(number: int, line: str) -> tuple[str, str]:
    """Return the speaker of a line and what is said."""
    match = _LINE.fullmatch(line.strip())
    speaker, said = (clean(match[1]), clean(match[2])) if match else ("", "")
    if not comparable(speaker) or not comparable(said):
        found = line.strip()
        shown = found if len(found) <= _SHOWN else f"{found[:_SHOWN]} ..."
        raise ValueError(
            f"Line {number}: expected 'Name: text', or an empty line between two dialogues, found '{shown}'. "
            "Put the speaker's name, a colon and a space before it."
        )
    return speaker, said
