"""Keys and values of the tokens of many texts, as a radix tree: what texts begin with in common is kept once.

    texts   a b c d        node  a b ── c d
            a b x y z                └─ x y z

A node is in the tree before its keys and values are computed, so that a second text which begins alike waits for them
instead of computing them again. Nodes that no running text uses stay until their room is needed; then the one that
was used longest ago goes first.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor

from idl_hf.packing.tree import shared_length

_JOINED = 512  # tokens at most of a node that was made of several
_numbers = count()


@dataclass(eq=False)
class Node:
    """Tokens that follow those of `parent`, of which the first `filled` have keys and values.

    start: the position of its first token. users: how many running texts go through it. used: when one last did.
    keys, values: by layer, (key heads, room, d), of which the first `filled` count.
    """

    ids: list[int] = field(default_factory=list)
    parent: "Node | None" = None
    start: int = 0
    filled: int = 0
    users: int = 0
    used: int = 0
    children: dict[int, "Node"] = field(default_factory=dict)  # by their first token
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)
    number: int = field(default_factory=lambda: next(_numbers))

    def path(self) -> "list[Node]":
        """Return the nodes from the root's child to this one."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def write(self, layer: int, start: int, keys: Tensor, values: Tensor) -> None:
        """Keep keys and values, (key heads, tokens, d), of the tokens from `start` on."""
        for kept, new in ((self.keys, keys), (self.values, values)):
            old = kept.get(layer)
            if old is None or old.shape[1] < len(self.ids):
                room = len(self.ids) if old is None else max(len(self.ids), 2 * old.shape[1])
                kept[layer] = new.new_empty(new.shape[0], room, new.shape[2])
                if old is not None:
                    kept[layer][:, : old.shape[1]] = old
            kept[layer][:, start : start + new.shape[1]] = new


class PrefixTree:
    """The nodes of all texts, of `limit` tokens at most unless running ones need more."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.tokens = 0  # in the tree
        self.evicted = 0  # of those that were
        self.root = Node()
        self._clock = count(1)

    def enter(self, ids: list[int]) -> Node:
        """Return the node that a text ends with, in use from now on; what is new of the text is still to compute."""
        node, rest = self._find(self.root, ids)
        if rest:
            node = self._add(Node(rest, node, node.start + len(node.ids)))
        now = next(self._clock)
        for step in node.path():
            step.users += 1
            step.used = now
        return node

    def leave(self, leaf: Node) -> None:
        """Take a text out of use. Of what nobody else waits for only that stays which was computed."""
        now = next(self._clock)
        path = leaf.path()
        for node in path:
            node.users -= 1
            node.used = now
        for node in reversed(path):  # apart, for where there is no memory left to trim one, all are out of use
            if node.users == 0 and node.filled < len(node.ids):
                self._trim(node)

    def adopt(self, written: Node) -> None:
        """Keep what was written after a text, a node with a parent which does not know it, for texts that go on."""
        node, rest = self._find(written.parent or self.root, written.ids[: written.filled])
        if not rest or node.filled < len(node.ids):
            return
        first = written.filled - len(rest)
        own = Node(rest, node, written.start + first, filled=len(rest), used=next(self._clock))
        own.keys, own.values = _part(written, first, written.filled)
        self._add(own)
        self._join(own)

    def make_room(self, tokens: int) -> bool:
        """Evict what is unused until so many more tokens are within the limit, and tell whether they are."""
        while self.tokens + tokens > self.limit:
            unused = [node for node in self.nodes() if not node.children and not node.users]
            if not unused:
                return False
            oldest = min(unused, key=lambda node: node.used)
            self.evicted += len(oldest.ids)
            self._remove(oldest)
        return True

    def nodes(self) -> Iterator[Node]:
        """Yield all nodes but the root, each after its parent."""
        pending = list(self.root.children.values())
        while pending:
            node = pending.pop()
            yield node
            pending += node.children.values()

    def _find(self, node: Node, ids: list[int]) -> tuple[Node, list[int]]:
        """Return the last node of what the tree has of the tokens after `node`, and those that it has not."""
        while ids and (child := node.children.get(ids[0])) is not None:
            common = shared_length(child.ids, ids)
            node = child if common == len(child.ids) else self._split(child, common)
            ids = ids[common:]
        return node, ids

    def _add(self, node: Node) -> Node:
        assert node.parent is not None
        node.parent.children[node.ids[0]] = node
        self.tokens += len(node.ids)
        return node

    def _split(self, node: Node, place: int) -> Node:
        """Cut a node in two and return the first. The second stays the object that running texts know."""
        parent = node.parent
        assert parent is not None
        first = Node(node.ids[:place], parent, node.start, min(node.filled, place), node.users, node.used)
        first.keys, first.values = _part(node, 0, first.filled)
        node.keys, node.values = _part(node, place, node.filled)
        node.ids, node.parent = node.ids[place:], first
        node.start, node.filled = node.start + place, max(0, node.filled - place)
        first.children[node.ids[0]] = node
        parent.children[first.ids[0]] = first
        return first

    def _join(self, node: Node) -> None:
        """Make one node of short ones in a row, so that a long conversation is not one of each turn."""
        while (parent := node.parent) and parent.parent and len(parent.ids) + len(node.ids) <= _JOINED:
            if len(parent.children) > 1 or parent.users != node.users or parent.filled < len(parent.ids):
                return
            # All before any is kept: where memory ends between two layers, the node stays as it is
            node.keys, node.values = (
                {
                    layer: torch.cat([before[layer][:, : parent.filled], own[:, : node.filled]], dim=1)
                    for layer, own in kept.items()
                }
                for kept, before in ((node.keys, parent.keys), (node.values, parent.values))
            )
            node.ids, node.parent = parent.ids + node.ids, parent.parent
            node.start, node.filled = parent.start, parent.filled + node.filled
            node.parent.children[node.ids[0]] = node

    def _trim(self, node: Node) -> None:
        surplus = len(node.ids) - node.filled
        if not node.filled:
            self._remove(node)
            return
        node.keys, node.values = _part(node, 0, node.filled)
        node.ids = node.ids[: node.filled]
        self.tokens -= surplus

    def _remove(self, node: Node) -> None:
        assert node.parent is not None
        del node.parent.children[node.ids[0]]
        self.tokens -= len(node.ids)


def _part(node: Node, start: int, stop: int) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Return copies of the keys and values of some tokens of a node; a view would keep the memory of all of them."""
    if stop <= start:
        return {}, {}
    keys = {layer: states[:, start:stop].clone() for layer, states in node.keys.items()}
    return keys, {layer: states[:, start:stop].clone() for layer, states in node.values.items()}
