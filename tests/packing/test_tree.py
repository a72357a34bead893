"""A tree holds every beginning of its texts once, and its slots tell of each token what it sees in its own text."""

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idl_hf.packing import tree as module
from idl_hf.packing.tree import build_tree, shared_length

TEXTS = st.lists(st.lists(st.integers(0, 2), max_size=9), min_size=1, max_size=9)


def test_worked_examples():
    failed, tried = doctest.testmod(module)
    assert tried >= 4
    assert failed == 0


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_the_shared_length_is_that_of_a_plain_loop(text, other):
    plain = next((i for i, pair in enumerate(zip(text, other, strict=False)) if len(set(pair)) == 2), None)
    assert shared_length(text, other) == (min(len(text), len(other)) if plain is None else plain)


@settings(max_examples=300)
@given(TEXTS)
def test_every_beginning_is_one_token_that_sees_what_it_begins_with(texts):
    tree = build_tree(texts)
    beginnings = {tuple(text[: i + 1]) for text in texts for i in range(len(text))}
    assert len(tree.ids) == len(tree.positions) == len(tree.ends) == len(beginnings)
    for text, slots in zip(texts, tree.slots, strict=True):
        assert [tree.ids[slot] for slot in slots] == text
        assert [tree.positions[slot] for slot in slots] == [*range(len(text))]
        for i, query in enumerate(slots):
            seen = [key for key in range(len(tree.ids)) if key <= query < tree.ends[key]]
            assert seen == slots[: i + 1]


@given(TEXTS)
def test_the_trunk_is_the_longest_text_and_comes_first(texts):
    tree = build_tree(texts)
    assert tree.trunk == max(map(len, texts))
    assert [*range(tree.trunk)] in tree.slots


@pytest.mark.parametrize("turns", [1, 8])
def test_of_a_dialogue_only_what_was_not_chosen_lies_beside_the_trunk(turns):
    prompt, texts, tokens = [*range(100)], [], iter(range(100, 10_000))
    for _ in range(turns):
        chosen, *others = ([next(tokens) for _ in range(5)] for _ in range(3))
        texts += [prompt + completion for completion in (chosen, *others)]
        prompt = [*prompt, *chosen, *(next(tokens) for _ in range(4))]
    tree = build_tree(texts)
    assert tree.trunk == 100 + 5 * turns + 4 * (turns - 1)
    assert len(tree.ids) - tree.trunk == 10 * turns
    forks = [tree.positions[slot] for slot in range(tree.trunk, len(tree.ids), 5)]
    assert forks == sorted(forks, reverse=True), "those that fork late come first"
