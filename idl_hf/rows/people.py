"""The people of a split: the vectors and facts of what they say, and what the rows of one take from the others."""

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from idl_hf.cache import digest
from idl_hf.criteria import Statement
from idl_hf.encoding import SentenceEncoder, rounded
from idl_hf.persona.extractor import PATTERNS, Extract, extractor_identity, load_extractor
from idl_hf.persona.triples import persona_utterances
from idl_hf.schema import Dialogue, Person, Triple, Turn, comparable

_RANKED = 200  # statements kept in order for each text
_RANKED_AT_ONCE = 64  # bounds memory: so many rows of a similarity for each statement


class Statements(NamedTuple):
    """Utterances that state a persona fact, with unit vectors of shape (len(texts), d) and the triples of each."""

    texts: list[str]
    vectors: NDArray[np.float32]
    triples: list[list[Triple]]


class People:
    """All people of a split. Vectors and triples are functions of a text alone, each computed once.
    elsewhere: people of no row, whose words these take as another person's; without any, they take those of the split.
    One who has the id of the row's person is taken for the same."""

    def __init__(
        self,
        persons: Sequence[Person],
        encoder: SentenceEncoder,
        extractor: str = PATTERNS,
        elsewhere: Sequence[Person] = (),
    ) -> None:
        self.persons = persons
        self.elsewhere = elsewhere
        self.negatives = elsewhere or persons
        self.encoder = encoder
        self.extractor = extractor
        self._triples: dict[str, list[Triple]] = {}
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._near: dict[str, NDArray[np.int64]] = {}
        self._means: dict[tuple[str, ...], NDArray[np.float64]] = {}  # by person_id and dialogue_ids

    def load_vectors(self, texts: Iterable[str]) -> None:
        """Keep the vectors of these texts at hand and forget all others, so that memory is bounded by one person."""
        unique = list(dict.fromkeys(texts))
        self._vectors = dict(zip(unique, self._encode(unique), strict=True))
        self._near = {}  # so that no rounding in one person's products reaches another's rows

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), d)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._encode(new), strict=True))
        return np.stack([self._vectors[text] for text in texts])

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return rounded(self.encoder.encode(texts)).astype(np.float32)

    def triples(self, texts: Sequence[str]) -> list[list[Triple]]:
        """Return the persona facts that each text states."""
        new = [text for text in dict.fromkeys(texts) if text not in self._triples]
        self._triples.update(zip(new, self._extract(new), strict=True))
        return [self._triples[text] for text in texts]

    def extract_ahead(self, texts: Iterable[str]) -> None:
        """Have a model extract from all texts at once, in long batches; the rules need no more time later."""
        if self.extractor != PATTERNS:
            self.triples(list(texts))

    def shows_persona(self, turns: Sequence[Turn]) -> list[bool]:
        """Tell of each turn whether it shows a fact of the person."""
        return shows_persona(turns, self.triples)

    @cached_property
    def extractor_identity(self) -> str:
        """What tells the extractor from others."""
        return extractor_identity(self.extractor)

    @cached_property
    def _extract(self) -> Extract:
        return load_extractor(self.extractor)

    @cached_property
    def statements(self) -> Statements:
        """Every utterance of the negatives that states a persona fact, once."""
        own = (text for person in self.negatives for dialogue in person.dialogues for text in dialogue.texts("self"))
        unique = sorted(set(own))  # whatever the order of the file
        texts = [text for text, stated in zip(unique, self.triples(unique), strict=True) if stated]
        return Statements(texts, self._encode(texts), self.triples(texts))

    def statements_near(self, text: str, asked_with: Iterable[str]) -> Iterator[Statement]:
        """Yield the statements with their triples, most similar to `text` first.
        asked_with: the texts that are likely to be asked for next, read where `text` was not among the last ones; all
        are ranked at once, which reads the vectors of the statements once instead of once a text."""
        statements, vectors, stated = self.statements
        if not statements:
            return
        if text not in self._near:
            texts = list(dict.fromkeys([text, *asked_with]))
            self._near = {}
            for start in range(0, len(texts), _RANKED_AT_ONCE):
                batch = texts[start : start + _RANKED_AT_ONCE]
                self._near |= zip(batch, _largest(rounded(self.vectors(batch) @ vectors.T), _RANKED), strict=True)
        for i in self._near[text]:
            yield statements[i], stated[i]
        if len(statements) > _RANKED:  # seldom: the person shows the facts of nearly all of them
            for i in np.argsort(-rounded(vectors @ self.vectors([text])[0]), kind="stable")[_RANKED:]:
                yield statements[i], stated[i]

    def other_replies(self, person: Person, key: bytes) -> Iterator[str]:
        """Yield what others say, all utterances in the order of a ring that is entered at `key`.
        The place of an utterance is the hash of its ids, so that others who come in or in another order change what is
        yielded first only where it is theirs."""
        places, utterances = self._ring
        start = bisect(places, key)
        for person_id, text in (utterances[i % len(places)] for i in range(start, start + len(places))):
            if person_id != person.person_id:
                yield text

    @cached_property
    def _ring(self) -> tuple[list[bytes], list[tuple[str, str]]]:
        """The places of all utterances of persons, in order, and of each who says what."""
        ring = sorted(
            (digest(person.person_id, dialogue.dialogue_id, i), person.person_id, turn.text)
            for person in self.speakers
            for dialogue in person.dialogues
            for i, turn in enumerate(dialogue.turns)
            if turn.role == "self"
        )
        return [place for place, _, _ in ring], [(person_id, text) for _, person_id, text in ring]

    def other_dialogues(self, target: Dialogue, count: int, seed: int) -> list[Dialogue]:
        """Return as many dialogues of one other person: the yardstick that tells persona from mere length and format.
        Where nobody has as many, these are all of somebody who has the most; the smallest hash of the ids decides, as
        in `other_replies`. None is the target as its partner has it. Raises ValueError where there is nobody."""
        said, counts = said_in(target), self.counts_beside(target)
        if not any(counts.values()):
            raise ValueError("conditioning='other_person' needs a second person in the same split, or negatives.")
        most = min(count, max(counts.values()))
        enough = (name for name, dialogues in counts.items() if dialogues >= most)
        chosen = min(enough, key=lambda name: digest(seed, target.dialogue_id, name))
        others = [dialogue for dialogue in self.usable[chosen] if said_in(dialogue) != said]
        return sorted(others, key=lambda other: digest(seed, target.dialogue_id, chosen, other.dialogue_id))[:count]

    def counts_beside(self, target: Dialogue) -> dict[str, int]:
        """Return how many usable dialogues each other speaker has, by person_id, the target as its partner has it
        apart."""
        said = said_in(target)
        counts = {name: len(own) - self._told[said][name] for name, own in self.usable.items()}
        counts.pop(target.person_id, None)
        return counts

    def beside(self, target: Dialogue, other: Person) -> Person:
        """Return one of `speaking` without the target as they have it, if they do."""
        return without(target, other) if self._told[said_in(target)][other.person_id] else other

    def mean_vector(self, person: Person) -> NDArray[np.float64]:
        """Return the unit vector of the mean of all that a person says, shape (d,)."""
        key = (person.person_id, *(dialogue.dialogue_id for dialogue in person.dialogues))
        if key not in self._means:
            said = [text for dialogue in person.dialogues for text in dialogue.texts("self")]
            mean = self._encode(said).astype(np.float64).mean(axis=0)
            self._means[key] = mean / np.linalg.norm(mean)
        return self._means[key]

    @cached_property
    def _told(self) -> dict[tuple[str, ...], Counter[str]]:
        """How many usable dialogues of each person, by person_id, say these words."""
        told: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for name, dialogues in self.usable.items():
            for dialogue in dialogues:
                told[said_in(dialogue)][name] += 1
        return told

    @cached_property
    def usable(self) -> dict[str, list[Dialogue]]:
        """The usable dialogues of each speaker among the negatives, by person_id."""
        return {person.person_id: usable_dialogues(person) for person in self.speakers}

    @cached_property
    def speaking(self) -> list[Person]:
        """The speakers with the dialogues in which they say something."""
        return list(map(speaking_of, self.speakers))

    @cached_property
    def speakers(self) -> list[Person]:
        """All of the negatives who say something."""
        return [person for person in self.negatives if any(dialogue.replies() for dialogue in person.dialogues)]


def speaking_of(person: Person) -> Person:
    """Return a person with the dialogues in which they say something."""
    return Person(person.person_id, tuple(dialogue for dialogue in person.dialogues if dialogue.replies()))


def without(target: Dialogue, person: Person) -> Person:
    """Return a person with what they say in other dialogues than the target, from either side: what is to be told must
    not steer by whom."""
    said = said_in(target)
    return Person(person.person_id, tuple(dialogue for dialogue in person.dialogues if said_in(dialogue) != said))


def shows_persona(turns: Sequence[Turn], extract: Extract) -> list[bool]:
    """Tell of each turn whether the person mentions in it a fact that they state in these turns (paper Eq. 2)."""
    facts = [fact for stated in extract([turn.text for turn in turns if turn.role == "self"]) for fact in stated]
    mentioning = persona_utterances([turn.text for turn in turns], facts)
    return [i in mentioning and turn.role == "self" for i, turn in enumerate(turns)]


def usable_dialogues(person: Person, drops: Counter[str] | None = None) -> list[Dialogue]:
    """Return the dialogues in which the person says something, each once; `drops` counts the others by reason."""
    speaking = [dialogue for dialogue in person.dialogues if dialogue.replies()]
    # A copy under another id would be the nearest reference of its twin, with the reply to predict in it
    unique = {as_read(dialogue): dialogue for dialogue in reversed(speaking)}
    if drops is not None:
        drops["dialogue without a reply of the person"] += len(person.dialogues) - len(speaking)
        drops["dialogue that repeats another of the person"] += len(speaking) - len(unique)
    return list(reversed(unique.values()))


def as_read(dialogue: Dialogue) -> tuple[tuple[str, str], ...]:
    """Return who says what, equal for copies that read the same, whatever candidates they have."""
    return tuple((turn.role, comparable(turn.text)) for turn in dialogue.turns)


def said_in(dialogue: Dialogue) -> tuple[str, ...]:
    """Return what is said, equal for both sides of one conversation."""
    return tuple(comparable(turn.text) for turn in dialogue.turns)


def _largest(values: NDArray, count: int) -> NDArray[np.int64]:
    """Return indices of the `count` largest of each row of (rows, n), the largest first; ties: the smaller index."""
    count = min(count, values.shape[1])
    kept = np.sort(np.argpartition(-values, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(values, kept, axis=1), axis=1, kind="stable")
    return np.take_along_axis(kept, order, axis=1)
