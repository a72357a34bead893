"""Which dialogues of a person a prompt shows, in which order: SPI and DPI (paper 3.2) with the options of the rows.

What was chosen for a person is kept on disk under everything it depends on, so that a rebuild, another config or an
interrupted build repeats none of it, and dialogues added for one person cost that person only.
"""

import functools
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import sklearn
from numpy.typing import NDArray

from idl_hf import dpi, spi
from idl_hf.conved import Embedded, pairwise_conved
from idl_hf.persona import triples
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import Corpus, usable_dialogues
from idl_hf.schema import Dialogue, Person, Turn


@dataclass(frozen=True)
class Choice:
    """A target with its references in prompt order, as indices into the usable dialogues of the person."""

    target: int
    references: tuple[int, ...]
    cluster: int


def choose(person: Person, dialogues: list[Dialogue], reply: str, corpus: Corpus, options: RowOptions) -> list[Choice]:
    """The targets among the usable dialogues of a person, each with its references. reply: which replies a row predicts."""
    key = _key(person, dialogues, reply, corpus, options)
    kept = corpus.choices.read([key])
    if kept:
        return [Choice(target, tuple(references), cluster) for target, references, cluster in json.loads(kept[key])]
    corpus.load_vectors(texts_to_choose_by(dialogues, reply, corpus))
    chosen = list(_choose(person, dialogues, reply, corpus, options))
    corpus.chosen_anew += 1
    corpus.choices.write({key: json.dumps([[c.target, c.references, c.cluster] for c in chosen]).encode()})
    return chosen


def is_chosen(person: Person, reply: str, corpus: Corpus, options: RowOptions) -> bool:
    key = _key(person, usable_dialogues(person, Counter()), reply, corpus, options)
    return bool(corpus.choices.known([key]))


def texts_to_choose_by(dialogues: Iterable[Dialogue], reply: str, corpus: Corpus) -> Iterator[str]:
    for dialogue in dialogues:
        yield from (turn.text for turn in dialogue.turns)
        yield from _representations(dialogue, corpus, reply)


def choose_for_context(person: Person, context: Sequence[Turn], corpus: Corpus, options: RowOptions) -> list[Dialogue]:
    """SPI and DPI for a conversation that is going on: the person's references for it, in prompt order."""
    dialogues = usable_dialogues(person, Counter())
    if not dialogues or options.references == 0:
        return []
    whole = corpus.vectors([_represent(dialogue.turns, corpus) for dialogue in dialogues])
    query = corpus.vectors([_represent(context, corpus)])[0]
    near, _ = _nearest(whole, query, options, np.random.default_rng(options.seed))
    return ordered([dialogues[i] for i in near], context, corpus, options, np.random.default_rng(options.seed))


def ordered(
    references: list[Dialogue], context: Sequence[Turn], corpus: Corpus, options: RowOptions, rng: np.random.Generator
) -> list[Dialogue]:
    """DPI: the references in prompt order. context: the turns of the current dialogue before the reply."""
    if options.input_order:
        return references
    if options.order == "random" or options.conditioning == "random":
        return [references[i] for i in rng.permutation(len(references))]
    embedded: list[Embedded] = [
        ([turn.role for turn in turns], corpus.vectors([turn.text for turn in turns]) if turns else [])
        for turns in [*(reference.turns for reference in references), context]
    ]
    distances = pairwise_conved(embedded, options.scale)
    mode: dpi.OrderMode = "target_last" if options.order == "target_last" else "free"
    order = dpi.order_references(distances[:-1, :-1], distances[-1, :-1], mode)
    return [references[i] for i in order]


def first_predicted(dialogue: Dialogue, reply: str) -> int:
    """Where the first reply that a row predicts begins: all before it may steer the prompt, nothing after."""
    return dialogue.replies()[-1 if reply == "last" else 0][0]


def seed_of(options: RowOptions, *names: str) -> int:
    return zlib.crc32(repr((options.seed, *names)).encode())


def _choose(
    person: Person, dialogues: list[Dialogue], reply: str, corpus: Corpus, options: RowOptions
) -> Iterator[Choice]:
    texts = [_representations(dialogue, corpus, reply) for dialogue in dialogues]
    whole, query = (corpus.vectors(column) for column in zip(*texts, strict=True))
    for index in _targets(person, query, options):
        dialogue = dialogues[index]
        rng = np.random.default_rng(seed_of(options, person.person_id, dialogue.dialogue_id, "references"))
        others = [i for i in range(len(dialogues)) if i != index]
        near, cluster = _nearest(whole[others], query[index], options, rng)
        context = dialogue.turns[: first_predicted(dialogue, reply)]
        references = ordered([dialogues[others[i]] for i in near], context, corpus, options, rng)
        yield Choice(index, tuple(dialogues.index(reference) for reference in references), cluster)


def _targets(person: Person, query: NDArray, options: RowOptions) -> Iterable[int]:
    if options.targets == "all":
        return range(len(query))
    labels = _clusters(query, options, seed_of(options, person.person_id))
    if options.targets == "last":
        return sorted(int(np.flatnonzero(labels == label)[-1]) for label in np.unique(labels))
    return spi.choose_targets(labels, seed_of(options, person.person_id))


def _nearest(others: NDArray, query: NDArray, options: RowOptions, rng: np.random.Generator) -> tuple[list[int], int]:
    """SPI: which of the other dialogues are references, nearest first or in input order, and the target's cluster."""
    if len(others) == 0:
        return [], 0
    count = len(others) if options.references == "all" else options.references
    labels = _clusters(others, options, options.seed)
    near, cluster = spi.choose_references(others, labels, query, count)
    if options.conditioning == "out_of_cluster":
        near = rng.permutation(np.flatnonzero(labels != cluster))[: len(near)].tolist()
    elif options.conditioning == "random" or not options.spi:
        near = rng.permutation(len(others))[:count].tolist()
    return (sorted(near) if options.input_order else near), cluster


def _clusters(vectors: NDArray, options: RowOptions, seed: int) -> NDArray:
    few = len(vectors) < options.min_dialogues_to_cluster
    return spi.cluster_dialogues(vectors, 1 if few else options.clusters, seed)


def _representations(dialogue: Dialogue, corpus: Corpus, reply: str) -> tuple[str, str]:
    """What stands for a dialogue: as a whole, where it is a reference, and as known before the first reply that a row
    predicts, where it is the target."""
    end = first_predicted(dialogue, reply)
    return _represent(dialogue.turns, corpus), _represent(dialogue.turns[:end], corpus)


def _represent(turns: Sequence[Turn], corpus: Corpus) -> str:
    own = [turn.text for turn in turns if turn.role == "self"]
    facts = [triple for found in corpus.triples(own) for triple in found]
    return spi.persona_text(turns, [bool(triples.persona_utterances([turn.text], facts)) for turn in turns])


def _key(person: Person, dialogues: list[Dialogue], reply: str, corpus: Corpus, options: RowOptions) -> bytes:
    """Everything that the choice depends on."""
    said = [(dialogue.dialogue_id, [(turn.role, turn.text) for turn in dialogue.turns]) for dialogue in dialogues]
    settings = {name: value for name, value in asdict(options).items() if name not in _OF_REPLIES}
    conditioning = options.conditioning if options.conditioning in ("out_of_cluster", "random") else "references"
    settings |= {"conditioning": conditioning, "encoder": corpus.encoder.identity, "reply": reply}
    settings["extractor"] = corpus.extractor_identity
    return hashlib.sha256(repr((_code(), sorted(settings.items()), person.person_id, said)).encode()).digest()


_OF_REPLIES = ("reply", "rejected", "criterion_type")  # they change what is predicted, not what is shown


@functools.cache
def _code() -> str:
    """Of what chooses: another version of it chooses anew."""
    folder = Path(__file__).parents[1]
    files = [folder / f"{name}.py" for name in ("rows/references", "spi", "dpi", "conved")]
    digest = hashlib.sha256(f"{np.__version__} {sklearn.__version__}".encode())
    for file in [*files, *sorted(folder.glob("persona/*.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()
