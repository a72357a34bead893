"""Whose dialogues a fit trains on and measures: the person's past, some that are held out, and others'."""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from idl_hf.schema import Dialogue

FEWEST = 4  # dialogues of the person: three to learn from, one to measure on


class Line(NamedTuple):
    """A dialogue with the line of its file, which is copied as it is."""

    dialogue: "Dialogue"
    text: str


@dataclass(frozen=True)
class Cast:
    """Whose dialogues are trained on and measured."""

    past: list[Line]  # of the person, trained on
    held_out: list[Line]  # of the person, measured
    others: dict[str, list[Line]]  # usable dialogues of everybody else who can be a stranger, by person_id
    are_samples: bool  # whether the others are the package's sample people


def read_cast(data_dir: str, person: str | None) -> Cast:
    """Return whose dialogues are trained on and measured. Raises ValueError for a person who has too few."""
    from idl_hf.chat.terminal import find_person
    from idl_hf.rows.negatives import SAMPLE_DATA

    train = Path(data_dir, "train.jsonl")
    person_id = find_person(train, person).person_id
    by_person = _read(train)
    past = by_person.pop(person_id, [])
    validation = Path(data_dir, "validation.jsonl")
    held_out = _unlike(_read(validation).get(person_id, []) if validation.is_file() else [], past)
    if len(past) + len(held_out) < FEWEST or (held_out and len(past) < FEWEST - 1):
        raise ValueError(
            f"'{person_id}' has {len(past)} dialogues to learn from and {len(held_out)} held out in "
            f"'{data_dir}', and fit needs {FEWEST - 1} and one. Import a longer history, or one with shorter "
            "pauses between dialogues."
        )
    if not held_out:
        count = max(1, len(past) // 5)
        past, held_out = past[:-count], past[-count:]
    others = _strangers(by_person, held_out)
    samples = len(others) < 2
    if samples:
        others = {name: own for name, own in _read(SAMPLE_DATA / "train.jsonl").items() if name != person_id}
        others = _strangers(others, held_out)
    return Cast(past, held_out, others, samples)


def _read(file: Path) -> dict[str, list[Line]]:
    """Return the usable dialogues of each person of a file, in its order."""
    from idl_hf.corpora.files import open_text
    from idl_hf.corpora.jsonl import read_dialogues
    from idl_hf.rows.people import usable_dialogues
    from idl_hf.schema import group_by_person

    people = group_by_person(read_dialogues(file))  # first, since it says which line is malformed
    with open_text(file) as content:
        lines = [line.decode("utf-8-sig").strip() for line in content]
    return {
        person.person_id: [
            Line(dialogue, lines[int(dialogue.source.rpartition(":")[2]) - 1]) for dialogue in usable_dialogues(person)
        ]
        for person in people
    }


def _unlike(lines: Iterable[Line], past: Iterable[Line]) -> list[Line]:
    """Return the dialogues that do not repeat one of the past, which would show what is measured."""
    from idl_hf.rows.people import as_read

    seen = {as_read(line.dialogue) for line in past}
    return [line for line in lines if as_read(line.dialogue) not in seen]


def _strangers(by_person: dict[str, list[Line]], held_out: Sequence[Line]) -> dict[str, list[Line]]:
    """Return those with two dialogues and more, without dialogues that are a held-out one from another's side."""
    from idl_hf.schema import comparable

    hidden = {comparable(turn.text) for line in held_out for turn in line.dialogue.turns}

    def shows(line: Line) -> bool:
        shared = sum(comparable(turn.text) in hidden for turn in line.dialogue.turns)
        return 2 * shared >= len(line.dialogue.turns)

    apart = {name: [line for line in own if not shows(line)] for name, own in by_person.items()}
    return {name: own for name, own in apart.items() if len(own) > 1}


def trained_on(cast: Cast, seed: int) -> list[Line]:
    """Return the dialogues to train on: the person's, and about half as many of others, of three people at least."""
    count = len(cast.past)
    people = min(len(cast.others), max(3, round(count / 12)))
    each = max(3, math.ceil(count / 2 / people))
    names = random.Random(seed).sample(sorted(cast.others), people)
    return [*cast.past, *(line for name in names for line in cast.others[name][:each])]
