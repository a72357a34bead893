"""What forgetting a dialogue removes from this machine, and what it leaves, with the command that deletes it."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from idl_hf.encoding import SentenceEncoder, forget_vectors
from idl_hf.models.identity import is_adapter
from idl_hf.persona.extractor import PATTERNS, forget_triples
from idl_hf.registration import dataset_names
from idl_hf.rows.people import People
from idl_hf.rows.references import persona_text
from idl_hf.schema import Turn, comparable


@dataclass(frozen=True)
class Left:
    """What may still hold a dialogue, and the command that deletes it."""

    what: str
    command: str


@dataclass(frozen=True)
class Forgotten:
    """What was removed with a dialogue, and what is left.

    dialogue_ids: of those that said it, copies too. vectors, triples: how many values were removed from the caches.
    folders: the saved personas that were written anew, without it and without their conversation.
    """

    dialogue_ids: tuple[str, ...]
    vectors: int
    triples: int
    folders: tuple[Path, ...]
    left: tuple[Left, ...]


@dataclass(frozen=True)
class RemovedValues:
    """How many values of the caches were removed."""

    vectors: int
    triples: int


def says_the_same(turns: Sequence[Turn], others: Sequence[Turn]) -> bool:
    """Tell whether two dialogues read the same, whatever they are called."""
    read = [[(turn.role, comparable(turn.text)) for turn in each] for each in (turns, others)]
    return read[0] == read[1]


def remove_from_caches(
    turns: Sequence[Turn], others: Iterable[str], encoder: SentenceEncoder, extractor: str
) -> RemovedValues:
    """Remove what the caches keep of a dialogue, and of other texts, and return how many values that was.

    A dialogue has vectors of its turns and of what represents it, or a beginning of it, in SPI.
    """
    texts = {turn.text for turn in turns} | set(others)
    for name in {PATTERNS, extractor}:
        people = People([], encoder, name)
        texts |= {persona_text(turns[:end], people) for end in range(1, len(turns) + 1)}
    return RemovedValues(forget_vectors(texts), forget_triples(texts))


def what_is_left(model: str | None) -> tuple[Left, ...]:
    """Return what may hold a dialogue and is not the chat's to delete: rows that `datasets` built, a trained adapter.

    model: the name of the model that the chat is with.
    """
    from datasets import config  # here, since it takes a second

    folders = [Path(config.HF_DATASETS_CACHE, name) for name in dataset_names()]
    rows = [Left("rows built from it by `datasets`", _delete(folder)) for folder in folders if folder.is_dir()]
    if model is None or not Path(model).is_dir() or not is_adapter(model):
        return tuple(rows)
    weights = Left("what the adapter learnt, if it was trained on it (train it anew without)", _delete(Path(model)))
    return (*rows, weights)


def _delete(folder: Path) -> str:
    return f"rm -r {shlex.quote(str(folder))}"
