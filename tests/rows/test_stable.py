"""What must not decide a row: the last bits of a vector, people who have nothing to do with it, the order of the file,
and copies of a dialogue that read the same."""

import json
import random
import unicodedata
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idl_hf.corpora import jsonl
from idl_hf.criteria import Known, inversion
from idl_hf.dpi import order_references
from idl_hf.persona import patterns
from idl_hf.rows import references
from idl_hf.rows.generate import RowBuilder
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import People, usable_dialogues
from idl_hf.schema import Dialogue, Person, Turn, comparable, group_by_person
from idl_hf.spi import choose_references, cluster_dialogues
from tests.rows.letters import Letters, shaken


@pytest.fixture(scope="module")
def persons(sample_data) -> list[Person]:
    return group_by_person(jsonl.read_dialogues(sample_data / "train.jsonl"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(references, "cache_folder", lambda: tmp_path)


def rows(config: str, everyone, some=None, noise: int = 0, drops=None, **options) -> list[dict]:
    builder = RowBuilder(config, People(everyone, Letters(noise)), RowOptions(encoder="letters", **options))
    made = [row for person in (everyone if some is None else some) for row in builder.rows(person)]
    if drops is not None:
        drops.update(builder.drops)
    return made


# The last bits

points = st.lists(st.lists(st.integers(-2, 2).map(lambda n: n / 4), min_size=3, max_size=3), min_size=1, max_size=9)


@given(points, st.integers(1, 9))
def test_the_last_bits_decide_no_cluster_and_no_reference(vectors, seed):
    exact = np.array(vectors, dtype=np.float32)
    other, query = shaken(exact, seed), shaken(exact[0], seed + 1)
    labels = cluster_dialogues(exact)
    assert cluster_dialogues(other).tolist() == labels.tolist()
    assert choose_references(other, labels, query, 5) == choose_references(exact, labels, exact[0], 5)


@given(points, st.integers(1, 9))
def test_the_last_bits_decide_no_order(vectors, seed):
    exact = np.array(vectors[:5], dtype=np.float32)
    apart = np.abs(exact[:, None] - exact[None]).sum(-1)
    assert order_references(shaken(apart, seed), shaken(apart[0], seed)) == order_references(apart, apart[0])


@given(points, st.integers(1, 9))
def test_the_last_bits_decide_no_criterion(vectors, seed):
    exact = np.array(vectors, dtype=np.float32)
    texts = [f"i have {number} dogs ." for number in range(len(vectors))]
    partner, known = list(zip(texts, patterns.extract(texts), strict=True)), Known([])
    for other in (shaken(exact, seed), shaken(exact, seed + 1)):
        assert inversion(other[0], partner, other, known, []) == inversion(exact[0], partner, exact, known, [])


@pytest.mark.parametrize(("config", "options"), [("msl", {"targets": "all"}), ("msl", {}), ("dpoc", {})])
def test_the_last_bits_decide_no_row(persons, config, options):
    some = persons[:4]
    expected = rows(config, some, **options)
    for noise in (1, 2):
        assert rows(config, some, noise=noise, **options) == expected


# Other people, and the order of the file


def replies(made) -> dict[tuple, tuple]:
    """The rejected and the criterion reply of each row, by what it predicts."""
    return {
        (row["person_id"], row["dialogue_id"], str(row["chosen"]), len(row["prompt"])): (
            row["rejected"][0]["content"], row["criterion"][0]["content"], row["criterion_type"],
        )
        for row in made
    }  # fmt: skip


def stranger(name: str) -> Person:
    said = [f"i am {name} and i own {n} old {thing} ." for n, thing in enumerate(["boats", "maps", "clocks", "bells"])]
    turns = [(Turn("partner", f"what about {i} ?"), Turn("self", text)) for i, text in enumerate(said)]
    return Person(name, tuple(Dialogue(name, f"{name}-{i}", both) for i, both in enumerate(turns)))


@pytest.mark.parametrize("name", ["zed", "aaron", "kim"])
@pytest.mark.parametrize("first", [True, False])
def test_a_person_who_comes_in_changes_a_rejected_reply_only_where_it_is_theirs(persons, name, first):
    new = stranger(name)
    own = {text for dialogue in new.dialogues for text in dialogue.texts("self")}
    before = replies(rows("dpoc", persons, targets="all"))
    everyone = [new, *persons] if first else [*persons, new]
    after = replies(rows("dpoc", everyone, persons, targets="all"))
    changed = [key for key in before if key in after and before[key] != after[key]]
    moved = [key for key in changed if before[key][0] != after[key][0]]
    assert all(after[key][0] in own for key in moved)
    # A criterion changes where the new statement is it, or takes the place of it among the nearest
    assert len(changed) < 0.1 * len(before)
    assert len(set(before) ^ set(after)) < 0.02 * len(before)


@pytest.mark.parametrize("conditioning", ["references", "other_person", "strangers"])
def test_the_order_of_the_people_changes_nothing(persons, conditioning):
    shuffled = random.Random(1).sample(persons, len(persons))
    before, after = (rows("dpoc", some, targets="all", conditioning=conditioning) for some in (persons, shuffled))
    assert sorted(map(json.dumps, before)) == sorted(map(json.dumps, after))


@pytest.mark.parametrize("kind", ["rejected", "fabrication"])
def test_the_order_of_the_own_dialogues_changes_no_reply_that_is_drawn(persons, kind):
    turned = [replace(person, dialogues=person.dialogues[::-1]) for person in persons]
    options = {"targets": "all", "criterion_type": "fabrication"}
    before, after = (rows("dpoc", some, **options) for some in (persons, turned))
    own = [
        {(row["dialogue_id"], str(row["chosen"]), str(row["rejected"])) for row in made} for made in (before, after)
    ]
    if kind == "fabrication":
        own = [
            {(row["dialogue_id"], str(row["chosen"]), str(row["criterion"])) for row in made}
            for made in (before, after)
        ]
    assert own[0] == own[1]


# Copies

COPIES = {
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "spaces": lambda text: f"  {text.replace(' ', '  ')}\n",
    "case": str.upper,
    "zero-width": lambda text: text.replace("a", "a\u200b"),
    "curly": lambda text: text.replace("'", "\u2019"),
    "as it is": str,
}
texts = st.lists(st.sampled_from(["caf\u00e9 au lait", "i don't", "na\u00efve ideas", "a b"]), min_size=1, max_size=4)


@given(texts, st.sampled_from(sorted(COPIES)), st.booleans())
def test_a_copy_that_reads_the_same_is_no_dialogue_of_its_own(said, way, other_candidates):
    turns = tuple(Turn("self" if i % 2 == 0 else "partner", text) for i, text in enumerate(said))
    candidates = ("yes", "no") if other_candidates else ()
    copied = tuple(Turn(turn.role, COPIES[way](turn.text), candidates) for turn in turns)
    drops: Counter[str] = Counter()
    owner = Person("ruth", (Dialogue("ruth", "1", turns), Dialogue("ruth", "2", copied)))
    assert [dialogue.dialogue_id for dialogue in usable_dialogues(owner, drops)] == ["1"]
    assert drops["dialogue that repeats another of the person"] == 1


@pytest.mark.parametrize("conditioning", ["other_person", "strangers"])
def test_the_partners_side_of_the_target_is_never_shown_as_another_persons(conditioning):
    def turned(turns):
        return tuple(Turn("partner" if turn.role == "self" else "self", turn.text) for turn in turns)

    talks = [tuple(Turn(("partner", "self")[i % 2], f"{n} says {i}") for i in range(4)) for n in ("one", "two", "six")]
    ruth = Person("ruth", tuple(Dialogue("ruth", str(i), turns) for i, turns in enumerate(talks)))
    dev = Person("dev", tuple(Dialogue("dev", str(i), turned(turns)) for i, turns in enumerate(talks)))
    made = rows("msl", [ruth, dev], targets="all", conditioning=conditioning)
    assert len(made) == 6
    assert all(row["dialogue_id"] not in row["reference_ids"] for row in made)


OFFERED = ["", " ", "\u200b", "I SAIL .", "i  sail .", "i\u00a0sail .", "i sail\u200b .", "no way", "yes"]


@given(st.lists(st.sampled_from(OFFERED), max_size=5), st.sampled_from(["random", "first"]))
@settings(max_examples=40)
def test_no_rejected_reply_is_empty_or_the_chosen_one(candidates, rejected):
    questions = ["i am a nurse .", "i have a boat .", "i like tea ."]
    owner = Person(
        "ruth",
        tuple(
            Dialogue("ruth", str(i), (Turn("partner", text), Turn("self", "i sail .", tuple(candidates))))
            for i, text in enumerate(questions)
        ),
    )
    drops: Counter[str] = Counter()
    made = rows("dpoc", [owner, stranger("zed")], [owner], drops=drops, targets="all", rejected=rejected)
    good = [text for text in candidates if text in ("no way", "yes")]
    assert len(made) + sum(count for reason, count in drops.items() if reason.startswith("reply ")) == 3
    assert drops["candidate that is empty or reads as the chosen reply"] == 3 * (len(candidates) - len(good))
    for row in made:
        assert comparable(row["rejected"][0]["content"]) not in ("", "i sail .")
        assert not good or row["rejected"][0]["content"] in good
