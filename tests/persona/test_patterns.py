"""Persona triples as text, where they occur in utterances, and the rules that find them without a model."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.persona.patterns import extract
from idl_hf.persona.triples import format_triples, mentions, parse_triples, persona_utterances
from idl_hf.schema import Triple

words = st.text(st.characters(exclude_characters="<>\n,", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
phrases = st.lists(words, min_size=1, max_size=3).map(" ".join)
phrases_with_commas = st.lists(phrases, min_size=1, max_size=3).map(", ".join)
triples = st.builds(Triple, subject=phrases, relation=words, object=phrases_with_commas)


def from_paper(elements: list[list[str]]) -> list[Triple]:
    """The worked numbers write the object first, as the paper's extractor does."""
    return [Triple(subject, relation, obj) for obj, relation, subject in elements]


def facts(utterance: str) -> list[tuple[str, str]]:
    (found,) = extract([utterance])
    assert all(triple.subject == "i" for triple in found)
    return [(triple.relation, triple.object) for triple in found]


# Triples as text


def test_worked_texts_are_parsed_strictly(vectors):
    cases = vectors("extractor")["parse"]
    assert len(cases) == 9
    for case in cases:
        assert parse_triples(case["text"]) == from_paper(case["strict_parsed"]), case["name"]


def test_the_object_comes_first_in_the_papers_format():
    assert format_triples([Triple("i", "have_pet", "two dogs")]) == "<two dogs, have_pet, i>"


@given(st.lists(triples, max_size=5))
def test_what_is_formatted_is_parsed_back(some):
    assert parse_triples(format_triples(some)) == some


@given(st.text(st.sampled_from("<>,\n ai"), max_size=60))
def test_any_text_yields_only_triples_without_an_empty_element(text):
    for triple in parse_triples(text):
        assert triple.subject
        assert triple.relation
        assert triple.object


# Which utterances show persona


def test_worked_utterances(vectors):
    worked = vectors("extractor")["persona_utterances"]
    assert len(worked["cases"]) == 4
    for case in worked["cases"]:
        expected = case.get("persona_utterance_indices", case.get("persona_utterance_indices_word_boundary"))
        assert persona_utterances(worked["utterances"], from_paper(case["triples"])) == expected


def test_without_a_triple_no_utterance_shows_persona():
    assert persona_utterances(["i have two dogs ."], []) == []


@pytest.mark.parametrize(
    ("utterance", "obj", "expected"),
    [
        ("My TWO Dogs bark .", "two dogs", True),
        ("i have two big dogs .", "two dogs", True),  # every word, though not side by side
        ("i have dogs .", "two dogs", False),
        ("i have a catalogue .", "cat", False),
        ("i love c++ .", "c++", True),
        ("i am a dog-walker .", "dog", True),
    ],
)
def test_an_object_is_mentioned_by_whole_words(utterance, obj, expected):
    assert mentions(utterance, Triple("i", "have", obj)) is expected


@given(phrases, phrases, phrases)
def test_an_object_between_blanks_is_always_mentioned(before, obj, after):
    assert mentions(f"{before} {obj} {after}", Triple("i", "have", obj))


# The rules


@pytest.mark.parametrize(
    ("utterance", "expected"),
    [
        ("i have two dogs .", [("have_pet", "two dogs")]),
        ("I Have Two Cats.", [("have_pet", "Two Cats")]),  # objects are verbatim
        ("i've got a parrot .", [("have_pet", "parrot")]),
        ("my cat keeps me company", [("have_pet", "cat")]),
        ("i'm a retired lighthouse keeper.", [("has_profession", "retired lighthouse keeper")]),
        ("i’m a plumber .", [("has_profession", "plumber")]),
        ("i am a farmer .", [("has_profession", "farmer")]),
        ("i work as a nurse in ohio .", [("has_profession", "nurse")]),
        ("i drive a truck for a living .", [("has_profession", "drive a truck")]),
        ("i work at a bank .", [("employed_by_general", "bank")]),
        ("i volunteer with mountain rescue .", [("employed_by_general", "mountain rescue")]),
        ("i live in a small town .", [("live_in_general", "small town")]),
        ("i was born in chicago .", [("live_in_citystatecountry", "chicago")]),
        ("i am from canada .", [("live_in_citystatecountry", "canada")]),
        ("my favorite food is pizza .", [("favorite_food", "pizza")]),
        ("my favourite color is blue .", [("favorite_color", "blue")]),
        ("blue is my favorite color .", [("favorite_color", "blue")]),
        ("i love pizza .", [("like_food", "pizza")]),
        ("i like to remodel homes .", [("like_activity", "remodel homes")]),
        ("i really enjoy hiking .", [("like_activity", "hiking")]),
        ("i am obsessed with opera .", [("like_general", "opera")]),
        ("i hate broccoli .", [("dislike_food", "broccoli")]),
        ("i don't like spiders .", [("dislike", "spiders")]),
        ("i am happily married .", [("marital_status", "happily married")]),
        ("i am retired .", [("job_status", "retired")]),
        ("i have three kids .", [("have_children", "three kids")]),
        ("my wife is a teacher .", [("have_family", "wife")]),
        ("i am 25 years old .", [("physical_attribute", "25 years old")]),
        ("i'm vegan .", [("diet", "vegan")]),
        ("i play the guitar .", [("has_ability", "play the guitar")]),
        ("i collect stamps .", [("has_ability", "collect stamps")]),
        ("i want to be a doctor .", [("want_job", "doctor")]),
        ("i have a red car .", [("have_vehicle", "red car")]),
        ("my name is bosun .", [("name", "bosun")]),
        ("i have a dog . do you ?", [("have_pet", "dog")]),
        ("i have a dog , do you ?", [("have_pet", "dog")]),
        ("i am a farmer . i live in texas .", [("has_profession", "farmer"), ("live_in_citystatecountry", "texas")]),
        ("my sister and i sing .", [("have_sibling", "sister"), ("has_ability", "sing")]),
        ("i work at target .", [("employed_by_company", "target")]),
        ("i go to art school .", [("attend_school", "art school")]),
        ("i drive an old van .", [("have_vehicle", "old van")]),
        ("i just painted my kayak .", [("own", "kayak")]),
        ("i brew ale .", [("like_activity", "brew ale")]),
        ("i would love to visit peru .", [("want_do", "peru")]),
        ("i used to be a baker .", [("used_to", "baker")]),
        ("i love tea and cats .", [("like_drink", "tea"), ("like_animal", "cats")]),
        ("do you like judo ? i do .", [("like_general", "judo")]),
        ("i am from mali , how is the weather there ?", [("live_in_citystatecountry", "mali")]),
    ],
)
def test_a_statement_of_the_speaker_is_found(utterance, expected):
    assert facts(utterance) == expected


@pytest.mark.parametrize(
    "utterance",
    [
        "do you have a dog ?",
        "what do i like ?",
        "should i get a cat ?",
        "do i look like a farmer ?",
        "are you married ?",
        "how are you ?",
        "i am good .",
        "i'm doing great , thanks !",
        "i am tired .",
        "i am so sorry to hear that .",
        "i am happy for you .",
        "i had a great time .",
        "i have a question .",
        "i have to go .",
        "i like it .",
        "i love that !",
        "i hope so .",
        "he has two dogs .",
        "your dog is cute .",
        "i do not have a dog .",
        "i am not a farmer .",
        "i don't work at a bank .",
        "if i have a dog , it barks .",
        "this is my fault .",
        "i think you should be a singer .",
        "hi , nice to meet you .",
        "",
    ],
)
def test_questions_moods_denials_and_others_lives_state_nothing(utterance):
    assert facts(utterance) == []


@pytest.mark.parametrize(
    "utterance", ["i am a bit tired .", "i have a lot of fun .", "i have a good idea .", "i wish i had a dog ."]
)
def test_moods_and_wishes_that_look_like_facts_state_nothing(utterance):
    assert facts(utterance) == []


def test_each_utterance_has_its_own_list():
    assert [len(found) for found in extract(["i have a dog .", "hi", "i am a farmer . i live in texas ."])] == [
        1,
        0,
        2,
    ]


english = st.sampled_from(
    ["i", "'m", "am", "a", "have", "my", "dogs", "two", "love", "work", "in", "not", "?", ".", ","]
)


@given(st.lists(english, max_size=12))
def test_an_object_always_stands_in_its_utterance(said):
    utterance = " ".join(said)
    for _, obj in facts(utterance):
        assert obj in utterance


@pytest.mark.parametrize(
    "words",
    [
        "i ",
        "my ",
        "i am a ",
        "i like tea and ",
        "my favorite ",
        "do you like ",
        "i spend a b ",
        "i really ",
        "x",
        "' ",
    ],
)
def test_a_text_made_to_be_slow_is_not(words):
    start = time.perf_counter()
    extract([(words * 10_000)[:10_000], "".join(f"{words}{n} . " for n in range(1_000))[:10_000]])
    assert time.perf_counter() - start < 2
