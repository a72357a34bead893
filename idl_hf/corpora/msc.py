"""Multi-Session Chat (Xu et al., 2022): the files of sessions 2 to 5 as JSON Lines, one pair of people a line.

A line holds the session of its file as `dialog` and those before it as `previous_dialogs`, the first of which is a
dialogue of ConvAI2. Each of the two people in turn is the person, so a line of session 3 holds six dialogues. In every
session the first turn is Speaker 1's and the turns alternate; where a turn has the `id` "Speaker 1" or "Speaker 2",
that decides.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.files import find_parts
from idl_hf.corpora.jsonl import is_text, read_json
from idl_hf.schema import Dialogue, Turn

SESSIONS = (2, 3, 4, 5)
_NUMBER = re.compile(r"session_([2-5])(?!\d)")
_SPEAKERS = {"Speaker 1": 1, "Speaker 2": 2}


class _Session(NamedTuple):
    known: list[object]  # what annotators wrote down of both people before it
    dialog: object  # its turns


def read_dialogues(files: Sequence[str | Path], log: ErrorLog | None = None) -> Iterator[Dialogue]:
    """Yield the dialogues of the files of one split, the earlier sessions first, each session of a pair once.
    A malformed session is reported to `log` with its two dialogues, a line that cannot be read with those of all of
    the sessions that it should hold."""
    log = log or ErrorLog()
    holders: dict[tuple[str, int], Path] = {}
    for path in sorted(map(Path, files), key=session_number):
        own_session = session_number(path)
        shown = path.name if _NUMBER.search(path.name) else f"{path.parent.name}/{path.name}"
        read_pair = partial(_pair, own_session)
        for number, (pair_id, sessions) in read_json(path, log, read_pair, dialogues=2 * own_session):
            for session, content in enumerate(sessions, start=1):
                if (pair_id, session) in holders:
                    same = holders[pair_id, session] == path
                    log.drops[f"session that {'its file holds twice' if same else 'another file holds too'}"] += 2
                    continue
                try:
                    dialogues = _both_sides(pair_id, session, content, f"{shown}:{number}")
                except CorpusError as error:
                    log.report(path, number, f"Session {session}: {error}", dialogues=2)
                else:
                    holders[pair_id, session] = path
                    yield from dialogues


def split_files(folder: str | Path) -> dict[str, list[str]]:
    """Return the files of each split, in the order of their sessions; the archive's subfolders are found too."""
    parts = [partial(_names, session) for session in SESSIONS]
    return find_parts(folder, parts, "Multi-Session Chat's files session_2_train.txt or session_2/train.txt")


def session_number(path: str | Path) -> int:
    """Return the session of a file by its name or else its folder's; raise CorpusError where neither says."""
    numbers = _NUMBER.findall("/".join(Path(path).parts[-2:]))
    if not numbers:
        raise CorpusError(f"Expected session_2 to session_5 in the name of the file or of its folder, found '{path}'.")
    return int(numbers[-1])


def _names(session: int, split: str) -> list[str]:
    folders = ("", "msc_dialogue/", "msc/msc_dialogue/")
    return [f"session_{session}_{split}.txt", *(f"{below}session_{session}/{split}.txt" for below in folders)]


def _pair(own_session: int, record: object) -> tuple[str, list[_Session]]:
    """Return the id of a line's pair and its sessions in order; raise CorpusError with what is missing or wrong."""
    keys = ("metadata", "init_personas", "previous_dialogs", "personas", "dialog")
    if not isinstance(record, dict) or any(key not in record for key in keys):
        found = str(sorted(record)) if isinstance(record, dict) else type(record).__name__
        raise CorpusError(f"Expected a JSON object with {', '.join(keys)}, found {found[:200]}.")
    pair_id = record["metadata"].get("initial_data_id") if isinstance(record["metadata"], dict) else None
    if not is_text(pair_id) or not pair_id.strip():
        raise CorpusError(f"Expected a text as initial_data_id in metadata, found {repr(pair_id)[:80]}.")
    earlier = record["previous_dialogs"]
    count = own_session - 1
    if not isinstance(earlier, list) or len(earlier) != count:
        found = str(len(earlier)) if isinstance(earlier, list) else type(earlier).__name__
        raise CorpusError(f"Expected {count} previous_dialogs in a file of session {own_session}, found {found}.")
    if not all(isinstance(session, dict) and {"personas", "dialog"} <= set(session) for session in earlier):
        raise CorpusError("Expected previous_dialogs to be objects with personas and dialog.")
    # A profile is what was known of the person when the session began: in session 1 what they were told to be, in the
    # session of the file its `personas`, in between what annotators wrote down of the sessions before. The `personas`
    # of an earlier session sum up that very session, so that as its profile they would give its replies away.
    written = [session["personas"] for session in earlier]
    known = [[record["init_personas"]], *(written[:count] for count in range(1, len(earlier))), [record["personas"]]]
    dialogs = [*(session["dialog"] for session in earlier), record["dialog"]]
    return pair_id, [_Session(before, dialog) for before, dialog in zip(known, dialogs, strict=True)]


def _both_sides(pair_id: str, session: int, content: _Session, source: str) -> list[Dialogue]:
    utterances = _utterances(content.dialog)
    dialogues = []
    for person in (1, 2):
        turns = tuple(Turn("self" if speaker == person else "partner", text) for speaker, text in utterances)
        sentences = (sentence for personas in content.known for sentence in _sentences(personas, person))
        profile = tuple(dict.fromkeys(sentences))
        dialogues.append(Dialogue(f"{pair_id}/{person}", f"session-{session}", turns, profile, source))
    return dialogues


def _utterances(dialog: object) -> list[tuple[int, str]]:
    """Return (speaker, text) of each turn."""
    if not isinstance(dialog, list) or not all(isinstance(turn, dict) for turn in dialog):
        raise CorpusError("Expected dialog to be a list of objects with text.")
    utterances = []
    for position, turn in enumerate(dialog):
        text = turn.get("text")
        if not is_text(text) or not text.strip():
            raise CorpusError(f"Turn {position + 1}: expected words, found {repr(text)[:80]}.")
        utterances.append((_SPEAKERS.get(str(turn.get("id")), position % 2 + 1), text.strip()))
    if {speaker for speaker, _ in utterances} != {1, 2}:
        raise CorpusError(f"Expected turns of both speakers, found {len(utterances)} of one.")
    return utterances


def _sentences(personas: object, person: int) -> list[str]:
    if not isinstance(personas, list) or len(personas) != 2 or not all(isinstance(own, list) for own in personas):
        raise CorpusError("Expected personas to be two lists of sentences.")
    sentences = personas[person - 1]
    if not all(is_text(sentence) for sentence in sentences):
        raise CorpusError("Expected each sentence of personas to be a text.")
    return [sentence.strip() for sentence in sentences if sentence.strip()]
