"""Dynamic Persona Identification (paper 3.2.2): the order of the references that makes one smooth long conversation.
Minimizing the sum of distances between neighbours is an open shortest Hamiltonian path. The paper applies Dijkstra's
algorithm, which is exact for it on the graph of states (set of visited references, last one); that graph has at most
80 states for the paper's k = 5. The dynamic program below visits the same states without a heap (Held-Karp)."""

from functools import lru_cache
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

OrderMode = Literal["free", "target_last"]
MAX_REFERENCES = 12  # 12 * 2^11 states; the count doubles with every reference
_DIGIT = 16  # of a path that is kept as a number


def order_references(distances: ArrayLike, to_target: ArrayLike | None = None, mode: OrderMode = "free") -> list[int]:
    """Return the exact best order of k references, as indices. distances: (k, k), not negative. to_target: None or
    (k,), the distance of each to the target's context. "free": both ends are free. "target_last": the step from the
    last reference into the target is paid too. Ties (within 1e-5): in "free", where a path and its reverse always tie,
    the one whose last reference is nearest to the target; then the lexicographically smallest."""
    matrix = np.asarray(distances, dtype=np.float64)
    count = len(matrix)
    if matrix.size and matrix.shape != (count, count):
        raise ValueError(f"distances must be square, found shape {matrix.shape}.")
    if count > MAX_REFERENCES:
        raise ValueError(f"The exact order is found for at most {MAX_REFERENCES} references, found {count}.")
    if mode not in ("free", "target_last"):
        raise ValueError(f"Unknown order '{mode}'. The orders are: free, target_last.")
    if mode == "target_last" and to_target is None:
        raise ValueError("mode='target_last' needs to_target, the distance of each reference to the target's context.")
    if count == 0:
        return []
    target = np.zeros(count) if to_target is None else np.asarray(to_target, dtype=np.float64)
    if target.shape != (count,):
        raise ValueError(f"to_target must have one distance per reference ({count}), found {target.size}.")
    costs, paths = _best_paths(matrix)  # to each last reference
    into_target = target if mode == "target_last" else 0.0
    nearness = np.zeros(count) if mode == "target_last" else _rounded(target)
    return min(zip(_rounded(costs + into_target).tolist(), nearness.tolist(), paths, strict=True))[2]


@lru_cache(maxsize=MAX_REFERENCES)
def _steps(count: int) -> list[tuple[NDArray, NDArray, NDArray, NDArray]]:
    """Return for paths of 2, 3, ... references which states they end in and from which they come.

    A state is (set of visited references as bits, last one). Of n states of one size: sets (n,), lasts (n,), the sets
    without the last (n,), and the references that may precede it (n, size - 1), in ascending order.
    """
    steps = []
    for size in range(2, count + 1):
        visited = np.array(list(combinations(range(count), size)))
        sets = np.repeat((1 << visited).sum(axis=1), size)
        lasts = visited.ravel()
        before = np.stack([np.delete(visited, i, axis=1) for i in range(size)], axis=1).reshape(len(lasts), size - 1)
        steps.append((sets, lasts, sets - (1 << lasts), before))
    return steps


def _best_paths(matrix: NDArray) -> tuple[NDArray, list[list[int]]]:
    """Return cost and path of the cheapest path through all to each last reference; ties: lexicographically first.

    A path is kept as a number with a digit of base 16 for each reference, so that the smaller number is the path that
    comes first.
    """
    count = len(matrix)
    costs, paths = np.zeros((1 << count, count)), np.zeros((1 << count, count), dtype=np.int64)
    each = np.arange(count)
    paths[1 << each, each] = each
    for sets, lasts, without, before in _steps(count):
        cost = costs[without[:, None], before] + matrix[before, lasts[:, None]]
        rounded = _rounded(cost)
        path = paths[without[:, None], before]
        tied = rounded == rounded.min(axis=1, keepdims=True)
        best = np.where(tied, path, np.iinfo(np.int64).max).argmin(axis=1)[:, None]
        costs[sets, lasts] = np.take_along_axis(cost, best, axis=1)[:, 0]
        paths[sets, lasts] = np.take_along_axis(path, best, axis=1)[:, 0] * _DIGIT + lasts
    places = range(count - 1, -1, -1)
    return costs[-1], [[path // _DIGIT**place % _DIGIT for place in places] for path in paths[-1].tolist()]


def _rounded(costs: NDArray) -> NDArray:
    return np.round(costs, 5)  # costs that differ by rounding errors only, those of vectors included, are a tie
