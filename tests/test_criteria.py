"""Criterion replies: each is wrong about the person in one known way, or is refused."""

import numpy as np
import pytest

from idl_hf.criteria import TOP_M, Known, RefusedError, fabrication, inconsistency, inversion
from idl_hf.persona import patterns
from idl_hf.schema import Triple

SEEDS = range(20)


def said(*texts: str) -> list[tuple[str, list[Triple]]]:
    return list(zip(texts, patterns.extract(texts), strict=True))


def made(build, *arguments) -> set[str]:
    """What a builder makes by many seeds; {"refused"} where it never makes anything."""
    replies = set()
    for seed in SEEDS:
        try:
            replies.add(build(*arguments, np.random.default_rng(seed).choice))
        except RefusedError:
            replies.add("refused")
    return replies


def turned(degrees: list[float]) -> np.ndarray:
    """Unit vectors whose cosine with [1, 0] falls as the angle grows."""
    return np.stack([[np.cos(np.radians(angle)), np.sin(np.radians(angle))] for angle in degrees])


# Inconsistency


def inconsistent(chosen: str, own: list[str], partner: list[str]) -> set[str]:
    return made(inconsistency, chosen, said(chosen)[0][1], Known(said(chosen, *own)), said(*partner))


def test_the_papers_farmer_becomes_the_spaceman_of_another_speaker():
    assert inconsistent("i am a farmer .", [], ["i am a spaceman .", "i live in ohio ."]) == {"i am a spaceman ."}


def test_another_relation_serves_where_nobody_has_the_same():
    assert inconsistent("i am a farmer .", ["i want to be a spaceman ."], []) == {"i am a spaceman ."}


def test_the_same_relation_comes_first():
    assert inconsistent("i am a farmer .", ["i want to be a pilot ."], ["i am a spaceman ."]) == {"i am a spaceman ."}


def test_a_triple_about_somebody_else_is_another_one():
    stated = [Triple("i", "has_profession", "farmer")]
    known = [("i am a farmer .", stated), ("my dad is a pilot .", [Triple("my dad", "has_profession", "pilot")])]
    assert made(inconsistency, "i am a farmer .", stated, Known(known), []) == {"i am a pilot ."}


@pytest.mark.parametrize(
    ("chosen", "own", "expected"),
    [
        ("i love hiking .", "i hate shopping .", "i love shopping ."),
        ("i hate dogs .", "i love cats .", "i hate cats ."),
        ("i have two dogs .", "i have three kids .", "i have three dogs ."),
        ("i am 34 .", "i am 35 .", "i am 35 ."),
        ("my favorite color is red .", "i like blue .", "my favorite color is blue ."),
    ],
)
def test_what_denies_the_reply_is_swapped_in(chosen, own, expected):
    assert inconsistent(chosen, [own], []) == {expected}


@pytest.mark.parametrize(
    ("chosen", "own"),
    [
        ("i am a farmer .", "i am a singer ."),  # one can be both
        ("i like pizza .", "i like sushi ."),
        ("i have a dog .", "i have a cat ."),
        ("i love my husband .", "i love my kids ."),
        ("i have two dogs .", "i have three dogs ."),
        ("i live in ohio .", "i am from texas ."),
    ],
)
def test_what_the_person_states_as_well_contradicts_nothing(chosen, own):
    assert inconsistent(chosen, [own], []) == {"refused"}


@pytest.mark.parametrize("partner", ["i am a dairy farmer .", "i am a Farmer .", "i am the farmer ."])
def test_an_object_that_shares_a_word_is_no_other(partner):
    assert inconsistent("i am a farmer .", [], [partner]) == {"refused"}


def test_a_partners_object_that_the_person_mentions_is_none_to_contradict():
    assert inconsistent("i am a farmer .", ["when i teach i am happy ."], ["i am a teacher ."]) == {"refused"}


@pytest.mark.parametrize(
    ("chosen", "partner", "expected"),
    [
        ("i am a farmer .", "i am an artist .", "i am an artist ."),
        ("i am an artist .", "i am a farmer .", "i am a farmer ."),
        ("i am an artist .", "i am an engineer .", "i am an engineer ."),
        ("i am a nurse .", "i am a european chef .", "i am a european chef ."),
        ("i live in ohio .", "i live in texas .", "i live in texas ."),
        ("i live on a farm .", "i live on an island .", "i live on an island ."),
        ("i live on a farm .", "i live in texas .", "refused"),
        ("i live in ohio .", "i live in a castle .", "refused"),
        ("we are farmers .", "i am a nurse .", "refused"),
        ("i am a dog walker .", "we are nurses .", "refused"),
    ],
)
def test_the_swapped_sentence_keeps_its_grammar(chosen, partner, expected):
    assert inconsistent(chosen, [], [partner]) == {expected}


@pytest.mark.parametrize(
    ("chosen", "own", "expected"),
    [
        ("i hate dogs .", "i love cake .", "refused"),  # plural and singular
        ("i hate swimming .", "i love dogs .", "refused"),  # gerund and noun
        ("i hate swimming .", "i love hiking .", "i hate hiking ."),
        ("i love to cook .", "i hate shopping .", "refused"),  # verb and gerund
    ],
)
def test_only_words_of_one_form_are_swapped(chosen, own, expected):
    assert inconsistent(chosen, [own], []) == {expected}


def test_only_whole_words_are_swapped_and_only_the_first():
    chosen = "nursery ? i am a nurse and you are a nurse !"
    assert inconsistent(chosen, [], ["i am a pilot ."]) == {"nursery ? i am a pilot and you are a nurse !"}


def test_a_word_that_begins_the_reply_keeps_its_capital():
    chosen, stated = "Dogs are my favorite.", [Triple("i", "favorite_animal", "Dogs")]
    partner = [("cats are my favorite .", [Triple("i", "favorite_animal", "cats")])]
    assert made(inconsistency, chosen, stated, Known([(chosen, stated)]), partner) == {"Cats are my favorite."}


def test_one_of_several_facts_is_swapped_at_random():
    expected = {"i am a nurse and i live in texas .", "i am a farmer and i live in ohio ."}
    assert inconsistent("i am a farmer and i live in texas .", [], ["i am a nurse .", "i live in ohio ."]) == expected


@pytest.mark.parametrize(
    ("chosen", "partner", "reason"),
    [
        ("hello !", "i am a nurse .", "the reply states nothing"),
        ("i am a farmer .", "i like cake .", "nothing that was said contradicts it"),
        ("we are farmers .", "i am a nurse .", "nothing that contradicts it fits its grammar"),
    ],
)
def test_a_refused_inconsistency_says_why(chosen, partner, reason):
    stated = [Triple("i", "has_profession", "farmers")] if chosen.startswith("we") else said(chosen)[0][1]
    with pytest.raises(RefusedError, match=f"^{reason}$"):
        inconsistency(chosen, stated, Known([(chosen, stated)]), said(partner), min)


# Fabrication


def test_a_fabrication_is_one_of_the_most_similar_statements():
    animals = "ant bat cod doe eel elk emu fox gnu hog jay kea koi owl pug ram rat sow tit yak".split()
    assert len(animals) == TOP_M
    near = said(*(f"i have a {animal} ." for animal in animals))
    replies = {
        fabrication([*near, *said("i am a nurse .")], Known([]), (), np.random.default_rng(seed).choice)
        for seed in range(200)
    }
    assert replies == {text for text, _ in near}


def test_no_statement_beyond_the_most_similar_makes_up_for_those_that_are_shared():
    statements = said(*(f"i have a dog named {'x' * i} ." for i in range(1, TOP_M + 1)), "i am a nurse .")
    assert made(fabrication, statements, Known(said("my dog is here .")), ()) == {"refused"}


@pytest.mark.parametrize(
    ("statement", "own"),
    [
        ("i have a dog .", "i have two dogs ."),
        ("i have a dog .", "i love dogs ."),  # of another relation
        ("i have two pets .", "i have a cat ."),  # by the name of its kind
        ("i am a teacher .", "in may i teach again ."),  # in a sentence in which nothing was found
        ("i am a nurse and i have a dog .", "my dog is old ."),  # in part
    ],
)
def test_a_fabrication_shares_nothing_with_the_person(statement, own):
    assert made(fabrication, said(statement, "i am a pilot ."), Known(said(own)), ()) == {"i am a pilot ."}


def test_what_the_person_asks_is_nothing_shared():
    assert made(fabrication, said("i have a dog ."), Known(said("do you think i want a dog ?")), ()) == {
        "i have a dog ."
    }


def test_a_fabrication_repeats_no_reply():
    statements = said("i am a pilot .", "i am a nurse .", "i am a chef .")
    assert made(fabrication, statements, Known([("I am a chef!", [])]), ("i am a nurse",)) == {"i am a pilot ."}


@pytest.mark.parametrize("statements", [[], said("hello !"), said("i have a dog .")])
def test_no_fabrication_where_every_statement_is_shared(statements):
    assert made(fabrication, statements, Known(said("my dog is here .")), ()) == {"refused"}


# Inversion


def inverted(partner: list[str], angles: list[float], own: list[str], taken: list[str]) -> str:
    return inversion(np.array([1.0, 0.0]), said(*partner), turned(angles), Known(said(*own)), taken)


def test_an_inversion_is_the_most_similar_of_what_the_partners_state():
    partner = ["i am a nurse .", "i live in ohio .", "where do you live ?", "hello there !"]
    assert inverted(partner, [80, 20, 10, 5], [], []) == "i live in ohio ."


def test_an_inversion_is_nothing_that_the_person_shares():
    assert inverted(["i have a dog .", "i am a pilot ."], [10, 20], ["i love my dogs ."], []) == "i am a pilot ."


def test_an_inversion_repeats_no_reply():
    partner = ["I am a nurse!", "i am a pilot .", "i live in ohio ."]
    assert inverted(partner, [10, 20, 30], [], ["i am a nurse .", "i am a pilot"]) == "i live in ohio ."


@pytest.mark.parametrize("partner", [[], ["hi", "do you like dogs ?"], ["i have a dog ."]])
def test_no_inversion_where_the_partners_state_nothing_else(partner):
    with pytest.raises(RefusedError, match="state nothing that the person does not share"):
        inversion(np.array([1.0, 0.0]), said(*partner), np.ones((len(partner), 2)), Known(said("i love my dog .")), [])
