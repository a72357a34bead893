"""SPI: the worked partition and neighbours, and what may steer the choice of references."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from idl_hf import spi
from idl_hf.schema import Turn
from idl_hf.spi import choose_references, choose_targets, cluster_dialogues, nearest, number_of_clusters, persona_text

SEEDS = range(5)
points = st.lists(st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=2), min_size=1, max_size=9)


def partition(labels) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


def others(embeddings, target: int):
    return np.delete(embeddings, target, axis=0), [i for i in range(len(embeddings)) if i != target]


@pytest.fixture(scope="module")
def worked(vectors):
    return vectors("spi")


@pytest.fixture(scope="module")
def embeddings(worked):
    return np.array(worked["embeddings"])


# The worked numbers


@pytest.mark.parametrize("seed", SEEDS)
def test_worked_partition(worked, embeddings, seed):
    assert partition(cluster_dialogues(embeddings, worked["c"], seed)) == set(
        map(frozenset, worked["expected_partition"])
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "count"), [("top3", 3), ("top5", 5)])
def test_worked_neighbours_within_the_cluster(worked, embeddings, seed, name, count):
    for case in worked["top_k_within_cluster"]:
        rest, indices = others(embeddings, case["target"])
        labels = cluster_dialogues(rest, worked["c"], seed)
        chosen, _ = choose_references(rest, labels, embeddings[case["target"]], count)
        assert [indices[i] for i in chosen] == case[name], case["target"]


def test_worked_number_of_clusters(worked):
    table = {case["n"]: case["clusters"] for case in worked["cluster_count"]}
    assert {n: number_of_clusters(n, worked["c"]) for n in table} == table


# What represents a dialogue


def test_persona_intensive_utterances_represent_a_dialogue():
    turns = [Turn("self", "hi"), Turn("partner", "i am a nurse"), Turn("self", "i have a dog"), Turn("self", "i farm")]
    assert persona_text(turns, [False, True, True, True]) == "i have a dog\ni farm"


def test_without_any_all_of_the_persons_utterances_do():
    assert persona_text([Turn("self", "hi"), Turn("partner", "yo"), Turn("self", "bye")], [False] * 3) == "hi\nbye"


def test_before_the_person_has_spoken_the_partners_do():
    assert persona_text([Turn("partner", "hi"), Turn("partner", "hello ?")], [False, False]) == "hi\nhello ?"


# Clusters


@given(points, st.integers(1, 5))
def test_there_are_never_more_clusters_than_half_the_dialogues(vectors, clusters):
    labels = cluster_dialogues(vectors, clusters)
    assert labels.shape == (len(vectors),)
    assert labels.dtype == np.int64
    assert len(np.unique(labels)) <= min(clusters, max(1, len(vectors) // 2))


@pytest.mark.parametrize("distinct", [1, 2])
def test_duplicates_make_fewer_clusters_and_no_warning(distinct):
    vectors = np.eye(2)[[i % distinct for i in range(8)]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(np.unique(cluster_dialogues(vectors, 3))) == distinct


def test_k_means_runs_in_one_thread_and_leaves_the_others_to_the_rest(monkeypatch):
    threads = []

    class Watched(spi.KMeans):
        def fit_predict(self, vectors):
            pools = [pool for pool in threadpool_info() if "torch" not in pool["filepath"]]  # K-means uses none of it
            threads.extend(pool["num_threads"] for pool in pools)
            return super().fit_predict(vectors)

    monkeypatch.setattr(spi, "KMeans", Watched)
    with threadpool_limits(2):
        before = threadpool_info()
        cluster_dialogues(np.eye(6))
        assert threadpool_info() == before
    assert set(threads) == {1}


def test_no_dialogue_makes_no_label():
    assert cluster_dialogues([]).shape == (0,)


def test_embeddings_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(dialogues, d\), found \(3,\)"):
        cluster_dialogues([1.0, 2.0, 3.0])


# References and targets


@given(points, st.integers(0, 6), st.integers(0, 3))
def test_references_are_distinct_indices_into_the_others_of_one_cluster_nearest_first(vectors, count, seed):
    query = np.array([0.5, 0.25])
    labels = cluster_dialogues(vectors, seed=seed)
    chosen, label = choose_references(vectors, labels, query, count)
    assert len(set(chosen)) == len(chosen) == min(count, int((labels == label).sum()))
    assert set(labels[chosen]) <= {label}
    distances = np.linalg.norm(np.array(vectors)[chosen] - query, axis=1)
    assert np.all(np.diff(distances) >= -1e-9)


def test_ties_go_to_the_smaller_index():
    assert nearest(np.array([[0.0, 2.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]]), np.zeros(2), 3) == [1, 2, 3]


def test_the_only_other_dialogue_is_the_reference():
    assert choose_references([[1.0, 0.0]], np.array([0]), [0.0, 1.0], 5) == ([0], 0)


def test_when_all_dialogues_are_alike_the_first_are_the_references():
    alike = [[1.0, 0.0]] * 7
    assert choose_references(alike, cluster_dialogues(alike), [1.0, 0.0], 5) == ([0, 1, 2, 3, 4], 0)


@given(points, st.integers(0, 3))
def test_targets_are_one_of_each_cluster_in_dialogue_order(vectors, seed):
    labels = cluster_dialogues(vectors, seed=seed)
    targets = choose_targets(labels, seed)
    assert targets == sorted(targets)
    assert sorted(labels[targets]) == sorted(set(labels))


def test_the_seed_decides_the_targets():
    labels = cluster_dialogues(np.random.default_rng(0).normal(size=(30, 4)))
    assert choose_targets(labels, seed=1) == choose_targets(labels, seed=1)
    assert len({tuple(choose_targets(labels, seed=seed)) for seed in range(5)}) > 1
