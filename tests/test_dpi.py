"""DPI: the worked orders, every permutation tried, and the tie rule."""

from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.dpi import MAX_REFERENCES, order_references

steps = st.integers(0, 40).map(lambda tenths: tenths / 10)  # few values, so that ties are common


@st.composite
def instances(draw, max_references: int = 6):
    """(distances, to_target): a symmetric matrix with zero diagonal."""
    count = draw(st.integers(0, max_references))
    upper = np.zeros((count, count))
    for i in range(count):
        for j in range(i):
            upper[i, j] = draw(steps)
    return upper + upper.T, draw(st.lists(steps, min_size=count, max_size=count))


def path_cost(distances, order) -> float:
    return float(sum(distances[a][b] for a, b in pairwise(order)))


# The worked numbers


@pytest.mark.parametrize(
    ("expected", "with_target", "mode"),
    [("free", True, "free"), ("free_no_target", False, "free"), ("target_last", True, "target_last")],
)
def test_worked_numbers(vectors, expected, with_target, mode):
    cases = vectors("order")["cases"]
    assert len(cases) == 10
    for case in cases:
        order = order_references(case["d"], case["t"] if with_target else None, mode)
        into_target = case["t"][order[-1]] if mode == "target_last" and order else 0.0
        assert path_cost(case["d"], order) + into_target == pytest.approx(case[expected]["cost"], abs=1e-9), case[
            "name"
        ]
        assert order == case[expected]["order"], case["name"]


# What holds for every instance


def one_state_at_a_time(distances, target):
    """The order as the definition reads: a dictionary of states, a path as a list."""
    count = len(target)
    best = {(frozenset([i]), i): (0.0, [i]) for i in range(count)}
    for size in range(2, count + 1):
        for visited in map(frozenset, combinations(range(count), size)):
            for last in visited:
                before = visited - {last}
                candidates = []
                for previous in before:
                    cost, path = best[before, previous]
                    candidates.append((cost + distances[previous][last], [*path, last]))
                best[visited, last] = min(candidates, key=lambda one: (round(one[0], 5), one[1]))
    ends = [best[frozenset(range(count)), last] for last in range(count)]
    return min((round(cost, 5), round(target[path[-1]], 5), path) for cost, path in ends)[2]


@given(instances(max_references=8).filter(lambda instance: len(instance[1])))
def test_all_states_of_a_size_at_once_find_what_one_at_a_time_finds(instance):
    distances, target = instance
    assert order_references(distances, target) == one_state_at_a_time(distances.tolist(), target)


@pytest.mark.parametrize("seed", range(3))
def test_so_they_do_with_as_many_references_as_there_may_be(seed):
    places = np.random.default_rng(seed).random((MAX_REFERENCES, 3))
    distances = np.linalg.norm(places[:, None] - places, axis=2)
    target = distances[0].tolist()
    assert order_references(distances, target) == one_state_at_a_time(distances.tolist(), target)


@given(instances(), st.booleans())
def test_free_is_the_best_of_all_permutations_and_ties_go_to_the_last_nearest_the_target(instance, with_target):
    distances, target = instance
    last = target if with_target else [0.0] * len(target)
    best = min(
        permutations(range(len(target))),
        key=lambda path: (round(path_cost(distances, path), 9), round(last[path[-1]], 9) if path else 0, path),
    )
    assert order_references(distances, target if with_target else None) == list(best)


@given(instances())
def test_target_last_is_the_best_of_all_permutations_with_the_step_into_the_target(instance):
    distances, target = instance
    best = min(
        permutations(range(len(target))),
        key=lambda path: (round(path_cost(distances, path) + (target[path[-1]] if path else 0), 9), path),
    )
    assert order_references(distances, target, "target_last") == list(best)


@given(instances())
def test_numbering_the_references_in_reverse_changes_no_cost(instance):
    distances, target = instance
    order = order_references(distances, target)
    reversed_order = order_references(distances[::-1, ::-1], target[::-1])
    assert path_cost(distances[::-1, ::-1], reversed_order) == pytest.approx(path_cost(distances, order), abs=1e-9)


@given(instances())
def test_without_a_target_a_path_is_never_after_its_own_reverse(instance):
    distances, _ = instance
    order = order_references(distances)
    assert order <= order[::-1]


@given(instances())
def test_scaling_all_distances_changes_no_order(instance):
    distances, target = instance
    doubled = order_references(2 * distances, [2 * step for step in target])
    assert doubled == order_references(distances, target)


def test_rounding_errors_do_not_break_a_tie():
    assert order_references([[0, 0.1 + 0.2, 0.3], [0.1 + 0.2, 0, 0.3], [0.3, 0.3, 0]]) == [0, 1, 2]


def test_twelve_references_are_ordered_exactly():
    places = np.random.default_rng(0).permutation(MAX_REFERENCES).astype(float)
    order = order_references(np.abs(places[:, None] - places), [20 - place for place in places])
    assert order == np.argsort(places).tolist()


# Errors


def test_more_than_twelve_references_are_refused():
    with pytest.raises(ValueError, match="at most 12 references, found 13"):
        order_references(np.zeros((13, 13)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.0, 1.0]],), "must be square"),
        (([0.0, 1.0],), "must be square"),
        ((np.zeros((2, 2)), [1.0]), r"one distance per reference \(2\), found 1"),
        ((np.zeros((2, 2)), None, "target_last"), "needs to_target"),
        ((np.zeros((2, 2)), None, "greedy"), "free, target_last"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        order_references(*arguments)
