"""Texts that share beginnings as one tree of tokens: every distinct token once.

    texts   a b c d e     slots      0 1 2 3 4 5 6       the longest text comes first, it is the trunk; of the branches
            a b c d y     ids        a b c d e y x       those that fork late come before those that fork early
            a x           positions  0 1 2 3 4 4 1
                          ends       7 6 6 6 5 6 7

In this order the descendants of a slot are contiguous: those of slot k are k + 1, ..., ends[k] - 1. So a query q sees
a key k if and only if k <= q < ends[k], and `positions`, those each token has in a text of its own, tell how far back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Tree:
    """A tree of tokens in slots; `trunk` is the number of those of the longest text, which come first.

    slots: for each text, in the order they were given, where its tokens are.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    trunk: int = 0
    slots: list[list[int]] = field(default_factory=list)


@dataclass
class _Branch:
    """What a text adds to the tree: its tokens from `start` on, behind those of the text that it forks off."""

    start: int
    parent: int | None = None
    children: list[int] = field(default_factory=list)


def shared_length(text: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two texts begin with in common.

    >>> shared_length([1, 2, 3], [1, 2, 4, 5])
    2
    """
    low, high = 0, min(len(text), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def build_tree(texts: Sequence[list[int]]) -> Tree:
    """Return the tree of some texts; texts that share nothing stand side by side in it.

    >>> tree = build_tree([[1, 8], [1, 2, 3, 4, 5], [1, 2, 3, 4, 9]])
    >>> tree.ids, tree.positions, tree.ends, tree.trunk
    ([1, 2, 3, 4, 5, 9, 8], [0, 1, 2, 3, 4, 4, 1], [7, 6, 6, 6, 5, 6, 7], 5)
    >>> tree.slots
    [[0, 6], [0, 1, 2, 3, 4], [0, 1, 2, 3, 5]]
    """
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    branches = _branches(texts, order)
    tree = Tree(trunk=len(texts[order[0]]), slots=[[] for _ in texts])
    for i in order:
        if branches[i].parent is None:
            _place(i, texts, branches, tree)
    return tree


def _branches(texts: Sequence[list[int]], order: Sequence[int]) -> dict[int, _Branch]:
    """Return where each text forks off; of longer texts that share as much, off the first."""
    branches: dict[int, _Branch] = {}
    for i in order:
        branch = _Branch(start=0)
        for other in branches:
            # Only one that shares more than the best so far needs to be looked at closely
            if branch.start < len(texts[i]) and texts[i][: branch.start + 1] == texts[other][: branch.start + 1]:
                branch = _Branch(shared_length(texts[i], texts[other]), other)
        branches[i] = branch
        if branch.parent is not None:
            branches[branch.parent].children.append(i)
    return branches


def _place(i: int, texts: Sequence[list[int]], branches: dict[int, _Branch], tree: Tree) -> None:
    """Append what a text adds, then its branches, and set the ends of its own tokens."""
    branch, first, length = branches[i], len(tree.ids), len(texts[i])
    before = [] if branch.parent is None else tree.slots[branch.parent][: branch.start]
    stop = first + length - branch.start
    tree.slots[i] = [*before, *range(first, stop)]
    tree.ids += texts[i][branch.start :]
    tree.positions += range(branch.start, length)
    tree.ends += [stop] * (stop - first)
    for child in sorted(branch.children, key=lambda child: -branches[child].start):
        _place(child, texts, branches, tree)
        forked = branches[child].start - branch.start  # own tokens before the fork
        tree.ends[first : first + forked] = [len(tree.ids)] * forked
