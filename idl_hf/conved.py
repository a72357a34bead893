"""Conversational edit distance (paper A.3, Eq. 7 to 10; Lavi et al., 2021). Pure NumPy.

The unit of editing is an utterance: inserting or deleting one costs 1, substituting one costs
`scale * (1 - cosine)` if both are spoken in the same role and is impossible otherwise. It is symmetric and zero for
identical dialogues, lies in [|m - n|, m + n], and is NOT a metric: 1 - cosine grows with the square of small angles,
so the triangle inequality fails. At the paper's scale of 5 a substitution pays only where the cosine exceeds 0.6.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Embedded = tuple[Sequence[str], ArrayLike]  # (roles, vectors of shape (utterances, d))
_CELLS_PER_BLOCK = 1 << 20  # bounds memory: substitution costs held at once, 8 bytes each


class _Stack(NamedTuple):
    roles: NDArray[np.int64]  # codes (n, longest), -1 where padded
    vectors: NDArray[np.float64]  # of unit length or zero, (n, longest, d)
    lengths: NDArray[np.int64]  # (n,)


def conved(
    roles_a: Sequence[str], vectors_a: ArrayLike, roles_b: Sequence[str], vectors_b: ArrayLike, scale: float = 5.0
) -> float:
    """Return the distance of two dialogues from the role and the vector of each utterance, shapes (m, d) and (n, d).
    Vectors need not be normalised; a zero vector has cosine 0 with everything. Raises ValueError where the numbers of
    roles and vectors differ or `scale` is negative."""
    return float(pairwise_conved([(roles_a, vectors_a), (roles_b, vectors_b)], scale)[0, 1])


def pairwise_conved(dialogues: Sequence[Embedded], scale: float = 5.0) -> NDArray[np.float64]:
    """Return all distances between n dialogues of (roles, vectors): float64 (n, n), symmetric with zero diagonal."""
    if scale < 0:
        raise ValueError(f"scale must not be negative (a cost below zero rewards edits), found {scale}.")
    count = len(dialogues)
    distances = np.zeros((count, count))
    if count < 2:
        return distances
    roles, vectors, lengths = _stack(dialogues)
    longest, width = vectors.shape[1:]
    flat = vectors.reshape(-1, width)
    block = max(1, _CELLS_PER_BLOCK // max(1, longest * longest * count))
    for start in range(0, count, block):
        rows = np.arange(start, min(start + block, count))
        cosine = (vectors[rows].reshape(-1, width) @ flat.T).reshape(len(rows), longest, count, longest)
        a, b = np.nonzero(rows[:, None] < np.arange(count))
        cost = scale * (1.0 - np.clip(cosine[a, :, b, :], -1.0, 1.0))
        cost[roles[rows[a], :, None] != roles[b, None, :]] = np.inf
        distances[rows[a], b] = distances[b, rows[a]] = _edit_distances(cost, lengths[rows[a]], lengths[b])
    return distances


def _stack(dialogues: Sequence[Embedded]) -> _Stack:
    """Return all dialogues in one, padded to the longest."""
    for roles, vectors in dialogues:
        if len(roles) != (count := len(np.asarray(vectors))):
            raise ValueError(f"A dialogue has {len(roles)} roles but {count} vectors; one per utterance.")
    lengths = np.array([len(roles) for roles, _ in dialogues])
    widths = {np.asarray(vectors).shape[1] for roles, vectors in dialogues if len(roles)}
    if len(widths) > 1:
        raise ValueError(f"All vectors must have one dimension, found {sorted(widths)}.")
    codes = {role: code for code, role in enumerate(dict.fromkeys(role for roles, _ in dialogues for role in roles))}
    padded_roles = np.full((len(dialogues), lengths.max()), -1)
    padded = np.zeros((len(dialogues), lengths.max(), widths.pop() if widths else 1))
    for row, (roles, vectors) in enumerate(dialogues):
        if len(roles):
            padded_roles[row, : len(roles)] = [codes[role] for role in roles]
            padded[row, : len(roles)] = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(padded, axis=-1, keepdims=True)
    return _Stack(padded_roles, padded / np.where(norms > 0, norms, 1.0), lengths)


def _edit_distances(
    cost: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return lev(m, n) for every pair at once.
    cost: (pairs, longest, longest) of substitutions; rows, columns: (pairs,), the lengths m and n. Insertions within a
    row, lev(i, j) = min(lev(i, j), lev(i, j - 1) + 1), are a running minimum of lev(i, j) - j."""
    pairs, longest, _ = cost.shape
    steps = np.arange(longest + 1, dtype=np.float64)
    lev = np.tile(steps, (pairs, 1))
    result = np.where(rows == 0, columns, 0).astype(np.float64)
    for i in range(1, longest + 1):
        best = np.full((pairs, longest + 1), float(i))
        best[:, 1:] = np.minimum(lev[:, 1:] + 1.0, lev[:, :-1] + cost[:, i - 1])
        lev = np.minimum.accumulate(best - steps, axis=1) + steps
        done = rows == i
        result[done] = lev[done, columns[done]]
    return result
