"""convED: the worked numbers, the textbook dynamic programme, and what holds for every pair of dialogues."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf import conved as module
from idl_hf.conved import conved, pairwise_conved

SCALES = (0.0, 0.5, 1.0, 2.0, 5.0)
coordinates = st.floats(-3, 3, allow_nan=False, width=32) | st.sampled_from([0.0, 1.0, -1.0])
turns = st.tuples(st.sampled_from(["self", "partner"]), st.lists(coordinates, min_size=3, max_size=3))
dialogues = st.lists(turns, max_size=6).map(lambda said: ([role for role, _ in said], [vector for _, vector in said]))
scales = st.sampled_from(SCALES)


def textbook(roles_a, vectors_a, roles_b, vectors_b, scale: float = 5.0) -> float:
    """Paper A.3, cell by cell, in plain Python."""

    def cosine(a, b) -> float:
        norms = math.hypot(*a) * math.hypot(*b)
        return max(-1.0, min(1.0, math.fsum(x * y for x, y in zip(a, b, strict=True)) / norms)) if norms else 0.0

    lev = [[float(i + j) for j in range(len(roles_b) + 1)] for i in range(len(roles_a) + 1)]
    for i in range(1, len(roles_a) + 1):
        for j in range(1, len(roles_b) + 1):
            substitution = (
                scale * (1 - cosine(vectors_a[i - 1], vectors_b[j - 1]))
                if roles_a[i - 1] == roles_b[j - 1]
                else math.inf
            )
            lev[i][j] = min(lev[i - 1][j] + 1, lev[i][j - 1] + 1, lev[i - 1][j - 1] + substitution)
    return lev[-1][-1]


def at_angle(degrees: float):
    return ["self"], [[math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]]


# The worked numbers


@pytest.mark.parametrize("scale", ["5.0", "1.0"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-5)])
def test_worked_numbers(vectors, scale, dtype, tolerance):
    cases = vectors("conved")["cases"]
    assert len(cases) == 16
    for case in cases:
        a, b = ((case[side]["speakers"], np.array(case[side]["vectors"], dtype)) for side in ("a", "b"))
        assert conved(*a, *b, float(scale)) == pytest.approx(case["expected"][scale], abs=tolerance), case["name"]


def test_the_default_scale_is_the_papers_five():
    assert conved(*at_angle(0), *at_angle(20)) == pytest.approx(0.30153689607045786, abs=1e-9)


def test_the_triangle_inequality_fails_at_0_20_and_40_degrees():
    direct = conved(*at_angle(0), *at_angle(40))
    by_way_of_20 = conved(*at_angle(0), *at_angle(20)) + conved(*at_angle(20), *at_angle(40))
    assert direct == pytest.approx(1.169777784405, abs=1e-9)
    assert by_way_of_20 == pytest.approx(0.603073792141, abs=1e-9)


def test_a_substitution_pays_only_where_the_cosine_exceeds_0_6():
    assert conved(["self"], [[1, 0]], ["self"], [[0.61, math.sqrt(1 - 0.61**2)]]) == pytest.approx(1.95)
    assert conved(["self"], [[1, 0]], ["self"], [[0.59, math.sqrt(1 - 0.59**2)]]) == pytest.approx(2.0)


# What holds for every pair


@given(dialogues, dialogues, scales)
def test_equals_the_textbook_dynamic_programme(a, b, scale):
    assert conved(*a, *b, scale) == pytest.approx(textbook(*a, *b, scale), abs=1e-9)


@given(dialogues, dialogues, scales)
def test_lies_between_the_difference_and_the_sum_of_the_lengths(a, b, scale):
    distance = conved(*a, *b, scale)
    assert abs(len(a[0]) - len(b[0])) - 1e-9 <= distance <= len(a[0]) + len(b[0]) + 1e-9


@given(dialogues, dialogues, scales)
def test_is_symmetric(a, b, scale):
    assert conved(*a, *b, scale) == pytest.approx(conved(*b, *a, scale), abs=1e-9)


@given(dialogues, st.floats(0.01, 100))
def test_is_zero_for_identical_and_for_parallel_vectors(a, factor):
    roles, rows = a
    spoken = [row if any(row) else [1.0, 0.0, 0.0] for row in rows]
    parallel = [[factor * x for x in row] for row in spoken]
    assert conved(roles, spoken, roles, parallel) == pytest.approx(0, abs=1e-6)


@given(dialogues, dialogues)
def test_is_the_sum_of_the_lengths_where_no_role_is_shared(a, b):
    count_a, count_b = len(a[0]), len(b[0])
    assert conved(["self"] * count_a, a[1], ["partner"] * count_b, b[1]) == count_a + count_b


@given(st.lists(dialogues, max_size=6), scales)
def test_all_pairs_at_once_equal_the_pairs_one_by_one(many, scale):
    matrix = pairwise_conved(many, scale)
    assert matrix.shape == (len(many), len(many))
    assert matrix.dtype == np.float64
    for i, a in enumerate(many):
        for j, b in enumerate(many):
            assert matrix[i, j] == (0 if i == j else pytest.approx(textbook(*a, *b, scale), abs=1e-9))


@given(st.lists(dialogues, min_size=2, max_size=6), st.sampled_from([1, 50, 300]))
def test_blocks_of_bounded_memory_change_nothing(many, cells):
    whole = pairwise_conved(many)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CELLS_PER_BLOCK", cells)
        np.testing.assert_allclose(pairwise_conved(many), whole, atol=1e-12)


# Errors


def test_roles_and_vectors_must_be_as_many():
    with pytest.raises(ValueError, match="2 roles but 1 vectors"):
        conved(["self", "partner"], [[1.0, 0.0]], ["self"], [[1.0, 0.0]])


def test_a_negative_scale_is_refused():
    with pytest.raises(ValueError, match=r"scale must not be negative.*-1"):
        conved(*at_angle(0), *at_angle(20), scale=-1)


def test_vectors_of_two_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"one dimension, found \[2, 3\]"):
        conved(["self"], [[1.0, 0.0]], ["self"], [[1.0, 0.0, 0.0]])
