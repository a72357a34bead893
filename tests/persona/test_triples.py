"""Stacked sentences as the text an extractor reads and writes, and how right its triples are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.corpora.personaext import read_sentences
from idl_hf.persona.triples import (
    format_prompt,
    format_sample,
    format_triples,
    mentions,
    object_f1,
    parse_sample,
    parse_triples,
    precision_recall_f1,
    sample_accuracy,
    triple_accuracy,
)
from idl_hf.schema import Triple

DOGS = Triple("i", "have_pet", "two dogs")
TEXAS = Triple("my wife", "live_in_general", "austin, texas")
NURSE = Triple("i", "has_profession", "nurse")

words = st.text(st.characters(exclude_characters="<>,", exclude_categories=["C", "Z"]), min_size=1, max_size=6)
phrases = st.lists(words, min_size=1, max_size=3).map(" ".join)
objects = st.lists(phrases, min_size=1, max_size=3).map(", ".join)
triples = st.builds(Triple, subject=phrases, relation=words, object=objects)
stacks = st.lists(st.lists(triples, max_size=3), max_size=5)
few = st.lists(st.builds(Triple, st.just("i"), st.sampled_from("ab"), st.sampled_from("xy")), max_size=3)
pairs = st.lists(st.tuples(few, few), min_size=1, max_size=4)
# What a model may write: pieces of the format in any order, and anything else
garbage = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            ["<", ">", "<>", ",", ", ", "\n", "\r", "\0", "i", "<dogs, have, i>", "犬", "собаки", "\u2028"]
        ),
        max_size=40,
    ).map("".join),
)


# The text that is read


def test_sentences_stand_one_a_line_before_the_separator():
    assert format_prompt(["i have two dogs .", "hi !"]) == "i have two dogs .\nhi !\n\nTriples:\n"


@given(st.lists(st.text(max_size=10), max_size=5))
def test_a_prompt_has_a_line_for_each_sentence_whatever_is_in_it(sentences):
    body = format_prompt(sentences).removesuffix("\n\nTriples:\n")
    assert body.count("\n") == max(0, len(sentences) - 1)
    assert "\r" not in body


# The text that is written


def test_line_i_holds_the_triples_of_sentence_i():
    written = format_sample([[DOGS, TEXAS], [], [NURSE]])
    assert written == (
        "<two dogs, have_pet, i> <austin, texas, live_in_general, my wife>\n<>\n<nurse, has_profession, i>"
    )
    assert parse_sample(written, 3) == [[DOGS, TEXAS], [], [NURSE]]


@given(st.lists(triples, max_size=5))
def test_with_one_triple_a_sentence_it_is_the_papers_format(some):
    assert format_sample([[triple] for triple in some]) == format_triples(some)


@given(stacks)
def test_what_is_written_is_read_back(stack):
    assert parse_sample(format_sample(stack), len(stack)) == stack


def test_a_line_break_within_an_object_moves_no_other_sentence():
    broken = Triple("i", "like", "this\r\nand that")
    assert parse_sample(format_sample([[broken], [NURSE]]), 2) == [[Triple("i", "like", "this and that")], [NURSE]]


@given(garbage, st.integers(0, 6))
def test_any_text_yields_one_list_for_each_sentence(text, count):
    found = parse_sample(text, count)
    assert len(found) == count
    assert all(triple.subject and triple.relation and triple.object for own in found for triple in own)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [[], []]),
        ("<nurse, has_profession, i>", [[NURSE], []]),  # too few lines
        ("<>\n<>\n<nurse, has_profession, i>", [[], []]),  # too many
        ("<nurse, has_profession\n<nurse, has_profession, i>", [[], [NURSE]]),
        ("<nurse, has_profession <nurse, has_profession, i>\n<nurse>", [[NURSE], []]),
        ("<nurse, has_profession,\ni>", [[], []]),
        ("sure : <nurse, has_profession, i> .\r\n1. <two dogs, have_pet, i>", [[NURSE], [DOGS]]),
        ("<nurse, has_profession, i>\n<nurse, has_profession, i>\n<nurse, has_profession, i>", [[NURSE], [NURSE]]),
        ("<x\u2028y, a, b>\n<nurse, has_profession, i>", [[Triple("b", "a", "x\u2028y")], [NURSE]]),
        ("<犬, 持つ, 私>\n<\0, a, b>", [[Triple("私", "持つ", "犬")], [Triple("b", "a", "\0")]]),
    ],
)
def test_broken_texts_are_read_line_by_line(text, expected):
    assert parse_sample(text, 2) == expected


def test_a_model_that_repeats_commas_to_no_end_is_read_in_no_time():
    assert parse_triples("<" + "a, " * 100_000) == []  # hours, if every way to share them out were tried


# How right they are


def read(elements: list[list[str]]) -> list[Triple]:
    return [Triple(subject, relation, obj) for obj, relation, subject in elements]


def test_worked_accuracies(vectors):
    cases = vectors("extractor")["accuracy"]
    assert len(cases) == 7
    for case in cases:
        predicted, expected = [read(case["pred"])], [read(case["gold"])]
        assert parse_triples(case["pred_text"]) == predicted[0], case["name"]
        assert sample_accuracy(predicted, expected) == case["sample_correct"], case["name"]
        found = (triple_accuracy(predicted, expected), *precision_recall_f1(predicted, expected)[:2])
        worked = (case["positional_triple_accuracy"], case["triple_precision"], case["triple_recall"])
        assert found == pytest.approx(worked, abs=1e-9), case["name"]


def test_accuracies_of_samples_together_by_hand():
    expected = [[DOGS, TEXAS, NURSE], [NURSE], []]
    predicted = [[DOGS, NURSE], [NURSE, NURSE], [Triple("i", "own", "two dogs")]]
    assert sample_accuracy(predicted, expected) == 0
    assert triple_accuracy(predicted, expected) == pytest.approx(2 / 4)  # "dogs" and the lone "nurse"
    precision, recall, f1 = precision_recall_f1(predicted, expected)
    assert (precision, recall, f1) == pytest.approx((3 / 4, 3 / 4, 3 / 4))  # "nurse" twice counts once
    assert object_f1(predicted, expected) == pytest.approx(2 * 3 / (4 + 4))


def test_the_object_alone_may_be_right():
    predicted = [[Triple("my wife", "own", "two dogs")]]
    assert object_f1(predicted, [[DOGS]]) == 1
    assert precision_recall_f1(predicted, [[DOGS]]) == (0, 0, 0)


def test_nothing_where_there_is_nothing_is_right_and_something_is_wrong():
    measures = (sample_accuracy, triple_accuracy, object_f1, lambda *sides: precision_recall_f1(*sides)[2])
    assert [measure([[]], [[]]) for measure in measures] == [1, 1, 1, 1]
    assert [measure([[DOGS]], [[]]) for measure in measures] == [0, 0, 0, 0]


@given(pairs)
def test_a_right_sample_is_right_by_every_measure(pairs):
    predicted, expected = map(list, zip(*pairs, strict=True))
    precision, recall, f1 = precision_recall_f1(predicted, expected)
    measures = (triple_accuracy(predicted, expected), precision, recall, f1, object_f1(predicted, expected))
    assert all(0 <= value <= 1 for value in measures)
    if sample_accuracy(predicted, expected) == 1:
        assert measures == (1, 1, 1, 1, 1)


@given(pairs)
def test_precision_is_the_recall_of_the_other_side(pairs):
    predicted, expected = map(list, zip(*pairs, strict=True))
    precision, recall, f1 = precision_recall_f1(predicted, expected)
    assert precision_recall_f1(expected, predicted) == (recall, precision, f1)


@pytest.mark.parametrize("measure", [sample_accuracy, triple_accuracy, precision_recall_f1, object_f1])
def test_samples_must_be_paired(measure):
    with pytest.raises(ValueError, match="found 2 predictions and 1 references"):
        measure([[DOGS], [DOGS]], [[DOGS]])
    with pytest.raises(ValueError, match="found 0 predictions and 0 references"):
        measure([], [])


# Objects in real sentences


def test_nearly_every_real_sentence_mentions_its_object(shared):
    sentences = read_sentences(shared / "data" / "personaext" / "train.jsonl")
    missed = [sentence.triple.object for sentence in sentences if not mentions(sentence.text, sentence.triple)]
    assert len(missed) == 7  # of 16,921, and in all of them a comma counts as a word of the object
    assert all("," in obj for obj in missed)
