"""Whose words stand for another person's: in rejected and fabricated replies, and prompts of other people."""

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from idl_hf.cache import digest
from idl_hf.corpora.files import contents_identity
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.rows.arguments import load
from idl_hf.rows.options import AUTO, SAMPLE, corpus_of
from idl_hf.schema import Dialogue, Person, Turn, group_by_person

logger = logging.getLogger(__name__)
SAMPLE_DATA = Path(__file__).parents[1] / "sample_data"
SAMPLE_NAME = "the package's sample people"
MOST = 100  # people of a corpus: more make the choice no better, and each of their utterances is encoded


class Negatives(NamedTuple):
    """People beside those of a split, and who they are in words; nobody and "" where the split has others itself."""

    persons: tuple[Person, ...]
    name: str


NOBODY = Negatives((), "")


def draw_negatives(
    option: str, split: str, persons: Mapping[str, Sequence[Person]], seed: int, on_error: str = "raise"
) -> Negatives:
    """Return whom the rows of a split take other people's words from, and log it once where it is nobody of the split.

    option: of the rows. persons: those of each split of the folder. "auto" takes nobody from a held-out split, whose
    people no training may have seen. on_error: what to do at a malformed dialogue of the corpus that the option names.
    """
    if option == AUTO:
        if len(_speaking(persons[split])) > 1:
            return NOBODY
        own = {person.person_id for person in persons[split]}
        others = [person for person in _speaking(persons.get("train", ())) if person.person_id not in own]
        if others:
            return _said(split, Negatives(tuple(others), f"the {len(others)} other people of the train split"))
    if option in (AUTO, SAMPLE):
        return _said(split, Negatives(tuple(sample_people()), SAMPLE_NAME), ": an easy test")
    people = sorted(_corpus(option, on_error), key=lambda person: digest(seed, "negatives", person.person_id))[:MOST]
    return _said(split, Negatives(tuple(people), f"{len(people)} people of {name_of(option)}"))


def negatives_identity(option: str, on_error: str = "raise") -> str:
    """Return what tells the people behind an option from others, for the key of a dataset. on_error: as of
    `draw_negatives`."""
    if option in (AUTO, SAMPLE):
        return contents_identity(SAMPLE_DATA / "train.jsonl")
    from datasets import load_dataset_builder

    name, folder = corpus_of(option)
    return str(load_dataset_builder(name, "sessions", data_dir=folder, on_error=on_error).cache_dir)


def name_of(option: str) -> str:
    """Return an option without the folder on this machine that it may hold."""
    return option.partition(":")[0]


def sample_people() -> list[Person]:
    """Return the people of the package's own dialogues, which were written for it and are about nobody."""
    return group_by_person(read_dialogues(SAMPLE_DATA / "train.jsonl"))


def _speaking(persons: Sequence[Person]) -> list[Person]:
    return [person for person in persons if any(dialogue.replies() for dialogue in person.dialogues)]


def _corpus(option: str, on_error: str) -> list[Person]:
    name, folder = corpus_of(option)
    dialogues = (
        Dialogue(row["person_id"], row["dialogue_id"], tuple(Turn(t["role"], t["text"]) for t in row["turns"]))
        for row in load(name, "sessions", split="train", data_dir=folder, on_error=on_error)
    )
    return _speaking(group_by_person(dialogues))


def _said(split: str, negatives: Negatives, note: str = "") -> Negatives:
    _say_once(f"Rejected replies and other people's references of '{split}' come from {negatives.name}{note}.")
    return negatives


@functools.cache
def _say_once(text: str) -> None:
    logger.warning(text)
