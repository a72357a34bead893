"""The metric identification: worked numbers, scikit-learn's log-loss, hits_at_k's hits, and wrong inputs."""

import math
import re
from pathlib import Path

import evaluate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import log_loss

METRICS = Path(__file__).parents[2] / "metrics"


@pytest.fixture(scope="module")
def metric():
    return evaluate.load(str(METRICS / "identification"), keep_in_memory=True)


def test_by_hand(metric):
    # e^2 : 1 : 1 and 1 : e^1 : 1
    results = metric.compute(predictions=[[-8.0, -10.0, -10.0], [-5.0, -4.0, -5.0]], references=[0, 0])
    first, second = math.exp(2) / (math.exp(2) + 2), 1 / (math.e + 2)
    assert results == {
        "hits@1": 0.5,
        "log_loss": pytest.approx(-(math.log(first) + math.log(second)) / 2, abs=1e-12),
        "chance": pytest.approx(math.log(3), abs=1e-12),
        "confidence": pytest.approx((first + math.e * second) / 2, abs=1e-12),
    }


def test_it_is_the_log_loss_of_scikit_learn_and_the_first_hit_of_hits_at_k(metric):
    rng = np.random.default_rng(3)
    totals, own = rng.normal(-90, 4, (60, 8)), rng.integers(0, 8, 60)
    results = metric.compute(predictions=totals, references=own)
    assert results["log_loss"] == pytest.approx(log_loss(own, softmax(totals, axis=1), labels=range(8)), rel=1e-12)
    hits = evaluate.load(str(METRICS / "hits_at_k"), keep_in_memory=True)
    assert results["hits@1"] == hits.compute(predictions=totals, references=own, ks=[1])["hits_at_1"]
    assert results["confidence"] == pytest.approx(softmax(totals, axis=1).max(axis=1).mean(), rel=1e-12)


@given(st.integers(2, 12), st.floats(-500, 0))
def test_a_model_that_ignores_the_references_has_the_log_of_the_candidates_and_no_hit(metric, candidates, total):
    results = metric.compute(predictions=[[total] * candidates], references=[candidates - 1])
    assert results["hits@1"] == 0
    assert results["log_loss"] == pytest.approx(math.log(candidates), abs=1e-9)
    assert results["log_loss"] == pytest.approx(results["chance"], abs=1e-9)


@given(st.lists(st.floats(-300, 0), min_size=2, max_size=8), st.floats(-400, 400))
def test_what_changes_all_totals_alike_changes_nothing(metric, totals, shift):
    before = metric.compute(predictions=[totals], references=[0])
    after = metric.compute(predictions=[[total + shift for total in totals]], references=[0])
    assert after["log_loss"] == pytest.approx(before["log_loss"], abs=1e-9)
    assert after["confidence"] == pytest.approx(before["confidence"], abs=1e-9)


def test_a_planted_speaker_is_found_wherever_they_stand(metric):
    for place in range(8):
        totals = [[-60.0 + 20 * (i == place) for i in range(8)]]
        results = metric.compute(predictions=totals, references=[place])
        assert results["hits@1"] == 1
        assert results["log_loss"] == pytest.approx(7 * math.exp(-20), rel=1e-6)


def test_a_sure_and_wrong_model_is_worse_than_chance_and_its_confidence_says_so(metric):
    results = metric.compute(predictions=[[-70.0, -40.0]], references=[0])
    assert results["log_loss"] == pytest.approx(30, rel=1e-9)
    assert results["log_loss"] > results["chance"]
    assert (results["hits@1"], results["confidence"]) == (0, pytest.approx(1))


def test_totals_far_apart_do_not_overflow(metric):
    results = metric.compute(predictions=[[-1e5, -2e5, 0.0]], references=[1])
    assert results["log_loss"] == 2e5


def test_decisions_may_have_different_numbers_of_candidates(metric):
    results = metric.compute(predictions=[[-3.0, -3.0], [-3.0] * 4], references=[0, 3])
    assert results["chance"] == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_one_at_a_time_is_all_at_once(metric):
    totals, own = [[-8.0, -10.0], [-5.0, -4.0, -6.0]], [0, 2]
    whole = metric.compute(predictions=totals, references=own)
    for pair in zip(totals, own, strict=True):
        metric.add(prediction=pair[0], reference=pair[1])
    assert metric.compute() == whole


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "at least one prediction, but found none"),
        ([[-1.0]], [0], "prediction 0 to hold the finite totals of two candidates or more, but found [-1.0]"),
        ([[-1.0, -math.inf]], [0], "the finite totals of two candidates or more"),
        ([[-1.0, math.nan]], [0], "the scores of prediction 0 to be numbers, but found nan"),
        ([[-1.0, "2"]], [0], "the scores of prediction 0 to be numbers, but found '2'"),
        ([[-1.0, -2.0]], [2], "reference 0 to be the index of one of 2 candidates, from 0 on, but found 2"),
        ([[-1.0, -2.0]], [-1], "from 0 on, but found -1"),
        ([-1.0, -2.0], [0, 0], "prediction 0 to be a list with a total per candidate, but found float"),
        ([[-1.0, -2.0]], [0, 1], "2"),
        (None, [0], "`predictions` to be a list with one entry per decision, but found NoneType"),
    ],
)
def test_wrong_inputs(metric, predictions, references, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        metric.compute(predictions=predictions, references=references)
    assert metric.compute(predictions=[[-1.0, -2.0]], references=[0])["hits@1"] == 1
