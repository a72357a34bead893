"""Scores against the worked numbers."""

import pytest

import idl_hf  # noqa: F401
from idl_hf.evaluation.scoring import score_replies


def test_worked_values():
    scores = score_replies(["i like dogs"], ["i like my two dogs"], [["i love my two dogs ."]])
    assert scores["bleu_1"] == pytest.approx(0.513417119032592)
    assert scores["bleu_2"] == pytest.approx(0.3630407264452067)
    assert scores["rouge_l"] == pytest.approx(0.75)
    assert scores["distinct_1"] == scores["corpus_distinct_2"] == 1.0


def test_all_worked_numbers(vectors):
    worked = vectors("metrics")
    pairs = worked["bleu"]["pairs"]
    history = [worked["persona"]["history_of_target_user"]] * len(pairs)
    scores = score_replies([p["response"] for p in pairs], [p["gold"] for p in pairs], history)
    mean = worked["bleu"]["mean_over_pairs"]["word_cumulative"]
    assert scores["bleu_1"] == pytest.approx(mean[0], abs=1e-7)
    assert scores["bleu_2"] == pytest.approx(mean[1], abs=1e-7)
    pairs = worked["rouge_l"]["pairs"]
    scores = score_replies([p["response"] for p in pairs], [p["gold"] for p in pairs], [["x"]] * len(pairs))
    assert scores["rouge_l"] == pytest.approx(sum(p["f1"] for p in pairs) / len(pairs), abs=1e-9)
    distinct = worked["distinct"]
    responses = distinct["responses"]
    scores = score_replies(responses, responses, [["x"]] * len(responses))
    for order in ("1", "2"):
        assert scores[f"distinct_{order}"] == pytest.approx(distinct["macro"][order])
        assert scores[f"corpus_distinct_{order}"] == pytest.approx(distinct["corpus"][order])


def test_unequal_numbers_are_named():
    with pytest.raises(ValueError, match="2 predictions, 1 references and 1 histories"):
        score_replies(["a", "b"], ["a"], [["a"]])
