"""Author verification: whether replies look as if the person had written them, among all people of a test."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer


@dataclass(frozen=True)
class Case:
    """The replies of one dialogue: whose they should be, and what that person says in other dialogues."""

    person_id: str
    known: str
    written: str  # the replies in question, joined
    real: str  # the person's own in the same places


class Shares(NamedTuple):
    """By person the share of strangers whose past the text is less alike to than to the person's own."""

    written: dict[str, float]
    floor: dict[str, float]  # of another person's real replies, who is no stranger then; {} of two people
    ceiling: dict[str, float]  # of the person's own real replies


def verify_authors(cases: Sequence[Case], seed: int = 0) -> Shares:
    """Return the share of strangers that are less alike, by person: 1 where nobody's past is as alike as the person's
    own, 0.5 in the mean for texts that know nothing of the person. It is an AUC: a tie counts half.

    How alike a text and a past are is the cosine of their tf-idf vectors of character n-grams (2 to 4, within words,
    one and the logarithm of their counts, idf over the people's pasts); of a person with several dialogues the mean
    over these, each beside the past without that dialogue. Of strangers, too, a dialogue is left out, so that nobody
    is a stranger by how much is known of them. The three texts of a dialogue are cut to the length of the shortest,
    since the author of a longer one is told more easily. Of the floor its real author is left out, whose past is the
    most alike of all: else it were below one half. seed: of whose real replies are the floor.

    N-grams, and not the grammar models of LambdaG (Nini et al. 2026; the package `lambdag`, MIT): these want content
    words masked by a tagger, which the package has none of, and models of order 10 for each person and thirty samples
    of others; a person's replies in a test are some dozens of words, and words of content are what a persona is made
    of. N-grams are the usual baseline of author verification, and need no more than scikit-learn. Raises ValueError
    below two people.
    """
    by_person: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_person[case.person_id].append(case)
    if len(by_person) < 2:
        raise ValueError(f"Author verification needs two people, found {len(by_person)}.")
    people = list(by_person.values())
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    vectorizer.fit([own[0].known for own in people])
    rounds = range(max(map(len, people)))
    known = [vectorizer.transform([own[i % len(own)].known for own in people]) for i in rounds]
    order = np.random.default_rng(seed).permutation(len(people))
    others = np.empty_like(order)  # whose real replies are a person's floor
    others[order] = np.roll(order, -1)
    alike = np.zeros((3, len(people), len(people)))  # of each text to each past
    for i, past in zip(rounds, known, strict=True):
        asked = [number for number, own in enumerate(people) if i < len(own)]
        cut = [_cut(people[number], people[others[number]], i) for number in asked]
        for text, of_one_kind in enumerate(zip(*cut, strict=True)):
            alike[text, asked] += (vectorizer.transform(of_one_kind) @ past.T).toarray()
    written, floor, ceiling = alike
    floor[range(len(people)), others] = np.nan
    shares = [_less_alike(written), _less_alike(floor) if len(people) > 2 else [], _less_alike(ceiling)]
    return Shares(*(dict(zip(by_person, of_people, strict=False)) for of_people in shares))


def _cut(own: Sequence[Case], other: Sequence[Case], i: int) -> list[str]:
    """Return a dialogue's replies in question, another person's real ones and the person's own, of one length."""
    texts = own[i].written, other[i % len(other)].real, own[i].real
    return [text[: min(map(len, texts))] for text in texts]


def _less_alike(alike: NDArray) -> list[float]:
    """Return for each row the share of the other columns, without those that are NaN, that are less than the one of
    its own number."""
    alike = alike.round(9)  # what is equal is so on any machine
    own = alike.diagonal()[:, None]
    less = (alike < own).sum(axis=1) + ((alike == own).sum(axis=1) - 1) / 2
    return (less / (np.isfinite(alike).sum(axis=1) - 1)).tolist()
