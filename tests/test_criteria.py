"""Criterion replies: each is wrong about the person in one known way, or is not made."""

import numpy as np
import pytest

from idl_hf.criteria import TOP_M, fabrication, inconsistency, inversion
from idl_hf.schema import Triple

SEEDS = range(10)


def fact(relation: str, obj: str) -> Triple:
    return Triple("i", relation, obj)


def replies(build, *arguments) -> set[str | None]:
    return {build(*arguments, np.random.default_rng(seed)) for seed in SEEDS}


def turned(degrees: list[float]) -> np.ndarray:
    """Unit vectors whose cosine with [1, 0] falls as the angle grows."""
    return np.stack([[np.cos(np.radians(angle)), np.sin(np.radians(angle))] for angle in degrees])


# Inconsistency


def test_the_papers_farmer_becomes_a_spaceman():
    stated, known = (
        [fact("has_profession", "farmer")],
        [fact("has_profession", "spaceman"), fact("like_food", "pizza")],
    )
    assert replies(inconsistency, "i am a farmer .", stated, known) == {"i am a spaceman ."}


@pytest.mark.parametrize(
    ("reply", "old", "new", "expected"),
    [
        ("i am a farmer .", "farmer", "artist", "i am an artist ."),
        ("i am an artist .", "artist", "farmer", "i am a farmer ."),
        ("i am an artist .", "artist", "engineer", "i am an engineer ."),
        ("i am the farmer .", "farmer", "artist", "i am the artist ."),
        ("i love my two dogs .", "two dogs", "old cat", "i love my old cat ."),
    ],
)
def test_the_article_agrees_with_the_new_object(reply, old, new, expected):
    assert replies(inconsistency, reply, [fact("r", old)], [fact("r", new)]) == {expected}


def test_another_relation_serves_where_the_same_has_no_other_object():
    stated, known = [fact("has_profession", "farmer")], [fact("has_profession", "farmer"), fact("like_food", "pizza")]
    assert replies(inconsistency, "i am a farmer .", stated, known) == {"i am a pizza ."}


def test_only_whole_words_are_swapped_and_only_the_first():
    stated, known = [fact("have_pet", "cat")], [fact("have_pet", "dog")]
    assert replies(inconsistency, "catalogues ? my Cat and your cat !", stated, known) == {
        "catalogues ? my dog and your cat !"
    }


def test_one_of_several_facts_is_swapped_at_random():
    stated = [fact("has_profession", "farmer"), fact("live_in_general", "texas")]
    known = [fact("has_profession", "nurse"), fact("live_in_general", "ohio")]
    assert replies(inconsistency, "i am a farmer in texas .", stated, known) == {
        "i am a nurse in texas .",
        "i am a farmer in ohio .",
    }


@pytest.mark.parametrize(
    ("stated", "known"),
    [
        ([], [fact("has_profession", "nurse")]),
        ([fact("has_profession", "farmer")], []),
        ([fact("has_profession", "farmer")], [fact("has_profession", "Farmer")]),  # it is in the reply already
        ([fact("has_profession", "sailor")], [fact("has_profession", "nurse")]),  # not in the reply
    ],
)
def test_no_inconsistency_where_nothing_can_be_swapped(stated, known):
    assert replies(inconsistency, "i am a farmer .", stated, known) == {None}


# Fabrication


def test_a_fabrication_shares_no_fact_with_the_person():
    sentences = ["i have a dog .", "i am a nurse and have a dog .", "i am a pilot .", "hello ."]
    stated = [
        [fact("have_pet", "Dog")],
        [fact("has_profession", "nurse"), fact("have_pet", "dog")],
        [fact("has_profession", "pilot")],
        [],
    ]
    made = replies(fabrication, list(zip(sentences, stated, strict=True)), [fact("have_pet", "dog")])
    assert made == {"i am a pilot ."}


def test_a_fabrication_is_one_of_the_most_similar_statements():
    count = 3 * TOP_M
    statements = [(f"i own {i} boats .", [fact("own", f"{i} boats")]) for i in range(count)]
    made = {fabrication(statements, [], np.random.default_rng(seed)) for seed in range(100)}
    assert made == {sentence for sentence, _ in statements[:TOP_M]}


def test_no_fabrication_where_the_person_showed_every_fact():
    assert replies(fabrication, [("i have a dog .", [fact("a", "dog")])], [fact("a", "DOG")]) == {None}


def test_no_fabrication_where_nobody_stated_anything():
    assert replies(fabrication, [], []) == {None}


# Inversion


def test_an_inversion_is_the_partners_most_similar_utterance():
    texts = ["far", "near", "nearer"]
    assert inversion(np.array([1.0, 0.0]), texts, turned([80, 20, 10]), set()) == "nearer"


def test_an_inversion_passes_over_what_is_taken():
    texts = ["far", "near", "nearer"]
    assert inversion(np.array([1.0, 0.0]), texts, turned([80, 20, 10]), {"nearer", "near"}) == "far"


def test_no_inversion_where_the_partner_said_nothing_else():
    assert inversion(np.array([1.0, 0.0]), ["hi"], turned([0]), {"hi"}) is None
    assert inversion(np.array([1.0, 0.0]), [], np.zeros((0, 2)), set()) is None
