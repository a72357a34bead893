"""All persons of a split, and what the rows of one take from the others."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from idl_hf.cache import Cache
from idl_hf.encoding import SentenceEncoder
from idl_hf.models.offline import cache_folder
from idl_hf.persona.extractor import PATTERNS, Extract, extractor_identity, load_extractor
from idl_hf.schema import Dialogue, Person, Triple

_RANKED = 200  # statements kept in order for each text
_RANKED_AT_ONCE = 64  # bounds memory: so many rows of a similarity for each statement


class Corpus:
    """All persons of a split, with what rows of one person take from the others."""

    def __init__(self, persons: Sequence[Person], encoder: SentenceEncoder, extractor: str = PATTERNS) -> None:
        self.persons = persons
        self.encoder = encoder
        self.extractor = extractor
        self.choices = Cache(cache_folder() / "references" / "choices.sqlite")
        self.chosen_anew = 0  # persons whose references were not in the cache, for reports and tests
        self._triples: dict[str, list[Triple]] = {}
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._near: dict[str, NDArray[np.int64]] = {}

    def load_vectors(self, texts: Iterable[str]) -> None:
        """Keeps the vectors of these texts at hand, and forgets all others: memory is bounded by one person."""
        unique = list(dict.fromkeys(texts))
        self._vectors = dict(zip(unique, self.encoder.encode(unique), strict=True))
        self._near = {}  # so that no rounding in one person's products reaches another's rows

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, shape (len(texts), d)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self.encoder.encode(new), strict=True))
        return np.stack([self._vectors[text] for text in texts])

    def triples(self, texts: Sequence[str]) -> list[list[Triple]]:
        new = [text for text in dict.fromkeys(texts) if text not in self._triples]
        self._triples.update(zip(new, self._extract(new), strict=True))
        return [self._triples[text] for text in texts]

    def extract_ahead(self, texts: Iterable[str]) -> None:
        """Has a model extract all at once, in long batches; the rules need no more time later."""
        if self.extractor != PATTERNS:
            self.triples(list(texts))

    @cached_property
    def extractor_identity(self) -> str:
        return extractor_identity(self.extractor)

    @cached_property
    def _extract(self) -> Extract:
        return load_extractor(self.extractor)

    @cached_property
    def statements(self) -> tuple[list[str], NDArray[np.float32], list[list[Triple]]]:
        """Every utterance that states a persona fact: texts, unit vectors, triples."""
        said = (text for person in self.persons for dialogue in person.dialogues for text in dialogue.texts("self"))
        unique = list(dict.fromkeys(said))
        found = [text for text, triples in zip(unique, self.triples(unique), strict=True) if triples]
        return found, self.encoder.encode(found), self.triples(found)

    def statements_near(self, text: str, asked_with: Sequence[str]) -> Iterator[tuple[str, list[Triple]]]:
        """The statements with their triples, most similar to `text` first. asked_with: the texts that are likely to be
        asked for next; all are ranked at once, which reads the vectors of the statements once instead of once a text."""
        statements, vectors, triples = self.statements
        if not statements:
            return
        if text not in self._near:
            texts = list(dict.fromkeys([text, *asked_with]))
            self._near = {}
            for start in range(0, len(texts), _RANKED_AT_ONCE):
                batch = texts[start : start + _RANKED_AT_ONCE]
                self._near |= zip(batch, _largest(self.vectors(batch) @ vectors.T, _RANKED), strict=True)
        for i in self._near[text]:
            yield statements[i], triples[i]
        if len(statements) > _RANKED:  # seldom: the person shows the facts of nearly all of them
            for i in np.argsort(-(vectors @ self.vectors([text])[0]), kind="stable")[_RANKED:]:
                yield statements[i], triples[i]

    def other_person(self, person: Person, rng: np.random.Generator) -> Person | None:
        """Anyone else who says something, at random."""
        if not any(speaker.person_id != person.person_id for speaker in self.speakers[:2]):
            return None
        while True:
            other = self.speakers[rng.integers(len(self.speakers))]
            if other.person_id != person.person_id:
                return other

    @cached_property
    def usable(self) -> dict[str, list[Dialogue]]:
        """The usable dialogues of each speaker."""
        return {person.person_id: usable_dialogues(person, Counter()) for person in self.speakers}

    @cached_property
    def speakers(self) -> list[Person]:
        return [person for person in self.persons if any(dialogue.replies() for dialogue in person.dialogues)]


def usable_dialogues(person: Person, drops: Counter[str]) -> list[Dialogue]:
    """Those in which the person says something, each once."""
    speaking = [dialogue for dialogue in person.dialogues if dialogue.replies()]
    drops["dialogue without a reply of the person"] += len(person.dialogues) - len(speaking)
    # A copy under another id would be the nearest reference of its twin, with the reply to predict in it
    unique = {dialogue.turns: dialogue for dialogue in reversed(speaking)}
    drops["dialogue that repeats another of the person"] += len(speaking) - len(unique)
    return list(reversed(unique.values()))


def _largest(values: NDArray, count: int) -> NDArray[np.int64]:
    """Indices of the `count` largest of each row, the largest first; ties: the smaller index. values: (rows, n)."""
    count = min(count, values.shape[1])
    kept = np.sort(np.argpartition(-values, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(values, kept, axis=1), axis=1, kind="stable")
    return np.take_along_axis(kept, order, axis=1)
