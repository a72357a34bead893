"""The radix tree holds of every text what was computed of it, and of no other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.models import prefix_tree
from idl_hf.models.prefix_tree import Node, PrefixTree

TEXTS = st.lists(st.integers(0, 2), min_size=1, max_size=9)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), TEXTS),
        st.tuples(st.just("fill"), st.integers(0, 5), st.integers(1, 9)),
        st.tuples(st.just("leave"), st.integers(0, 5), st.lists(st.integers(0, 2), max_size=4)),
        st.tuples(st.just("room"), st.integers(0, 30)),
    ),
    max_size=40,
)


def key(text):
    """What stands for the keys of a text's last token: another number for another text."""
    return float(hash(tuple(text)) % 1_000_003)


def fill(node, count, before):
    """Compute the next tokens of a node, as the engine does."""
    stop = min(len(node.ids), node.filled + count)
    made = torch.tensor([[[key([*before, *node.ids[: i + 1]])] for i in range(node.filled, stop)]])
    node.write(0, node.filled, made, -made)
    node.filled = stop


def text_of(node):
    return [token for step in node.path() for token in step.ids]


def fill_first(leaf, count):
    """Compute tokens of the first node on the way to a leaf that lacks some."""
    before = []
    for node in leaf.path():
        if node.filled < len(node.ids):
            fill(node, count, before)
            return
        before += node.ids


def check(tree, running):
    nodes = list(tree.nodes())
    assert tree.tokens == sum(len(node.ids) for node in nodes)
    for node in nodes:
        whole = text_of(node)
        assert node.start == len(whole) - len(node.ids)
        assert node.parent.children[node.ids[0]] is node
        assert node.users == sum(node in leaf.path() for leaf, _ in running)
        assert node.users or node.filled == len(node.ids)  # nothing is left to compute that nobody waits for
        assert node.parent is tree.root or node.parent.filled == len(node.parent.ids) or node.filled == 0
        expected = [key(whole[: node.start + i + 1]) for i in range(node.filled)]
        assert not expected or node.keys[0][0, : node.filled, 0].tolist() == expected
        assert not expected or node.values[0][0, : node.filled, 0].tolist() == [-value for value in expected]
    for leaf, ids in running:
        assert text_of(leaf) == ids


def known(tree):
    """Every text that the tree has all of."""
    return {tuple(text_of(node)[: node.start + i + 1]) for node in tree.nodes() for i in range(node.filled)}


@pytest.mark.parametrize("joined", [0, 6, 512])
@given(steps=STEPS)
def test_it_has_what_a_plain_dict_of_all_texts_has(joined, steps):
    before, prefix_tree._JOINED = prefix_tree._JOINED, joined
    try:
        tree, running, computed = PrefixTree(10**6), [], set()
        for name, *values in steps:
            if name == "enter":
                [ids] = values
                running.append((tree.enter(list(ids)), ids))
            elif name == "fill" and running:
                place, count = values
                fill_first(running[place % len(running)][0], count)
            elif name == "leave" and running:
                place, written = values
                leaf, ids = running.pop(place % len(running))
                done = all(node.filled == len(node.ids) for node in leaf.path())
                own = Node(list(written), leaf, len(ids))
                if written and done:
                    fill(own, len(written), ids)
                tree.leave(leaf)
                tree.adopt(own)
            elif name == "room":
                tree.limit = values[0]
                enough = tree.make_room(0)
                assert enough == (tree.tokens <= tree.limit)
                assert enough or all(node.users or node.children for node in tree.nodes())
                assert known(tree) <= computed
                computed = known(tree)
            computed |= known(tree)
            check(tree, running)
            assert known(tree) == computed  # nothing is lost but by eviction
    finally:
        prefix_tree._JOINED = before


def test_what_two_texts_begin_with_is_computed_once():
    tree = PrefixTree(100)
    first = tree.enter([1, 2, 3, 4])
    fill_first(first, 9)
    second = tree.enter([1, 2, 7])
    assert [(node.ids, node.filled) for node in second.path()] == [([1, 2], 2), ([7], 0)]
    assert [node.ids for node in first.path()] == [[1, 2], [3, 4]]
    assert tree.tokens == 5


def test_a_text_waits_for_what_another_computes():
    tree = PrefixTree(100)
    first, second = tree.enter([1, 2, 3, 4]), tree.enter([1, 2, 3, 4, 5])
    assert first.path()[0] is second.path()[0]
    fill_first(second, 4)
    assert first.filled == 4


def test_the_one_unused_longest_goes_first():
    tree = PrefixTree(10)
    for ids in ([1, 1, 1], [2, 2, 2], [3, 3, 3]):
        leaf = tree.enter(ids)
        fill_first(leaf, 9)
        tree.leave(leaf)
    tree.leave(tree.enter([1, 1, 1]))
    assert tree.make_room(4)
    assert {tuple(node.ids) for node in tree.nodes()} == {(1, 1, 1), (3, 3, 3)}
    assert tree.evicted == 3


def test_what_is_in_use_is_never_evicted():
    tree = PrefixTree(3)
    leaf = tree.enter([1, 2, 3])
    assert not tree.make_room(1)
    assert text_of(leaf) == [1, 2, 3]


def test_turns_of_a_conversation_become_one_node():
    tree = PrefixTree(10**6)
    leaf = tree.enter([0] * 520)  # a persona
    fill_first(leaf, 520)
    tree.leave(leaf)
    ids = [0] * 520
    for turn in range(1, 5):
        ids = [*ids, turn, turn]
        leaf = tree.enter(ids)
        fill_first(leaf, 10**6)
        own = Node([9, 9], leaf, len(ids))
        fill(own, 2, ids)
        tree.leave(leaf)
        tree.adopt(own)
        ids = [*ids, 9, 9]
    check(tree, [])
    assert [len(node.ids) for node in tree.nodes()] == [520, 16]


def test_what_several_texts_go_on_from_stays_a_node_of_its_own():
    tree = PrefixTree(100)
    for ids in ([1, 2, 3], [1, 2, 4]):
        fill_first(leaf := tree.enter(ids), 9)
        fill_first(leaf, 9)
        tree.leave(leaf)
    shared = tree.enter([1, 2])
    tree.leave(shared)
    fill(own := Node([5], shared, 2), 1, [1, 2])
    tree.adopt(own)
    assert known(tree) == {(1,), (1, 2), (1, 2, 3), (1, 2, 4), (1, 2, 5)}
    check(tree, [])


def out_of_memory(*_, **__):
    raise MemoryError


def test_where_memory_ends_a_text_is_out_of_use_all_the_same(monkeypatch):
    tree = PrefixTree(100)
    fill_first(other := tree.enter([1, 2]), 9)
    fill_first(leaf := tree.enter([1, 2, 3, 4, 5]), 2)
    monkeypatch.setattr(prefix_tree, "_part", out_of_memory)
    with pytest.raises(MemoryError):
        tree.leave(leaf)
    assert [node.users for node in leaf.path()] == [1, 0]
    monkeypatch.undo()
    again = tree.enter([1, 2, 3, 4, 5])
    fill_first(again, 9)
    check(tree, [(other, [1, 2]), (again, [1, 2, 3, 4, 5])])


def test_where_memory_ends_nodes_are_joined_as_a_whole_or_not_at_all(monkeypatch):
    tree, before = PrefixTree(100), torch.cat
    fill_first(leaf := tree.enter([1, 2]), 9)
    fill(own := Node([3], leaf, 2), 1, [1, 2])
    tree.leave(leaf)
    cats = iter([before, out_of_memory])
    monkeypatch.setattr(torch, "cat", lambda *given, **named: next(cats)(*given, **named))
    with pytest.raises(MemoryError):
        tree.adopt(own)
    monkeypatch.undo()
    assert known(tree) == {(1,), (1, 2), (1, 2, 3)}
    check(tree, [])


def test_memory_of_what_is_cut_off_is_given_back():
    tree = PrefixTree(100)
    fill_first(leaf := tree.enter(list(range(50))), 50)
    tree.leave(leaf)
    tree.enter([*range(10), 99])
    assert [(node.ids[0], node.keys[0].untyped_storage().size()) for node in tree.nodes() if node.filled] == [
        (0, 40), (10, 160),
    ]  # fmt: skip
