"""Which dialogues of a person a prompt shows, in which order: SPI and DPI (paper 3.2) with the options of the rows.
`choose` depends on its arguments alone. `choose_once` keeps on disk what it chose, under everything that it depends
on, so that a rebuild, another config or an interrupted build repeats none of it, and dialogues added for one person
cost that person only. `options.reply` is filled in everywhere here (see `RowOptions.for_config`)."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from idl_hf import dpi, spi
from idl_hf.cache import Cache, cache_folder, code_identity, digest
from idl_hf.conved import Embedded, pairwise_conved
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import People, usable_dialogues
from idl_hf.schema import Dialogue, Person, Turn

Vectors = Callable[[Sequence[str]], NDArray[np.float32]]  # unit vectors of texts, shape (len(texts), d)


class Choice(NamedTuple):
    """A target with its references in prompt order, as indices into the usable dialogues of the person."""

    target: int
    references: tuple[int, ...]
    cluster: int


class Representation(NamedTuple):
    """The texts that stand for a dialogue in SPI."""

    whole: str  # where it is a reference
    known: str  # where it is the target: what comes before the first reply that a row predicts


def choose_once(dialogues: Sequence[Dialogue], people: People, options: RowOptions, past: int = 0) -> list[Choice]:
    """Return what `choose` chooses among the usable dialogues of a person, from disk where it was chosen before."""

    def compute(_: list[int]) -> Iterator[dict[int, bytes]]:
        people.load_vectors(texts_to_choose_by(dialogues, people, options))
        represented = [represent(dialogue, people, options) for dialogue in dialogues]
        yield {0: json.dumps(list(choose(dialogues, represented, people.vectors, options, past))).encode()}

    (kept,) = _cache(len(dialogues)).values([_key(dialogues, people, options, past)], compute)
    return [Choice(target, tuple(references), cluster) for target, references, cluster in json.loads(kept)]


def is_chosen(dialogues: Sequence[Dialogue], people: People, options: RowOptions, past: int = 0) -> bool:
    """Tell whether `choose_once` would read its answer from disk."""
    return bool(_cache(len(dialogues)).known([_key(dialogues, people, options, past)]))


def texts_to_choose_by(dialogues: Iterable[Dialogue], people: People, options: RowOptions) -> Iterator[str]:
    """Yield every text whose vector `choose` needs."""
    for dialogue in dialogues:
        yield from (turn.text for turn in dialogue.turns)
        yield from represent(dialogue, people, options)


def represent(dialogue: Dialogue, people: People, options: RowOptions) -> Representation:
    """Return the texts that stand for a dialogue in SPI."""
    return Representation(persona_text(dialogue.turns, people), persona_text(context_of(dialogue, options), people))


def persona_text(turns: Sequence[Turn], people: People) -> str:
    """Return what represents a dialogue, or the beginning of one (paper Eq. 3)."""
    return spi.persona_text(turns, people.shows_persona(turns))


def context_of(dialogue: Dialogue, options: RowOptions) -> tuple[Turn, ...]:
    """Return the turns before the first reply that a row predicts: they may steer the prompt, nothing after them."""
    return dialogue.turns[: dialogue.replies()[-1 if options.reply == "last" else 0][0]]


def choose(
    dialogues: Sequence[Dialogue],
    represented: Sequence[Representation],
    vectors: Vectors,
    options: RowOptions,
    past: int = 0,
) -> Iterator[Choice]:
    """Yield the targets among the usable dialogues of a person, each with its references.
    past: how many of the dialogues, the first ones, were trained on: the others are held out, and refer to them alone.
    """
    whole, known = (vectors(texts) for texts in zip(*represented, strict=True))
    shown = range(past or len(dialogues))  # what may be a reference
    total = whole[: len(shown)].sum(axis=0, dtype=np.float64)
    for index in range(past, len(dialogues)):
        count = len(shown) - (index in shown)
        if count and not context_of(dialogues[index], options):
            # Nothing was said before: the mean of the others, as in `choose_for_context`
            known[index] = (total - whole[index] * (index in shown)) / count
    for place in _targets(dialogues[0].person_id, known[past:], options):
        index = past + place
        target = dialogues[index]
        rng = np.random.default_rng(options.seed_of(target.person_id, target.dialogue_id, "references"))
        others = [i for i in shown if i != index]
        context = context_of(target, options)
        near, cluster = _nearest(whole[others], known[index], options, rng)
        references = ordered([dialogues[others[i]] for i in near], context, vectors, options, rng)
        yield Choice(index, tuple(dialogues.index(reference) for reference in references), cluster)


def choose_for_context(
    person: Person, context: Sequence[Turn], people: People, options: RowOptions, partner_id: str = ""
) -> list[Dialogue]:
    """Return a person's references for a conversation, in prompt order. Where nobody has said anything yet, they are
    those nearest to the mean of all the person's dialogues, in place of a first message.

    partner_id: whose dialogues with the person are preferred: the nearest of these come first and the others, chosen
    as ever, fill up. Empty prefers none.
    """
    dialogues = usable_dialogues(person)
    if not dialogues or options.references == 0:
        return []
    whole = people.vectors([persona_text(dialogue.turns, people) for dialogue in dialogues])
    known = people.vectors([persona_text(context, people)])[0] if context else whole.mean(axis=0)
    shared = [i for i, dialogue in enumerate(dialogues) if partner_id and dialogue.partner_id == partner_id]
    others = [i for i in range(len(dialogues)) if i not in shared]
    rng, near = np.random.default_rng(options.seed), list[int]()
    for group, chosen_as in ((shared, replace(options, clusters=1)), (others, options)):
        if options.references != "all":
            chosen_as = replace(chosen_as, references=options.references - len(near))
        if group and chosen_as.references:
            near += [group[i] for i in _nearest(whole[group], known, chosen_as, rng)[0]]
    references = [dialogues[i] for i in (sorted(near) if options.input_order else near)]
    return ordered(references, context, people.vectors, options, np.random.default_rng(options.seed))


def _targets(person_id: str, known: NDArray, options: RowOptions) -> Iterable[int]:
    if options.targets == "all":
        return range(len(known))
    seed = options.seed_of(person_id)
    labels = _clusters(known, options, seed)
    if options.targets == "last":
        return sorted(int(np.flatnonzero(labels == label)[-1]) for label in np.unique(labels))
    return spi.choose_targets(labels, seed)


def _nearest(others: NDArray, known: NDArray, options: RowOptions, rng: Generator) -> tuple[list[int], int]:
    """SPI: which of the other dialogues are references, nearest first or in input order, and the target's cluster."""
    if len(others) == 0:
        return [], 0
    count = len(others) if options.references == "all" else options.references
    labels = _clusters(others, options, options.seed)
    near, cluster = spi.choose_references(others, labels, known, count)
    if options.conditioning == "out_of_cluster":
        near = rng.permutation(np.flatnonzero(labels != cluster))[: len(near)].tolist()
    elif options.conditioning == "random" or not options.spi:
        near = rng.permutation(len(others))[:count].tolist()
    return (sorted(near) if options.input_order else near), cluster


def _clusters(vectors: NDArray, options: RowOptions, seed: int) -> NDArray:
    few = len(vectors) < options.min_dialogues_to_cluster
    return spi.cluster_dialogues(vectors, 1 if few else options.clusters, seed)


def ordered(
    references: list[Dialogue], context: Sequence[Turn], vectors: Vectors, options: RowOptions, rng: Generator
) -> list[Dialogue]:
    """Return the references in prompt order (DPI). context: the turns of the current dialogue before the reply."""
    if options.input_order:
        return references
    if options.order == "random" or options.conditioning == "random":
        return [references[i] for i in rng.permutation(len(references))]
    apart = distances([*(reference.turns for reference in references), context], vectors, options)
    mode: dpi.OrderMode = "target_last" if options.order == "target_last" else "free"
    return [references[i] for i in dpi.order_references(apart[:-1, :-1], apart[-1, :-1], mode)]


def distances(shown: Iterable[Sequence[Turn]], vectors: Vectors, options: RowOptions) -> NDArray[np.float64]:
    """Return convED between dialogues or parts of them, each given by its turns, (n, n)."""
    embedded: list[Embedded] = [
        ([turn.role for turn in turns], vectors([turn.text for turn in turns]) if turns else []) for turns in shown
    ]
    return pairwise_conved(embedded, options.scale)


def _cache(dialogues: int) -> Cache:
    def is_sound(value: bytes) -> bool:
        """Tell whether a value is choices among so many dialogues, none of which refers to itself."""
        try:
            choices = [Choice(*choice) for choice in json.loads(value)]
            return all(
                choice.target not in choice.references
                and len(set(choice.references)) == len(choice.references)
                and all(type(i) is int and 0 <= i < dialogues for i in (choice.target, *choice.references))
                and type(choice.cluster) is int
                for choice in choices
            )
        except (TypeError, ValueError, RecursionError):
            return False

    return Cache(cache_folder() / "references" / "choices.sqlite", is_sound)


def _key(dialogues: Sequence[Dialogue], people: People, options: RowOptions, past: int = 0) -> bytes:
    said = [(d.person_id, d.dialogue_id, [(turn.role, turn.text) for turn in d.turns]) for d in dialogues]
    settings = asdict(options) | {"encoder": people.encoder.identity, "extractor": people.extractor_identity}
    for name in ("rejected", "criterion_type", "negatives"):  # they change what is predicted, not what is shown
        del settings[name]
    if options.conditioning not in ("out_of_cluster", "random"):
        settings["conditioning"] = "references"
    code = code_identity("idl_hf.rows.references", "numpy", "scikit-learn")
    return digest(code, sorted(settings.items()), said, past)
