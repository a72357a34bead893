"""Intervals, paired tests and Holm's correction against numbers worked out by hand."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from idl_hf.report.results import Column, Line, Table, over_seeds
from idl_hf.report.statistics import (
    Estimate,
    _p_value,
    _pair,
    compare,
    crossed_error,
    differences,
    estimate,
    holm,
    mean_difference,
    mean_over_people,
)

SCORE, LOSS = Column("score", "Score"), Column("loss", "Loss", 1, lower_is_better=True)
P_VALUES = st.lists(st.floats(0, 1) | st.just(math.nan), max_size=12)
NOISE = (0.01, -0.02, 0.03, 0.0, -0.01, 0.02)


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def line(name, role, mean, noise=NOISE, key="score", **about):
    return Line(name, role, {key: {f"p{i}": mean + offset for i, offset in enumerate(noise)}}, **about)


def same(one, other):
    return one == pytest.approx(other, nan_ok=True)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == pytest.approx([1, 1])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_a_comparison_without_p_counts_and_stays_without():
    assert same(holm([0.01, math.nan, 0.02]), [0.03, math.nan, 0.04])


@given(P_VALUES)
def test_corrected_p_is_no_less_than_p_and_at_most_one(p_values):
    for p, corrected in zip(p_values, holm(p_values), strict=True):
        assert math.isnan(corrected) if math.isnan(p) else p <= corrected <= 1


@given(P_VALUES)
def test_correction_keeps_the_order(p_values):
    pairs = sorted((p, corrected) for p, corrected in zip(p_values, holm(p_values), strict=True) if not math.isnan(p))
    assert [corrected for _, corrected in pairs] == sorted(corrected for _, corrected in pairs)


@given(P_VALUES, st.randoms(use_true_random=False))
def test_correction_does_not_see_the_order_of_the_comparisons(p_values, random):
    order = random.sample(range(len(p_values)), len(p_values))
    corrected = holm(p_values)
    assert same(holm([p_values[i] for i in order]), [corrected[i] for i in order])


@given(P_VALUES.filter(len), st.floats(0, 1))
def test_one_more_comparison_corrects_no_less(p_values, another):
    fewer = holm(p_values)
    for before, after in zip(fewer, holm([*p_values, another]), strict=False):
        assert math.isnan(before) or after >= before


def test_the_t_test_by_hand():
    # Differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), two degrees of freedom
    p = _p_value(np.array([[1.0], [2.0], [3.0]]))
    assert p == pytest.approx(2 * student.sf(2 * math.sqrt(3), 2))
    assert p == pytest.approx(0.0742, abs=5e-5)


def test_values_that_vary_by_neither_people_nor_seeds_have_no_interval_and_no_p():
    varied = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    for matrix in (varied, 0.1 + 0.2 * varied):  # of the second, means are equal but for rounding
        assert math.isnan(crossed_error(matrix).error)
        assert math.isnan(_p_value(matrix))
    people = [f"p{i}" for i in range(4)]
    seeds = [Line("x", "ours", {"score": dict(zip(people, column, strict=True))}) for column in varied.T]
    assert same(estimate(over_seeds(dict(enumerate(seeds))), "score").low, math.nan)
    alike = Line("y", "baseline", {"score": dict.fromkeys(people, 0.5)})
    table = Table("T", [SCORE], [alike, over_seeds(dict(enumerate(seeds)))])
    (comparison,) = compare(table).values()
    assert math.isnan(comparison.p)
    assert not comparison.dagger


@pytest.mark.parametrize(("people", "seeds"), [(4, 2), (5, 2), (12, 3), (18, 3)])
def test_a_difference_that_rests_on_the_seeds_alone_has_the_p_of_their_t_test(people, seeds):
    """Also where a quantile of a part that is not there would be infinite."""
    matrix = np.tile(np.linspace(0.5, 0.9, seeds), (people, 1))
    assert _p_value(matrix) == pytest.approx(ttest_1samp(matrix[0], 0).pvalue)


@given(st.integers(2, 9), st.integers(2, 4), st.randoms(use_true_random=False))
def test_decisions_of_one_dialogue_each_always_have_an_answer(people, seeds, random):
    matrix = np.array([[float(random.random() < 0.5) for _ in range(seeds)] for _ in range(people)])
    p = _p_value(matrix)
    assert math.isnan(p) or 0 < p <= 1


def test_lines_are_paired_by_person_in_whatever_order_they_have_them():
    line = Line("one", "ours", {"nll": {"a": 1.5, "b": 2.5, "c": 3.5}})
    other = Line("other", "baseline", {"nll": {"c": 0.5, "b": 0.25, "a": 0.0}})
    pair = _pair(line, other, "nll")
    assert (pair.matrix - pair.other)[:, 0].tolist() == [1.5, 2.25, 3.0]


@pytest.mark.parametrize(
    "differences", [[1.0, 2.0], [0.0, 0.0, 0.0, 0.0], [0.1, 0.1, 0.1], [1.0, 2.0, math.nan], [1.0, 2.0, math.inf]]
)
def test_too_few_people_no_spread_and_no_number_have_no_p(differences):
    other = 0.7 * np.arange(len(differences))
    assert math.isnan(_p_value((other + differences - other)[:, None]))


@given(st.dictionaries(st.text(max_size=3), st.floats(-10, 10), min_size=2, max_size=8))
def test_the_interval_is_within_the_values_and_whole_lines_have_none(values):
    mean = mean_over_people(values)
    tiny = 1e-9
    assert min(values.values()) - tiny <= mean.low <= mean.high <= max(values.values()) + tiny
    assert estimate(Line("x", "ours", {}, {"score": mean.mean}), "score").people == 0


def test_the_interval_covers_the_mean_that_values_are_drawn_around():
    rng = np.random.default_rng(0)
    draws = (mean_over_people(dict(enumerate(rng.normal(1, 2, 40)))) for _ in range(200))
    assert 0.9 < np.mean([drawn.low <= 1 <= drawn.high for drawn in draws]) <= 0.98


def test_the_order_of_people_is_of_no_account():
    values = {"b": 0.1, "a": 0.7, "c": 0.4}
    assert mean_over_people(values) == mean_over_people(dict(sorted(values.items())))


def test_a_value_that_is_no_number_makes_none():
    mean = mean_over_people({"a": 1.0, "b": math.nan, "c": 2.0})
    assert same([mean.mean, mean.low, mean.high], [math.nan] * 3)
    assert mean.people == 3


def test_one_person_has_no_interval():
    mean = mean_over_people({"a": 1.0})
    assert same([mean.mean, mean.low, mean.high, mean.people], [1.0, math.nan, math.nan, 1])


def test_a_mean_difference_is_that_of_the_people():
    alike = mean_difference({"a": 1.5, "b": 2.5, "c": 3.5}, {"c": 3.0, "b": 2.0, "a": 1.0})
    assert alike == Estimate(0.5, 0.5, 0.5, 3)
    spread = mean_difference({"a": 0.0, "b": 0.5, "c": 1.0}, {"a": 0.0, "b": 0.0, "c": 0.0})
    assert spread == mean_over_people({"a": 0.0, "b": 0.5, "c": 1.0})
    assert spread.low < 0.5 < spread.high
    with pytest.raises(ValueError, match="same people"):
        mean_difference({"a": 1.0}, {"b": 1.0})


def test_a_line_without_values_has_no_estimate():
    assert estimate(Line("x", "ours", {"score": {}}), "score") is None
    assert estimate(Line("x", "ours", {}, {"score": 0.5}), "score").mean == 0.5
    assert isinstance(estimate(line("x", "ours", 1), "score"), Estimate)


def test_ours_is_compared_with_the_best_baseline_by_mean():
    lines = [line("weak", "baseline", 0.1), line("strong", "baseline", 0.5), line("gold", "bound", 0.9)]
    lines += [line("other", "ablation", 0.8), line("IDL", "ours", 0.7, NOISE[::-1])]
    ((place, found),) = compare(Table("t", [SCORE, LOSS], lines)).items()
    assert place == (4, "score")
    assert found.against == "strong"
    assert found.difference == pytest.approx(0.2)
    assert found.dagger


def test_where_lower_is_better_the_lowest_baseline_is_the_best():
    lines = [line("high", "baseline", 3, key="loss"), line("low", "baseline", 2, key="loss")]
    lines += [line("IDL", "ours", 1, NOISE[::-1], "loss"), line("worse", "ours", 4, NOISE[::-1], "loss")]
    found = compare(Table("t", [LOSS], lines))
    assert {test.against for test in found.values()} == {"low"}
    assert {place.line: test.dagger for place, test in found.items()} == {2: True, 3: False}
    assert found[3, "loss"].corrected_p < 0.05  # significantly worse


def test_the_dagger_needs_the_corrected_p():
    weak = line("IDL", "ours", 0.02, (0.01, 0.03, -0.01, 0.02, -0.02, 0.0))
    alone = Table("t", [SCORE], [line("FT", "baseline", 0.0, (0.0,) * 6), weak])
    (found,) = compare(alone).values()
    assert 0.02 < found.p < 0.05
    assert found.corrected_p == found.p
    assert found.dagger
    more = replace(alone, lines=[*alone.lines, *(line(f"again {i}", "ours", 0.02, NOISE) for i in range(2))])
    assert compare(more)[1, "score"].p == found.p
    assert not compare(more)[1, "score"].dagger


def test_corpora_are_compared_each_for_itself():
    lines = [line("FT", "baseline", 0.9, group="Movie"), line("FT", "baseline", 0.1, group="LIGHT")]
    lines += [line("IDL", "ours", 0.5, NOISE[::-1], group=corpus) for corpus in ("Movie", "LIGHT")]
    found = compare(Table("t", [SCORE], lines))
    assert [found[i, "score"].dagger for i in (2, 3)] == [False, True]


def test_curves_are_compared_at_one_x():
    lines = [line(f"ICL {x}", "baseline", x, group="ICL", x=x) for x in (1, 2)]
    lines += [line(f"IDL {x}", "ours", 1.5, NOISE[::-1], group="IDL", x=x) for x in (1, 2, 3)]
    found = compare(Table("t", [SCORE], lines))
    assert {place.line: (test.against, test.dagger) for place, test in found.items()} == {
        2: ("ICL 1", True), 3: ("ICL 2", False),
    }  # fmt: skip


def test_theirs_and_ours_have_to_beat_each_other():
    lines = [line("FT", "baseline", 0.6), line("IDL", "ours", 0.5, NOISE[::-1]), line("weak", "ours", 0.3)]
    lines += [line("theirs", "theirs", 0.7, NOISE[1:] + NOISE[:1]), line("low", "theirs", 0.1)]
    found = {place.line: (test.against, test.dagger) for place, test in compare(Table("t", [SCORE], lines)).items()}
    assert found == {1: ("theirs", False), 2: ("theirs", False), 3: ("IDL", True), 4: ("IDL", False)}
    assert (1, 3) in [(pair.line, pair.other) for pair in differences(Table("t", [SCORE], lines))]
    assert not compare(Table("t", [SCORE], [lines[0], lines[3]]))  # nothing of ours


def test_a_column_in_which_neither_is_better_is_not_tested():
    bound = replace(SCORE, lower_is_better=None)
    lines = [line("FT", "baseline", 0.1), line("IDL", "ours", 0.7, NOISE[::-1])]
    assert compare(Table("t", [SCORE], lines))
    assert compare(Table("t", [bound], lines)) == {}


def test_differences_are_those_of_ours_and_two_of_ours_differ_once():
    lines = [
        line("MSL", "ours", 0.5),
        line("FT", "baseline", 0.1),
        line("IDL", "ours", 0.75),
        line("gold", "bound", 1),
    ]
    found = differences(Table("t", [SCORE], lines))
    assert [(pair.line, pair.other) for pair in found] == [(0, 1), (0, 3), (2, 0), (2, 1), (2, 3)]
    assert found[2].estimates["score"] == Estimate(0.25, pytest.approx(0.25), pytest.approx(0.25), len(NOISE))


def test_a_baseline_without_a_mean_is_the_best_only_if_alone():
    broken, sound = line("broken", "baseline", math.nan), line("sound", "baseline", 0.1)
    ours = line("IDL", "ours", 0.5, NOISE[::-1])
    assert compare(Table("t", [SCORE], [broken, sound, ours]))[2, "score"].against == "sound"
    alone = compare(Table("t", [SCORE], [broken, ours]))[1, "score"]
    assert same([alone.p, alone.corrected_p], [math.nan] * 2)
    assert not alone.dagger


def test_other_people_cannot_be_compared():
    fewer = line("IDL", "ours", 0.5, NOISE[:4])
    for lines in ([line("FT", "baseline", 0.1), fewer], [fewer, line("FT", "baseline", 0.1)]):
        with pytest.raises(ValueError, match=r"'t', Score: .* only 'FT' has p4, p5\. Measure both"):
            compare(Table("t", [SCORE], lines))


def test_lines_that_contradict_themselves_are_refused():
    with pytest.raises(ValueError, match="'IDL' has score both by person and as a whole"):
        line("IDL", "ours", 0.5, whole={"score": 1.0})
    with pytest.raises(ValueError, match=r"lines with x and lines without \('gold'\)"):
        Table("t", [SCORE], [line("IDL", "ours", 0.5, x=1), line("gold", "bound", 0.5)])
    with pytest.raises(ValueError, match="several lines for 'Movie, IDL'"):
        Table("t", [SCORE], [line("IDL", "ours", 0.5, group="Movie")] * 2)
    with pytest.raises(ValueError, match=r"several lines for 'IDL, x = 1'"):
        Table("t", [SCORE], [line(name, "ours", 0.5, group="IDL", x=1) for name in "ab"])


def seeded(name, role, matrix, seeds=(0, 1, 2), key="score"):
    """Return a line of values (people, seeds)."""
    columns = zip(seeds, np.transpose(matrix).tolist(), strict=True)
    return over_seeds({seed: Line(name, role, {key: people_of(column)}) for seed, column in columns})


def people_of(values):
    return {f"p{i:03}": value for i, value in enumerate(values)}


def drawn(rng, people, seeds, of_people, of_seeds, rest):
    """Return values (people, seeds) around 0, with these standard deviations."""
    shared = of_people * rng.normal(size=(people, 1)) + of_seeds * rng.normal(size=(1, seeds))
    return shared + rest * rng.normal(size=(people, seeds))


def test_the_error_over_people_and_seeds_by_hand():
    # Means of people 1, 3, 5 and of seeds 2, 4: persons -2, 0, 2, seeds -1, 1, rest 0 but for the last two people
    matrix = np.array([[0.0, 2.0], [2.5, 3.5], [3.5, 6.5]])
    rest = np.array([[0, 0], [0.5, -0.5], [-0.5, 0.5]])
    assert np.allclose(matrix, 3 + np.array([[-2], [0], [2]]) + np.array([-1, 1]) + rest)
    found = crossed_error(matrix)
    of_rest = (rest**2).sum() / 2  # two degrees of freedom: 0.5
    of_people, of_seeds = (2 * 4 - of_rest) / 6, 3 * 2 / 6  # mean squares 2 * var(1, 3, 5) and 3 * var(2, 4)
    assert (of_people, of_seeds) == (1.25, 1.0)
    assert found.error == pytest.approx(math.sqrt(2.25))
    assert found.quantile(0.05) == pytest.approx((1.25 * student.isf(0.025, 2) + student.isf(0.025, 1)) / 2.25)
    mean = estimate(seeded("IDL", "ours", matrix, (4, 7)), "score")
    half = 1.5 * found.quantile(0.05)
    assert (mean.mean, mean.low, mean.high) == pytest.approx((3, 3 - half, 3 + half))
    assert (mean.people, mean.seeds) == (3, 2)


@pytest.mark.parametrize(
    ("people", "of_people", "of_seeds", "rest"),
    [(18, 1, 0, 0.3), (18, 1, 1, 0.3), (40, 0, 0, 1), (40, 0.3, 0.1, 0.5), (60, 0.1, 0.2, 1)],
)
def test_intervals_over_people_and_three_seeds_cover_the_mean_whatever_varies(people, of_people, of_seeds, rest):
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1500):
        matrix = drawn(rng, people, 3, of_people, of_seeds, rest)
        crossed = crossed_error(matrix)
        hits += abs(matrix.mean()) <= crossed.error * crossed.quantile(0.05)
    assert 0.935 <= hits / 1500 <= 0.975


def test_p_over_people_and_seeds_is_below_a_level_where_its_interval_leaves_zero():
    rng = np.random.default_rng(3)
    baseline = seeded("FT", "baseline", np.zeros((12, 3)))
    significant = []
    for mean in np.linspace(0, 1.2, 40):
        ours = seeded("IDL", "ours", mean + drawn(rng, 12, 3, 0.3, 0.2, 0.5))
        (test,) = compare(Table("t", [SCORE], [baseline, ours])).values()
        interval = estimate(ours, "score")
        assert (test.p < 0.05) == (interval.low > 0 or interval.high < 0)
        significant.append(test.p < 0.05)
    assert any(significant)
    assert not all(significant)


def test_a_difference_far_from_zero_has_a_p_of_nearly_none():
    ours = np.tile(100 + np.random.default_rng(0).normal(size=(400, 1)), 3)  # no spread over seeds: t of 399
    lines = [seeded("FT", "baseline", np.zeros((400, 3))), seeded("IDL", "ours", ours)]
    (test,) = compare(Table("t", [SCORE], lines)).values()
    assert 0 < test.p < 1e-200
    assert test.dagger


def test_lines_are_paired_by_person_and_by_seed():
    rng = np.random.default_rng(1)
    shared = drawn(rng, 20, 3, 1, 1, 0)
    rest = [drawn(rng, 20, 3, 0, 0, 0.01) for _ in range(2)]
    lines = [seeded("FT", "baseline", shared + rest[0]), seeded("IDL", "ours", shared + 0.1 + rest[1])]
    paired = differences(Table("t", [SCORE], lines))[0].estimates["score"]
    assert paired.low > 0.05
    assert paired.high < 0.15
    (test,) = compare(Table("t", [SCORE], lines)).values()
    assert test.dagger
    assert test.difference == pytest.approx(paired.mean)


def test_a_line_without_training_is_paired_with_every_seed():
    rng = np.random.default_rng(2)
    plain, matrix = rng.normal(size=20), drawn(rng, 20, 3, 0, 0.1, 0.1)
    lines = [Line("ICL", "baseline", {"score": people_of(plain.tolist())})]
    lines += [seeded("IDL", "ours", plain[:, None] + matrix)]
    (pair,) = differences(Table("t", [SCORE], lines))
    found, expected = pair.estimates["score"], estimate(seeded("x", "", matrix), "score")
    assert [found.mean, found.low, found.high] == pytest.approx([expected.mean, expected.low, expected.high])
    assert (found.people, found.seeds) == (20, 3)
    assert estimate(lines[0], "score") == mean_over_people(lines[0].values["score"])


def test_of_a_report_so_far_the_seeds_that_both_lines_have_are_compared():
    rng = np.random.default_rng(4)
    ours, theirs = rng.normal(size=(9, 1)), rng.normal(size=(9, 3))
    lines = [seeded("FT", "baseline", theirs, (2, 0, 1)), seeded("IDL", "ours", ours, (0,))]
    (pair,) = differences(Table("t", [SCORE], lines))
    assert pair.estimates["score"] == replace(mean_over_people(people_of(ours[:, 0] - theirs[:, 1])), seeds=1)
    with pytest.raises(ValueError, match="'IDL' has the seeds 5 and 'FT' the seeds 2, 0, 1"):
        differences(Table("t", [SCORE], [lines[0], seeded("IDL", "ours", ours, (5,))]))


def test_one_seed_says_what_no_seed_does():
    values = np.random.default_rng(5).normal(size=(9, 1))
    one = seeded("IDL", "ours", values, (0,))
    assert replace(estimate(one, "score"), seeds=0) == mean_over_people(one.values["score"])


def test_the_line_of_all_seeds_has_the_means_and_keeps_the_values():
    of_seeds = {
        seed: Line("IDL", "ours", {"score": {"a": 1.0 + seed, "b": 2.0}}, {"loss": 3.0 * seed}, {"score": 2})
        for seed in (0, 4)
    }
    joined = over_seeds(of_seeds)
    assert joined.values == {"score": {"a": 3.0, "b": 2.0}}
    assert joined.whole == {"loss": 6.0}
    assert joined.rows == {"score": 2}
    assert {seed: (kept.values, kept.whole) for seed, kept in joined.by_seed.items()} == {
        seed: (line.values, line.whole) for seed, line in of_seeds.items()
    }
    assert estimate(joined, "loss").seeds == 2
    others = [({"score": {"a": 1.0, "b": 2.0}}, {}), ({"score": {"a": 1.0}}, {"loss": 1}), ({}, {"loss": 1})]
    for other in (Line("IDL", "ours", values, whole) for values, whole in others):
        with pytest.raises(ValueError, match="seeds 0, 4, 5 of 'IDL' were not all measured on the same people"):
            over_seeds(of_seeds | {5: other})
