"""Author verification: beside a second implementation in plain Python, and of speakers whose words are made up."""

import math
import random
from collections import Counter
from dataclasses import replace

import pytest

from idl_hf.evaluation.author import Case, verify_authors
from idl_hf.evaluation.data import DialogueKey
from idl_hf.evaluation.measured_model import Notes, Reply
from idl_hf.evaluation.scores import AUTHOR, score_line

NAMES = ["ant", "bee", "cat", "dog", "elk"]
COMMON = "i you we like see want to go the a house river song day and but really never".split()


def text(seed: str, count: int, own: str = "") -> str:
    """Return so many words that everybody uses, a third of them the speaker's own if they have one."""
    rng = random.Random(seed)
    return " ".join(
        f"{own}{rng.randint(0, 3)}" if own and rng.random() < 0.3 else rng.choice(COMMON) for _ in range(count)
    )


def cases(planted: bool, dialogues: int = 2) -> list[Case]:
    """Return the dialogues of five people, who have words of their own if these are planted."""
    made = []
    for name in NAMES:
        own = name if planted else ""
        for i in range(dialogues):
            known = text(f"{name} {i} known", 60 + 20 * len(made), own)
            written, real = (text(f"{name} {i} {kind}", 40, own)[:80] for kind in ("written", "real"))
            made.append(Case(name, known, written, real))
    return made


# A second implementation


def ngrams(words: str) -> Counter:
    counts: Counter = Counter()
    for word in words.lower().split():
        padded = f" {word} "
        for n in (2, 3, 4):
            counts.update(padded[start : start + n] for start in range(max(1, len(padded) - n + 1)))
            if len(padded) <= n:
                break
    return counts


def vectors(texts: list[str], fitted_on: list[str]) -> list[dict[str, float]]:
    documents = Counter(gram for known in fitted_on for gram in set(ngrams(known)))
    found = []
    for words in texts:
        weights = {
            gram: (1 + math.log(count)) * (math.log((1 + len(fitted_on)) / (1 + documents[gram])) + 1)
            for gram, count in ngrams(words).items()
            if gram in documents
        }
        norm = math.sqrt(math.fsum(weight**2 for weight in weights.values())) or 1.0
        found.append({gram: weight / norm for gram, weight in weights.items()})
    return found


def share(asked: list[str], own: int, pasts: list[list[str]], fitted_on: list[str], author: int = -1) -> float:
    alike = [0.0] * len(pasts)
    for i, words in enumerate(asked):
        (vector,) = vectors([words], fitted_on)
        for other, past in enumerate(vectors([past[i % len(past)] for past in pasts], fitted_on)):
            alike[other] += sum(weight * past.get(gram, 0.0) for gram, weight in vector.items())
    others = [value for other, value in enumerate(alike) if other not in (own, author)]
    return sum(1.0 if value < alike[own] else 0.5 * (value == alike[own]) for value in others) / len(others)


@pytest.mark.parametrize("planted", [True, False])
def test_shares_are_those_of_a_second_implementation(planted):
    made = cases(planted)
    made.insert(2, replace(made[0], known=text("more", 50), written=text("third", 40)[:80]))  # a third dialogue of one
    found = verify_authors(made)
    by_person = [[case for case in made if case.person_id == name] for name in NAMES]
    pasts = [[case.known for case in own] for own in by_person]
    fitted_on = [past[0] for past in pasts]
    for number, (name, own) in enumerate(zip(NAMES, by_person, strict=True)):
        for kind, values in (("written", found.written), ("real", found.ceiling)):
            asked = [getattr(case, kind) for case in own]
            assert values[name] == pytest.approx(share(asked, number, pasts, fitted_on)), (name, kind)
        floors = [
            share([other[i % len(other)].real for i in range(len(own))], number, pasts, fitted_on, author)
            for author, other in enumerate(by_person)
            if other is not own
        ]
        assert any(found.floor[name] == pytest.approx(value) for value in floors)
    assert len({*found.written.values(), *found.ceiling.values(), *found.floor.values()}) > 2


def test_a_planted_speaker_is_found():
    found = verify_authors(cases(planted=True))
    assert list(found.written.values()) == list(found.ceiling.values()) == [1.0] * 5
    assert max(found.floor.values()) < 1
    swapped = cases(planted=True)
    written = [case.written for case in swapped]
    moved = [replace(case, written=text) for case, text in zip(swapped, written[2:] + written[:2], strict=True)]
    assert max(verify_authors(moved).written.values()) < 1


@pytest.mark.parametrize("dialogues", [1, 3])
def test_who_says_the_same_to_all_knows_nobody(dialogues):
    """Of people with as many dialogues each, exactly half of all strangers are less alike, whatever is said."""
    for seed in range(5):
        same = [replace(case, written=text(f"{seed}", 30)) for case in cases(planted=True, dialogues=dialogues)]
        assert sum(verify_authors(same).written.values()) / 5 == pytest.approx(0.5)
    silent = [replace(case, written="") for case in same]
    assert set(verify_authors(silent).written.values()) == {0.5}


def test_texts_without_any_signal_are_at_one_half():
    shares = []
    for seed in range(30):
        made = [replace(case, written=text(f"{seed} {case.known}", 15)) for case in cases(planted=False)]
        shares += verify_authors(made).written.values()
    assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.06)
    everybody_alike = [replace(case, known=COMMON[5] * 9) for case in cases(planted=False)]
    assert set(verify_authors(everybody_alike).written.values()) == {0.5}


def test_a_longer_text_is_told_no_more_easily():
    made = cases(planted=True)
    longer = [replace(case, written=case.real + text("more", 50, case.person_id)) for case in made]
    assert verify_authors(longer).written == verify_authors(longer).ceiling
    shorter = [replace(case, written=case.real[:3]) for case in made]
    assert verify_authors(shorter).written == verify_authors(shorter).ceiling != verify_authors(made).ceiling


def test_whose_replies_are_the_floor_is_settled_by_the_seed():
    made = cases(planted=True)
    assert verify_authors(made) == verify_authors(made)
    floors = [verify_authors(made, seed).floor for seed in range(6)]
    assert any(floor != floors[0] for floor in floors)
    two = verify_authors(made[:4])
    assert two.floor == {}  # each is the other
    assert len(two.written) == len(two.ceiling) == 2


def test_who_is_told_from_others_is_no_stranger_of_the_floor():
    """Whoever wrote the floor is the most alike to it; of the others half are less alike than the person."""
    floors = []
    for seed in range(40):
        made = [replace(case, known=f"{case.known} {text(f'{seed} {case.known}', 9)}") for case in cases(planted=True)]
        floors += verify_authors(made, seed).floor.values()
    assert sum(floors) / len(floors) == pytest.approx(0.5, abs=0.06)


def test_one_person_alone_cannot_be_told_from_anybody():
    with pytest.raises(ValueError, match="needs two people, found 1"):
        verify_authors(cases(planted=True)[:2])


# As a score of a line


class Line:
    """As much of a measured line as the score looks at: several replies in a dialogue of each person."""

    label, test = "a line", "a test"

    def __init__(self, people=NAMES, known="they say {}"):
        self.notes = Notes()
        self.replies = [
            Reply(DialogueKey(name, f"{name}-0"), turn, "", f"real {name} {turn}", f"{name} , written {turn} ?")
            for turn in (1, 3)
            for name in people
        ]
        self.data = self
        self._known = known

    def histories(self, keys):
        return [[self._known.format(key.person_id), "."] for key in keys]


def test_the_replies_of_a_dialogue_are_one_text():
    found = score_line(Line(), AUTHOR)
    by_hand = [
        Case(name, f"they say {name} .", f"{name} , written 1 ? {name} , written 3 ?", f"real {name} 1 real {name} 3")
        for name in NAMES
    ]
    assert [found[key].values for key in AUTHOR] == list(verify_authors(by_hand))
    assert {found[key].rows for key in AUTHOR} == {10}
    assert set(found["author"].values.values()) == {1.0}


def test_what_cannot_be_verified_is_noted():
    for line, note in (
        (Line(NAMES[:1]), "Author verification needs replies of two people, and is left out."),
        (Line(known=""), "Author verification is left out: 5 people say nothing in other dialogues."),
    ):
        line.histories = lambda keys, known=line._known: [[known] if known else [] for _ in keys]
        assert score_line(line, AUTHOR) == {}
        assert line.notes.lines() == [note]
