"""Static Persona Identification (paper 3.2.1): which dialogues of a person belong together, and which are references.
No leak: the reply to predict steers nothing. A target is represented by what was said before that reply, and the other
dialogues are clustered without it (the paper clusters the target with its reply in it)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans
from threadpoolctl import ThreadpoolController

from idl_hf.encoding import rounded
from idl_hf.schema import Turn

_THREADS = ThreadpoolController()  # after scikit-learn has loaded its libraries


def persona_text(turns: Sequence[Turn], shows_persona: Sequence[bool]) -> str:
    """Return what represents a dialogue (paper Eq. 3): the person's persona-intensive utterances, one a line.
    If there are none, all of the person's; if the person has not spoken, the partner's."""
    own = [turn.text for turn, shows in zip(turns, shows_persona, strict=True) if turn.role == "self" and shows]
    own = own or [turn.text for turn in turns if turn.role == "self"]
    return "\n".join(own or [turn.text for turn in turns])


def number_of_clusters(dialogues: int, max_clusters: int = 3) -> int:
    """Return min(c, n // 2), at least 1, so that a cluster has two dialogues on average; 0 below two dialogues."""
    return min(max_clusters, max(1, dialogues // 2)) if dialogues >= 2 else 0


def cluster_dialogues(embeddings: ArrayLike, max_clusters: int = 3, seed: int = 0) -> NDArray[np.int64]:
    """Return the K-means labels (paper Eq. 4) of n dialogues with vectors of shape (n, d): int of shape (n,)."""
    vectors = rounded(embeddings)
    if vectors.ndim != 2 and len(vectors):
        raise ValueError(f"embeddings must have shape (dialogues, d), found {vectors.shape}.")
    distinct = len(np.unique(vectors, axis=0)) if len(vectors) else 0
    clusters = min(number_of_clusters(len(vectors), max_clusters), distinct)
    if clusters <= 1:
        return np.zeros(len(vectors), dtype=np.int64)
    # Threads cost a dozen points far more than they gain, and OpenMP may hang in a forked worker
    with _THREADS.limit(limits=1):
        return KMeans(clusters, random_state=seed, n_init=10).fit_predict(vectors).astype(np.int64)


class References(NamedTuple):
    """The references of a target: places among the person's other dialogues, nearest first, all of one cluster."""

    places: list[int]
    cluster: int


def nearest(vectors: NDArray[np.float64], query: NDArray[np.float64], count: int) -> list[int]:
    """Return the indices of the `count` vectors nearest to the query (Euclidean); ties: the smaller index."""
    distances = np.linalg.norm(vectors - query, axis=1)
    return np.argsort(rounded(distances), kind="stable")[:count].tolist()


def choose_references(others: ArrayLike, labels: NDArray[np.int64], query: ArrayLike, count: int) -> References:
    """Return the references of one target: the nearest `count` within the cluster whose centroid is nearest to it.
    others: (n, d), the person's other dialogues, with their cluster labels (n,). query: (d,), the target as known
    before the reply."""
    vectors, target = rounded(others), rounded(query)
    centroids = np.stack([vectors[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    label = nearest(centroids, target, 1)[0]
    members = np.flatnonzero(labels == label)
    return References([int(members[i]) for i in nearest(vectors[members], target, count)], label)


def choose_targets(labels: NDArray[np.int64], seed: int = 0) -> list[int]:
    """Return one random dialogue of each cluster (paper 3.2.1), in order. labels: (n,), of `cluster_dialogues`."""
    rng = np.random.default_rng(seed)
    return sorted(int(rng.choice(np.flatnonzero(labels == label))) for label in np.unique(labels))
