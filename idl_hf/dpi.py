"""Dynamic Persona Identification (paper 3.2.2): the order of the references that makes one smooth long conversation.
Minimizing the sum of distances between neighbours is an open shortest Hamiltonian path. The paper applies Dijkstra's
algorithm, which is exact for it on the graph of states (set of visited references, last one); that graph has at most
80 states for the paper's k = 5. The dynamic program below visits the same states without a heap (Held-Karp)."""

from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

OrderMode = Literal["free", "target_last"]
MAX_REFERENCES = 12  # 12 * 2^11 states; the count doubles with every reference


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
    target = [0.0] * count if to_target is None else np.asarray(to_target, dtype=np.float64).tolist()
    if len(target) != count:
        raise ValueError(f"to_target must have one distance per reference ({count}), found {len(target)}.")
    paths = _best_paths(matrix.tolist())
    if mode == "target_last":
        return min((_rounded(cost + target[path[-1]]), path) for cost, path in paths)[1]
    return min((_rounded(cost), _rounded(target[path[-1]]), path) for cost, path in paths)[2]


def _best_paths(matrix: list[list[float]]) -> list[tuple[float, list[int]]]:
    """Return (cost, path) of the cheapest path through all to each last reference; ties: lexicographically first."""
    count = len(matrix)
    best = {(frozenset([i]), i): (0.0, [i]) for i in range(count)}
    for size in range(2, count + 1):
        for visited in map(frozenset, combinations(range(count), size)):
            for last in visited:
                before = visited - {last}
                candidates = (
                    (cost + matrix[previous][last], [*path, last])
                    for previous in before
                    for cost, path in [best[before, previous]]
                )
                best[visited, last] = min(candidates, key=lambda candidate: (_rounded(candidate[0]), candidate[1]))
    return [best[frozenset(range(count)), last] for last in range(count)]


def _rounded(cost: float) -> float:
    return round(cost, 5)  # costs that differ by rounding errors only, those of vectors included, are a tie
