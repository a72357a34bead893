"""The metric persona_gain: worked numbers, the package's own estimate, and wrong inputs."""

import math
import re
from pathlib import Path

import evaluate
import numpy as np
import pandas as pd
import pytest

from idl_hf.report.statistics import mean_difference

FOLDER = Path(__file__).parents[2] / "metrics" / "persona_gain"
ROWS = {
    "own_nll": [30.0, 12.0, 66.0],
    "own_tokens": [10, 5, 20],
    "other_nll": [33.0, 12.0, 68.0],
    "other_tokens": [10, 5, 20],
    "person_id": ["ruth", "ruth", "kit"],
}


@pytest.fixture(scope="module")
def metric():
    return evaluate.load(str(FOLDER), keep_in_memory=True)


def made_up(people: int, seed: int = 0) -> dict[str, list]:
    """Return three dialogues each of people whose own references help a little."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(20, 90, 3 * people).tolist()
    own = [3 * count + noise for count, noise in zip(tokens, rng.normal(0, 5, len(tokens)).tolist(), strict=True)]
    other = [nll + 0.1 * count for nll, count in zip(own, tokens, strict=True)]
    other = [nll + noise for nll, noise in zip(other, rng.normal(0, 5, len(tokens)).tolist(), strict=True)]
    names = [f"person {i % people}" for i in range(len(tokens))]
    return {
        "own_nll": own,
        "own_tokens": tokens,
        "other_nll": other,
        "other_tokens": tokens,
        "person_id": names,
    }


def by_person(rows: dict[str, list], side: str) -> dict[str, float]:
    """Return the NLL per token of each person, added up as `idl_hf.models.likelihood.nll_by_person` does."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for nll, tokens, person in zip(rows[f"{side}_nll"], rows[f"{side}_tokens"], rows["person_id"], strict=True):
        sums[person] = sums.get(person, 0.0) + nll
        counts[person] = counts.get(person, 0) + tokens
    return {person: sums[person] / counts[person] for person in sums}


def test_by_hand(metric):
    results = metric.compute(**ROWS)
    # Ruth: 42 / 15 with own, 45 / 15 with other; Kit: 66 / 20 and 68 / 20
    assert results["own_nll"] == pytest.approx((2.8 + 3.3) / 2, abs=1e-12)
    assert results["other_nll"] == pytest.approx((3.0 + 3.4) / 2, abs=1e-12)
    assert results["persona_gain"] == pytest.approx((0.2 + 0.1) / 2, abs=1e-12)
    assert (results["low"], results["high"]) == pytest.approx((0.1, 0.2), abs=1e-12)  # both resampled twice
    assert results["n_people"] == 2


def test_it_is_the_estimate_of_the_package(metric):
    rows = made_up(25)
    results = metric.compute(**rows)
    expected = mean_difference(by_person(rows, "other"), by_person(rows, "own"))
    assert results["persona_gain"] == pytest.approx(expected.mean, abs=1e-12)
    assert (results["low"], results["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert results["n_people"] == expected.people == 25


def test_resampling_in_parts_changes_nothing(metric):
    """Check that the draws stay the same where many people are resampled in several parts, to bound the memory."""
    rows = made_up(1500)  # 6,666 resamples at once, then the rest
    results = metric.compute(**rows)
    expected = mean_difference(by_person(rows, "other"), by_person(rows, "own"))
    assert (results["low"], results["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_covers_the_truth_as_often_as_it_says(metric):
    covered = 0
    for seed in range(60):
        results = metric.compute(**made_up(40, seed), seed=seed)
        covered += results["low"] <= 0.1 <= results["high"]
    assert covered >= 51  # of 60; 95 % is 57


def test_the_seed_decides_the_interval_only(metric):
    rows = made_up(10)
    first, again, other = (metric.compute(**rows, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first["persona_gain"] == other["persona_gain"]
    assert first["low"] != other["low"]


def test_order_and_split_of_the_rows_do_not_matter(metric):
    whole = metric.compute(**ROWS)
    backwards = {name: column[::-1] for name, column in ROWS.items()}
    assert metric.compute(**backwards) == pytest.approx(whole)
    joined = {
        "own_nll": [42.0, 66.0],
        "own_tokens": [15, 20],
        "other_nll": [45.0, 68.0],
        "other_tokens": [15, 20],
        "person_id": ["ruth", "kit"],
    }
    assert metric.compute(**joined) == pytest.approx(whole)


def test_columns_of_a_table_and_whole_floats(metric):
    table = pd.DataFrame(ROWS).astype({"own_tokens": float, "other_tokens": float})
    assert metric.compute(**{name: table[name] for name in table}) == metric.compute(**ROWS)


def test_exchanging_own_and_other_negates(metric):
    rows = made_up(10)
    swapped = {**rows, "own_nll": rows["other_nll"], "other_nll": rows["own_nll"]}
    assert metric.compute(**swapped)["persona_gain"] == pytest.approx(-metric.compute(**rows)["persona_gain"])


def test_a_model_that_ignores_the_person_gains_nothing(metric):
    rows = made_up(10)
    results = metric.compute(**{**rows, "other_nll": rows["own_nll"]})
    assert (results["persona_gain"], results["low"], results["high"]) == (0, 0, 0)


def test_one_person_has_no_interval(metric):
    results = metric.compute(**{name: column[:2] for name, column in ROWS.items()})
    assert results["persona_gain"] == pytest.approx(0.2)
    assert math.isnan(results["low"])
    assert math.isnan(results["high"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"own_nll": [1.0]}, "found 1 of `own_nll`, 3 of `own_tokens`, 3 of `other_nll`"),
        ({"own_nll": [1.0, math.nan, 1.0]}, "row 1 of `own_nll` to be a sum of negative log-likelihoods"),
        ({"other_nll": [1.0, 1.0, math.inf]}, "row 2 of `other_nll` to be a sum of negative log-likelihoods"),
        ({"own_nll": [-30.0, -12.0, -66.0]}, "a number from 0 on, but found -30.0"),
        ({"own_nll": ["30", "12", "66"]}, "a number from 0 on, but found '30'"),
        ({"own_tokens": [10, 0, 20]}, "row 1 of `own_tokens` to be a whole number from 1 on, but found 0"),
        ({"own_tokens": [10.5, 5, 20]}, "row 0 of `own_tokens` to be a whole number from 1 on, but found 10.5"),
        ({"other_tokens": [10, 5, 21]}, "found 20 tokens with own and 21 tokens with other references in row 2"),
        ({"person_id": ["ruth", 3, "kit"]}, "row 1 of `person_id` to be a string, but found int"),
        ({"person_id": "ruth"}, "`person_id` to be a list with one entry per dialogue, but found str"),
        ({"other_nll": None}, "`other_nll` to be a list with one entry per dialogue, but found NoneType"),
        ({name: [] for name in ROWS}, "at least one dialogue, but found none"),
    ],
)
def test_wrong_rows(metric, change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        metric.compute(**{**ROWS, **change})
    assert metric.compute(**ROWS)["n_people"] == 2, "an error must leave nothing behind"


def test_missing_columns(metric):
    with pytest.raises(ValueError, match="`other_nll` to be a list"):
        metric.compute(own_nll=[1.0], own_tokens=[1], person_id=["ruth"])
