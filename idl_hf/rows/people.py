"""The people of a split: the vectors and facts of what they say, and what the rows of one take from the others."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from idl_hf.criteria import Statement
from idl_hf.encoding import SentenceEncoder
from idl_hf.persona.extractor import PATTERNS, Extract, extractor_identity, load_extractor
from idl_hf.persona.triples import persona_utterances
from idl_hf.schema import Dialogue, Person, Triple, Turn

_RANKED = 200  # statements kept in order for each text
_RANKED_AT_ONCE = 64  # bounds memory: so many rows of a similarity for each statement


class Statements(NamedTuple):
    """Utterances that state a persona fact, with unit vectors of shape (len(texts), d) and the triples of each."""

    texts: list[str]
    vectors: NDArray[np.float32]
    triples: list[list[Triple]]


class People:
    """All people of a split. Vectors and triples are functions of a text alone, each computed once."""

    def __init__(self, persons: Sequence[Person], encoder: SentenceEncoder, extractor: str = PATTERNS) -> None:
        self.persons = persons
        self.encoder = encoder
        self.extractor = extractor
        self._triples: dict[str, list[Triple]] = {}
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._near: dict[str, NDArray[np.int64]] = {}

    def load_vectors(self, texts: Iterable[str]) -> None:
        """Keep the vectors of these texts at hand and forget all others, so that memory is bounded by one person."""
        unique = list(dict.fromkeys(texts))
        self._vectors = dict(zip(unique, self.encoder.encode(unique), strict=True))
        self._near = {}  # so that no rounding in one person's products reaches another's rows

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), d)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self.encoder.encode(new), strict=True))
        return np.stack([self._vectors[text] for text in texts])

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
        """Every utterance of anyone that states a persona fact, once."""
        own = (text for person in self.persons for dialogue in person.dialogues for text in dialogue.texts("self"))
        unique = list(dict.fromkeys(own))
        texts = [text for text, stated in zip(unique, self.triples(unique), strict=True) if stated]
        return Statements(texts, self.encoder.encode(texts), self.triples(texts))

    def statements_near(self, text: str, asked_with: Sequence[str]) -> Iterator[Statement]:
        """Yield the statements with their triples, most similar to `text` first.
        asked_with: the texts that are likely to be asked for next; all are ranked at once, which reads the vectors of
        the statements once instead of once a text."""
        statements, vectors, stated = self.statements
        if not statements:
            return
        if text not in self._near:
            texts = list(dict.fromkeys([text, *asked_with]))
            self._near = {}
            for start in range(0, len(texts), _RANKED_AT_ONCE):
                batch = texts[start : start + _RANKED_AT_ONCE]
                self._near |= zip(batch, _largest(self.vectors(batch) @ vectors.T, _RANKED), strict=True)
        for i in self._near[text]:
            yield statements[i], stated[i]
        if len(statements) > _RANKED:  # seldom: the person shows the facts of nearly all of them
            for i in np.argsort(-(vectors @ self.vectors([text])[0]), kind="stable")[_RANKED:]:
                yield statements[i], stated[i]

    def other_person(self, person: Person, rng: np.random.Generator) -> Person | None:
        """Return anyone else who says something, at random, None where there is nobody."""
        if not any(speaker.person_id != person.person_id for speaker in self.speakers[:2]):
            return None
        while True:
            other = self.speakers[rng.integers(len(self.speakers))]
            if other.person_id != person.person_id:
                return other

    def other_dialogues(self, person: Person, count: int, rng: np.random.Generator) -> list[Dialogue]:
        """Return as many dialogues of one other person: the yardstick that tells persona from mere length and format.
        Where nobody has as many, these are all of somebody who has the most. Raises ValueError where there is
        nobody."""
        others = [dialogues for person_id, dialogues in self.usable.items() if person_id != person.person_id]
        if not others:
            raise ValueError("conditioning='other_person' needs a second person in the same split.")
        most = min(count, max(map(len, others)))
        enough = [dialogues for dialogues in others if len(dialogues) >= most]
        dialogues = enough[rng.integers(len(enough))]
        return [dialogues[i] for i in rng.permutation(len(dialogues))[:count]]

    @cached_property
    def usable(self) -> dict[str, list[Dialogue]]:
        """The usable dialogues of each speaker, by person_id."""
        return {person.person_id: usable_dialogues(person) for person in self.speakers}

    @cached_property
    def speakers(self) -> list[Person]:
        """All who say something."""
        return [person for person in self.persons if any(dialogue.replies() for dialogue in person.dialogues)]


def shows_persona(turns: Sequence[Turn], extract: Extract) -> list[bool]:
    """Tell of each turn whether the person mentions in it a fact that they state in these turns (paper Eq. 2)."""
    facts = [fact for stated in extract([turn.text for turn in turns if turn.role == "self"]) for fact in stated]
    mentioning = persona_utterances([turn.text for turn in turns], facts)
    return [i in mentioning and turn.role == "self" for i, turn in enumerate(turns)]


def usable_dialogues(person: Person, drops: Counter[str] | None = None) -> list[Dialogue]:
    """Return the dialogues in which the person says something, each once; `drops` counts the others by reason."""
    speaking = [dialogue for dialogue in person.dialogues if dialogue.replies()]
    # A copy under another id would be the nearest reference of its twin, with the reply to predict in it
    unique = {dialogue.turns: dialogue for dialogue in reversed(speaking)}
    if drops is not None:
        drops["dialogue without a reply of the person"] += len(person.dialogues) - len(speaking)
        drops["dialogue that repeats another of the person"] += len(speaking) - len(unique)
    return list(reversed(unique.values()))


def _largest(values: NDArray, count: int) -> NDArray[np.int64]:
    """Return indices of the `count` largest of each row of (rows, n), the largest first; ties: the smaller index."""
    count = min(count, values.shape[1])
    kept = np.sort(np.argpartition(-values, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(values, kept, axis=1), axis=1, kind="stable")
    return np.take_along_axis(kept, order, axis=1)
