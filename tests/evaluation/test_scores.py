"""Scores against the worked numbers, and against the libraries on real replies."""

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

import idl_hf  # noqa: F401
from idl_hf.evaluation.scores import score_people, score_replies

NAMES = [
    "bleu_1", "bleu_2", "rouge_l", "distinct_1", "corpus_distinct_1", "distinct_2", "corpus_distinct_2", "p_f1", "p_co",
]  # fmt: skip


def test_worked_values():
    scores = score_replies(["i like dogs"], ["i like my two dogs"], [["i love my two dogs ."]])
    assert list(scores) == NAMES  # the columns of the reports
    assert scores["bleu_1"] == pytest.approx(0.513417119032592)
    assert scores["bleu_2"] == pytest.approx(0.3630407264452067)
    assert scores["rouge_l"] == pytest.approx(0.75)
    assert scores["distinct_1"] == scores["corpus_distinct_2"] == 1.0
    assert scores["p_f1"] == pytest.approx(2 * 1 / (2 + 3))  # {like, dogs} and {love, two, dogs}
    assert scores["p_co"] == pytest.approx(2 / np.sqrt(3 * 5))  # the full stop is no word


def test_all_worked_numbers(vectors):
    worked = vectors("metrics")
    pairs = worked["bleu"]["pairs"]
    history = [worked["persona"]["history_of_target_user"]] * len(pairs)
    scores = score_replies([p["response"] for p in pairs], [p["gold"] for p in pairs], history)
    mean = worked["bleu"]["mean_over_pairs"]["word_cumulative"]
    assert scores["bleu_1"] == pytest.approx(mean[0], abs=1e-9)
    assert scores["bleu_2"] == pytest.approx(mean[1], abs=1e-9)
    pairs = worked["rouge_l"]["pairs"]
    scores = score_replies([p["response"] for p in pairs], [p["gold"] for p in pairs], [["x"]] * len(pairs))
    assert scores["rouge_l"] == pytest.approx(sum(p["f1"] for p in pairs) / len(pairs), abs=1e-9)
    distinct = worked["distinct"]
    responses = distinct["responses"]
    scores = score_replies(responses, responses, [["x"]] * len(responses))
    for order in ("1", "2"):
        assert scores[f"distinct_{order}"] == pytest.approx(distinct["macro"][order], abs=1e-9)
        assert scores[f"corpus_distinct_{order}"] == pytest.approx(distinct["corpus"][order], abs=1e-9)


def test_real_replies_score_as_sacrebleu_and_rouge_score_say(convai2):
    lines = (convai2 / "valid_self_original_no_cands.txt").read_text(encoding="utf-8").splitlines()
    replies = [line.split("\t")[1] for line in lines if "\t" in line][:200]
    predictions, references = replies[:100], replies[100:]
    scores = score_replies(predictions, references, [replies] * 100)
    pairs = list(zip(predictions, references, strict=True))
    for order in (1, 2):
        bleu = BLEU(lowercase=True, max_ngram_order=order, smooth_method="none")
        expected = np.mean([bleu.corpus_score([p], [[r]]).score / 100 for p, r in pairs])
        assert scores[f"bleu_{order}"] == pytest.approx(expected, abs=1e-9)
    rouge = RougeScorer(["rougeL"])
    expected = np.mean([rouge.score(r, p)["rougeL"].fmeasure for p, r in pairs])
    assert scores["rouge_l"] == pytest.approx(expected, abs=1e-9)


def test_unequal_numbers_are_named():
    with pytest.raises(ValueError, match="2 predictions, 1 references and 1 histories"):
        score_replies(["a", "b"], ["a"], [["a"]])


def test_no_replies_are_named():
    with pytest.raises(ValueError, match="at least one prediction, but found none"):
        score_replies([], [], [])


def test_people_are_scored_by_their_own_replies():
    people = ["ruth", "tom", "ruth"]
    said = ["i like dogs", "i sail the sea", "my goats are fine"]
    gold = ["i like my two dogs", "i sail", "fine"]
    histories = [["i love my two dogs ."], ["the sea is cold"], ["i love my two dogs ."]]
    by_person, whole = score_people(people, said, gold, histories)
    own = score_replies([said[0], said[2]], [gold[0], gold[2]], [histories[0], histories[2]], release=True)
    assert {name: of["ruth"] for name, of in by_person.items()} == {
        name: score for name, score in own.items() if not name.startswith("corpus_")
    }
    together = score_replies(said, gold, histories)
    assert whole == {name: together[name] for name in ("corpus_distinct_1", "corpus_distinct_2")}


def test_released_scores_are_those_of_the_papers_preset():
    scores = score_replies(["abc"], ["abd"], [["x"]], release=True)
    assert scores["release_bleu_1"] == pytest.approx(2 / 3)  # of letters
    assert scores["release_bleu_2"] == pytest.approx(1 / 2)
    assert scores["bleu_1"] == 0


def test_how_punctuation_is_typed_is_no_part_of_a_score():
    """ConvAI2 sets it apart, models as they are do not: persona scores must not tell the two."""
    told, apart = "I love my dogs, don't you?", "i love my dogs , don't you ?"
    gold, histories = ["my dogs!", "my dogs !"], [["i have dogs."], ["i have dogs ."]]
    scores = [score_replies([told], gold[:1], histories[:1], release=True) for told in (told, apart)]
    other = score_replies([told], gold[1:], histories[1:], release=True)
    released = [name for name in scores[0] if name.startswith("release_")]
    for name in scores[0].keys() - set(released):
        assert scores[0][name] == scores[1][name] == other[name]
    assert scores[0]["release_bleu_1"] != scores[1]["release_bleu_1"]


def test_punctuation_shows_no_persona():
    histories = [["i have dogs .", "really ?", "..."]]
    bare, ended, stop = (
        score_replies([said], ["x"], histories) for said in ("i love my dogs", "i love my dogs .", ".")
    )
    assert bare["p_co"] == ended["p_co"] == pytest.approx(2 / np.sqrt(4 * 4))
    assert bare["p_f1"] == ended["p_f1"] > 0
    assert stop["p_co"] == stop["p_f1"] == 0


def test_a_person_for_each_reply_is_asked_for():
    with pytest.raises(ValueError, match="Expected one person per prediction, found 1 and 2"):
        score_people(["ruth"], ["a", "b"], ["a", "b"], [["a"], ["b"]])
