"""The metrics of replies and rankings: idl_bleu, idl_rouge_l, distinct, parlai_f1, hits_at_k.

Worked numbers, the libraries they must agree with, and the ways `evaluate` calls them. The cards and examples of
coh_con and persona_gain are checked here too, the worked numbers of p_f1 and p_co that stand in none of their own
tests, and that every metric takes lists alone.
"""

import doctest
import math
import multiprocessing
import re
from pathlib import Path

import evaluate
import nltk
import numpy as np
import pandas as pd
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu, sentence_bleu
from rouge_score.rouge_scorer import RougeScorer

ROOT = Path(__file__).parents[2]
METRICS = ("idl_bleu", "idl_rouge_l", "distinct", "parlai_f1", "hits_at_k")
NEW = (*METRICS, "identification", "coh_con", "persona_gain")
ORDERS = (1, 2, 3, 4)

words = st.sampled_from(["dogs", "cats", "i", "love", ".", "my", "Texas"])
texts = st.lists(words, max_size=8).map(" ".join)
pairs_of_texts = st.lists(st.tuples(texts, texts), min_size=1, max_size=4)

COLUMNS = {
    "idl_bleu": {"predictions": ["i like dogs", "yes", ""], "references": ["i like my dogs", "no", "hi there"]},
    "idl_rouge_l": {"predictions": ["i like dogs", "yes", ""], "references": ["i like my dogs", "no", "hi there"]},
    "distinct": {"predictions": ["i like dogs and i like cats", "no no no", ""]},
    "parlai_f1": {
        "predictions": ["i like dogs", "yes !", ""],
        "references": [["i like my dogs", "dogs"], ["yes"], ["no"]],
    },
    "hits_at_k": {"predictions": [[0.5, 0.1], [1.0, 2.0, 2.0], [3.0]], "references": [0, 1, 0]},
    "identification": {"predictions": [[-5.0, -4.0], [-1.0, -2.0, -2.0], [-3.0, -3.5]], "references": [0, 0, 1]},
    "coh_con": {"predictions": ["a", "b", "c"], "profiles": [["d"], [], ["e", "f"]]},
    "persona_gain": {
        "own_nll": [3.0, 4.0, 5.0],
        "own_tokens": [1, 2, 3],
        "other_nll": [4.0, 4.0, 6.0],
        "other_tokens": [1, 2, 3],
        "person_id": ["ruth", "kit", "ruth"],
    },
    "p_co": {"predictions": ["i like dogs", "yes", ""], "histories": [["dogs", "i"], [], ["no"]]},
    "p_f1": {"predictions": ["i like dogs", "yes", ""], "histories": [["dogs", "i"], [], ["no"]]},
    "persona_triples": {"predictions": ["<a, b, c>", "", "no"], "references": ["<a, b, c>", "<>", ""]},
}
OPTIONS = {"coh_con": {"labels": [["neutral"], [], ["entailment", "contradiction"]]}}


def load(name: str) -> evaluate.Metric:
    return evaluate.load(str(ROOT / "metrics" / name), keep_in_memory=True)


@pytest.fixture(scope="module")
def metrics():
    return {name: load(name) for name in COLUMNS}


@pytest.fixture(scope="module")
def worked(vectors):
    return vectors("metrics")


@pytest.fixture(scope="module")
def human(convai2):
    """Return 300 replies of people, each with an unrelated one."""
    lines = (convai2 / "train_self_original_no_cands.txt").read_text(encoding="utf-8").splitlines()
    replies = [line.split("\t")[1] for line in lines if "\t" in line][::5]
    return {"predictions": replies[:300], "references": replies[300:600]}


def in_order(results: dict[str, float], name: str) -> list[float]:
    return [results[f"{name}_{order}"] for order in ORDERS]


def close(value):
    return pytest.approx(value, abs=1e-9)


# BLEU


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("word_cumulative", {}),
        ("word_cumulative_method1", {"smoothing": "method1"}),
        ("char_released_one_order", {"preset": "paper"}),
        ("char_released_cumulative", {"preset": "paper", "cumulative": True}),
    ],
)
def test_bleu_vectors(metrics, worked, key, options):
    pairs = worked["bleu"]["pairs"]
    for pair in pairs:
        row = {"predictions": [pair["response"]], "references": [pair["gold"]]}
        assert in_order(metrics["idl_bleu"].compute(**row, **options), "bleu") == close(pair[key]), pair["response"]
    rows = {"predictions": [pair["response"] for pair in pairs], "references": [pair["gold"] for pair in pairs]}
    results = metrics["idl_bleu"].compute(**rows, **options)
    mean = worked["bleu"]["mean_over_pairs"].get(key)
    assert mean is None or in_order(results, "bleu") == close(mean)
    if not options:
        assert in_order(results, "corpus_bleu") == close(worked["bleu"]["corpus_bleu_word"])


@pytest.mark.parametrize(
    ("key", "preset"), [("brevity_penalty_word", "standard"), ("brevity_penalty_char_released", "paper")]
)
def test_brevity_penalty_vectors(metrics, worked, key, preset):
    for pair in worked["bleu"]["pairs"]:
        row = {"predictions": [pair["response"]], "references": [pair["gold"]]}
        assert metrics["idl_bleu"].compute(**row, preset=preset)["brevity_penalty"] == close(pair[key])


def test_bleu_by_hand(metrics):
    results = metrics["idl_bleu"].compute(predictions=["a b a", "c"], references=["a b c d", "c"])
    # Orders 1 and 2 of "a b a": 2 of 3 (one "a" too many), 1 of 2; "c" has no bigram
    assert in_order(results, "bleu")[:2] == close(
        [(math.exp(-1 / 3) * 2 / 3 + 1) / 2, math.exp(-1 / 3) / math.sqrt(3) / 2]
    )
    assert in_order(results, "corpus_bleu")[:2] == close([math.exp(-1 / 4) * 3 / 4, math.exp(-1 / 4) * 0.5])


def nltk_values(predictions: list, references: list, cumulative: bool, smooth=None) -> dict[str, list[float]]:
    """Return nltk's means over sentences and corpus values, orders 1 to 4, by the names of idl_bleu."""
    weights = [(1 / n,) * n if cumulative else (0,) * (n - 1) + (1,) for n in ORDERS]
    pairs = list(zip(predictions, references, strict=True))
    rows = [[sentence_bleu([r], p, w, smoothing_function=smooth) if p else 0 for w in weights] for p, r in pairs]
    corpus = [corpus_bleu([[r] for r in references], predictions, w, smoothing_function=smooth) for w in weights]
    return {"bleu": np.mean(rows, axis=0).tolist(), "corpus_bleu": corpus}


def check_against_nltk(metric, predictions: list[str], references: list[str]) -> None:
    split = [[text.lower().split() for text in side] for side in (predictions, references)]
    rows = {"predictions": predictions, "references": references}
    for options, sides, cumulative, smooth in (
        ({}, split, True, None),
        ({"smoothing": "method1"}, split, True, SmoothingFunction().method1),
        ({"cumulative": False}, split, False, None),
        ({"preset": "paper"}, [references, predictions], False, None),
    ):
        results = metric.compute(**rows, **options)
        for name, values in nltk_values(*sides, cumulative, smooth).items():
            assert in_order(results, name) == close(values), options


@pytest.mark.filterwarnings(r"ignore:\s*The hypothesis contains:UserWarning")
@given(pairs_of_texts)
def test_bleu_is_that_of_nltk(metrics, pairs):
    predictions, references = map(list, zip(*pairs, strict=True))
    check_against_nltk(metrics["idl_bleu"], predictions, references)


@pytest.mark.filterwarnings(r"ignore:\s*The hypothesis contains:UserWarning")
def test_bleu_of_real_replies_is_that_of_nltk(metrics, human):
    check_against_nltk(metrics["idl_bleu"], **human)


def test_sentence_bleu_is_that_of_sacrebleu(metrics, human):
    results = metrics["idl_bleu"].compute(**human)
    for order in ORDERS:
        bleu = sacrebleu.BLEU(lowercase=True, tokenize="none", max_ngram_order=order, smooth_method="none")
        pairs = zip(human["predictions"], human["references"], strict=True)
        scores = [bleu.corpus_score([prediction], [[reference]]).score / 100 for prediction, reference in pairs]
        assert results[f"bleu_{order}"] == close(np.mean(scores))


def test_unrelated_replies_score_half_in_the_papers_bleu(metrics, human):
    """Check the floor that the card warns of."""
    assert 0.45 < metrics["idl_bleu"].compute(**human, preset="paper")["bleu_1"] < 0.53
    assert metrics["idl_bleu"].compute(**human)["bleu_1"] < 0.13


def test_the_paper_penalises_long_responses_and_the_standard_short_ones(metrics):
    for response, standard, paper in (("i like my dogs a lot", 1, math.exp(1 - 20 / 6)), ("i l", math.exp(-2), 1)):
        row = {"predictions": [response], "references": ["i like"]}
        assert metrics["idl_bleu"].compute(**row, preset="paper")["brevity_penalty"] == close(paper)
        words_only = metrics["idl_bleu"].compute(**row, tokens="characters")["brevity_penalty"]
        assert words_only == close(standard if len(response) > 6 else math.exp(1 - 6 / 3))


@given(pairs_of_texts)
def test_characters_are_words_of_one_character(metrics, pairs):
    predictions, references = map(list, zip(*pairs, strict=True))
    spaced = [[" ".join(text.lower().replace(" ", "_")) for text in side] for side in (predictions, references)]
    lower = [[text.lower() for text in side] for side in (predictions, references)]
    expected = metrics["idl_bleu"].compute(predictions=spaced[0], references=spaced[1])
    results = metrics["idl_bleu"].compute(predictions=lower[0], references=lower[1], tokens="characters")
    assert results == expected


def test_characters_keep_their_case(metrics):
    row = {"predictions": ["A"], "references": ["a"]}
    assert metrics["idl_bleu"].compute(**row, preset="paper")["bleu_1"] == 0
    assert metrics["idl_bleu"].compute(**row)["bleu_1"] == 1


# ROUGE-L


@pytest.mark.parametrize(
    ("key", "name", "options"),
    [
        ("precision", "precision", {}),
        ("recall", "recall", {}),
        ("f1", "rouge_l", {}),
        ("f1_with_porter_stemmer", "rouge_l", {"stemmer": True}),
        ("f1_released_swapped_args", "rouge_l", {"preset": "paper"}),
    ],
)
def test_rouge_vectors(metrics, worked, key, name, options):
    pairs = worked["rouge_l"]["pairs"]
    for pair in pairs:
        row = {"predictions": [pair["response"]], "references": [pair["gold"]]}
        assert metrics["idl_rouge_l"].compute(**row, **options)[name] == close(pair[key]), pair["response"]
    rows = {"predictions": [pair["response"] for pair in pairs], "references": [pair["gold"] for pair in pairs]}
    assert metrics["idl_rouge_l"].compute(**rows, **options)[name] == close(np.mean([pair[key] for pair in pairs]))


@pytest.mark.parametrize("stemmer", [False, True])
def test_rouge_of_real_replies_is_that_of_rouge_score(metrics, human, stemmer):
    scorer = RougeScorer(["rougeL"], use_stemmer=stemmer)
    pairs = zip(human["references"], human["predictions"], strict=True)
    expected = np.mean([scorer.score(*pair)["rougeL"] for pair in pairs], axis=0)
    results = metrics["idl_rouge_l"].compute(**human, stemmer=stemmer)
    assert [results[name] for name in ("precision", "recall", "rouge_l")] == close(expected.tolist())
    swapped = metrics["idl_rouge_l"].compute(**human, preset="paper", stemmer=stemmer)
    assert [swapped[name] for name in ("recall", "precision", "rouge_l")] == close(expected.tolist())


@pytest.mark.parametrize(
    ("response", "reply", "precision", "recall"),
    [  # what the package `rouge` 1.0.1 gives
        ("i like dogs and i like cats", "i like my dogs and i like my cats", 1, 5 / 6),
        ("i am a nurse . i live in ohio .", "i live in ohio . i love my cats .", 4 / 7, 4 / 7),
        ("hi . . there", "well . hi there . .", 1, 3 / 4),
        ("I like", "i like", 1, 1),
        ("yes", "no", 0, 0),
        ("", "no", 0, 0),
        (".", "", 0, 0),
    ],
)
def test_recall_of_dhap(metrics, response, reply, precision, recall):
    results = metrics["idl_rouge_l"].compute(predictions=[response], references=[reply], preset="dhap")
    assert (results["precision"], results["recall"]) == close((precision, recall))


@given(pairs_of_texts)
def test_rouge_f1_is_symmetric(metrics, pairs):
    predictions, references = map(list, zip(*pairs, strict=True))
    forth = metrics["idl_rouge_l"].compute(predictions=predictions, references=references)
    back = metrics["idl_rouge_l"].compute(predictions=references, references=predictions)
    assert forth["rouge_l"] == close(back["rouge_l"])
    assert (forth["precision"], forth["recall"]) == close((back["recall"], back["precision"]))


# Distinct


def test_distinct_vectors(metrics, worked):
    case = worked["distinct"]
    results = metrics["distinct"].compute(predictions=case["responses"])
    for prefix, key in (("distinct", "macro"), ("corpus_distinct", "corpus"), ("concat_distinct", "concat")):
        for order in ("1", "2"):
            assert results[f"{prefix}_{order}"] == close(case[key][order]), (prefix, order)
    skipped = metrics["distinct"].compute(predictions=case["responses"], empty="skip")
    assert skipped["distinct_2"] == close(case["macro_skip_empty_2"])
    for row, response in enumerate(case["responses"]):
        alone = metrics["distinct"].compute(predictions=[response])
        expected = [case["macro_per_response"][order][row] for order in ("1", "2")]
        assert [alone["distinct_1"], alone["distinct_2"]] == close(expected)


def test_distinct_of_real_replies_is_that_of_nltk(metrics, human):
    responses = [text.lower().split() for text in human["predictions"]]
    results = metrics["distinct"].compute(predictions=human["predictions"], max_order=3)
    for order in (1, 2, 3):
        grams = [list(nltk.ngrams(tokens, order)) for tokens in responses]
        pooled = [gram for row in grams for gram in row]
        shares = [len(set(row)) / len(row) if row else 0 for row in grams]
        assert results[f"distinct_{order}"] == close(np.mean(shares))
        assert results[f"corpus_distinct_{order}"] == close(len(set(pooled)) / len(pooled))
        joined = [token for tokens in responses for token in tokens]
        assert results[f"concat_distinct_{order}"] == close(len(set(nltk.ngrams(joined, order))) / len(joined))


@given(st.lists(texts, min_size=1, max_size=5))
def test_saying_everything_twice_halves_the_pooled_values_only(metrics, predictions):
    once = metrics["distinct"].compute(predictions=predictions)
    twice = metrics["distinct"].compute(predictions=predictions + predictions)
    assert twice["corpus_distinct_2"] == close(once["corpus_distinct_2"] / 2)
    assert twice["distinct_2"] == close(once["distinct_2"])


@pytest.mark.parametrize("empty", ["zero", "skip"])
def test_distinct_of_nothing_is_zero(metrics, empty):
    assert set(metrics["distinct"].compute(predictions=["", " "], empty=empty).values()) == {0.0}


# ParlAI F1


def test_parlai_f1_vectors(metrics, worked):
    for case in worked["parlai_f1"]:
        results = metrics["parlai_f1"].compute(predictions=[case["guess"]], references=[case["answers"]])
        assert results["parlai_f1"] == close(case["f1"]), case["guess"]


def test_parlai_f1_by_hand(metrics):
    # Response: i, ve, 2, dogs. Reply: i, ve, two, dogs, dogs; "a" and "the" are left out, "another" and "than" are not
    results = metrics["parlai_f1"].compute(predictions=["I've a 2 DOGS?"], references=["i've the two dogs ; dogs"])
    assert results["parlai_f1"] == close(2 * 3 / (4 + 5))
    assert metrics["parlai_f1"].compute(predictions=["another"], references=["than"])["parlai_f1"] == 0
    assert metrics["parlai_f1"].compute(predictions=["_a_ cat"], references=["Cat"])["parlai_f1"] == 1


def test_one_gold_reply_as_a_string_or_a_list(metrics):
    expected = metrics["parlai_f1"].compute(predictions=["i like dogs"], references=[["i like cats"]])
    assert metrics["parlai_f1"].compute(predictions=["i like dogs"], references=["i like cats"]) == expected


# Hits@k


def test_hits_by_hand(metrics):
    scores = [[0.1, 0.9, 0.5], [0.7, 0.1], [-1.0, -2.0, -3.0, -4.0]]  # the gold reply is first, ranks 3, 1, 1
    results = metrics["hits_at_k"].compute(predictions=scores, references=[0, 0, 0], ks=[1, 2, 3])
    assert results == {
        "hits_at_1": close(2 / 3),
        "hits_at_2": close(2 / 3),
        "hits_at_3": 1,
        "mrr": close((1 / 3 + 1 + 1) / 3),
        "mean_rank": close(5 / 3),
        "n_tied": 0,
    }


def test_a_model_that_scores_all_alike_has_no_hit(metrics):
    results = metrics["hits_at_k"].compute(predictions=[[0.0] * 20] * 3, references=[0, 7, 19])
    assert (results["hits_at_1"], results["hits_at_10"], results["mean_rank"], results["n_tied"]) == (0, 0, 20, 3)


rankings = st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.lists(st.integers(-3, 3), min_size=n, max_size=n), st.integers(0, n - 1))
)


@given(st.lists(rankings, min_size=1, max_size=4))
def test_only_the_order_of_the_scores_counts(metrics, rows):
    scores, gold = map(list, zip(*rows, strict=True))
    results = metrics["hits_at_k"].compute(predictions=scores, references=gold, ks=[1, 2])
    moved = [[math.exp(score) - 7 for score in row][::-1] for row in scores]
    places = [len(row) - 1 - place for row, place in zip(scores, gold, strict=True)]
    assert metrics["hits_at_k"].compute(predictions=moved, references=places, ks=[1, 2]) == results
    ranks = [sorted(row, reverse=True).index(row[place]) + row.count(row[place]) for row, place in rows]
    assert results["mean_rank"] == close(np.mean(ranks))


@pytest.mark.parametrize("gold", [np.array([0, 0]), pd.Series([0.0, 0.0])])  # a table of the demo page holds floats
def test_hits_of_arrays_and_infinite_scores(metrics, gold):
    scores = np.array([[0.5, -np.inf], [-np.inf, 0.5]], dtype=np.float32)
    results = metrics["hits_at_k"].compute(predictions=scores, references=gold, ks=[1])
    assert results["hits_at_1"] == 0.5


# The worked numbers of p_f1 and p_co that are the released code's, by the inputs that make them


def test_released_persona_vectors(metrics, worked):
    persona = worked["persona"]
    last = persona["history_of_target_user"][-1]
    for case in persona["cases"]:
        row = {"predictions": [case["response"]], "histories": [[last]]}
        assert metrics["p_f1"].compute(**row, stop_words=[])["p_f1"] == close(case["p_f1_released_last_only"])
        assert metrics["p_co"].compute(**row, method="cover_dhap")["p_co"] == case["p_cover_released"] == 0


def test_cosine_with_one_utterance_vectors(metrics, worked):
    persona = worked["persona"]
    for case in persona["cases"]:
        row = {"predictions": [case["response"]]}
        histories = ([[utterance]] for utterance in persona["history_of_target_user"])
        cosines = [metrics["p_co"].compute(**row, histories=history)["p_co"] for history in histories]
        assert max(cosines) == close(case["cos_tf_max"])


def test_p_cover_of_characters_vectors(metrics, worked):
    """Check the released formula without its `[-1:]`: its characters become words between blanks."""
    persona = worked["persona"]
    spaced = [" ".join(utterance.replace(" ", "")) for utterance in persona["history_of_target_user"]]
    for case in persona["cases"]:
        row = {"predictions": [" ".join(case["response"].replace(" ", ""))], "histories": [spaced]}
        value = metrics["p_co"].compute(**row, method="cover_dhap")["p_co"]
        assert value == close(case["p_cover_released_without_last_only_chars"])


def test_idf_of_one_person_vectors(metrics, worked):
    table = metrics["p_co"].idf_table(worked["persona"]["history_of_target_user"])
    assert table == pytest.approx(worked["persona"]["idf_local_dhap"], abs=1e-9)


# Wrong inputs


@pytest.mark.parametrize(
    ("wrong", "found"), [(5, "int"), (None, "NoneType"), ("abc", "str"), ((text for text in "abc"), "generator")]
)
@pytest.mark.parametrize(("name", "column"), [(name, column) for name in COLUMNS for column in COLUMNS[name]])
def test_a_column_that_is_no_list(metrics, name, column, wrong, found):
    with pytest.raises(ValueError, match=rf"^{name} expected `{column}` to be a list with .*, but found {found}\.$"):
        metrics[name].add_batch(**{**COLUMNS[name], column: wrong})


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("p_co", "histories"),
        ("p_f1", "histories"),
        ("coh_con", "profiles"),
        ("parlai_f1", "references"),
        ("hits_at_k", "predictions"),
    ],
)
def test_a_row_that_is_a_generator(metrics, name, column):
    rows = [(entry for entry in row) for row in COLUMNS[name][column]]
    with pytest.raises(ValueError, match=rf"^{name} expected \w+ 0 to be .*list .*, but found generator\.$"):
        metrics[name].add_batch(**{**COLUMNS[name], column: rows})


@pytest.mark.parametrize("name", ["idl_bleu", "idl_rouge_l"])
@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a", "b"], ["a"], "one reference for each prediction, but found 2 predictions and 1 references"),
        ([], [], "at least one prediction, but found none"),
        (["a"], [["a"]], "row 0 of `references` to be a string, but found list"),
        (["a", None], ["a", "b"], "row 1 of `predictions` to be a string, but found NoneType"),
        ([math.nan], ["a"], "row 0 of `predictions` to be a string, but found float"),
        ("ab", ["a", "b"], "`predictions` to be a list with one text per response, but found str"),
        (["a"], None, "`references` to be a list with one text per response, but found NoneType"),
    ],
)
def test_wrong_texts(metrics, name, predictions, references, message):
    with pytest.raises(ValueError, match=f"^{name} expected {re.escape(message)}"):
        metrics[name].compute(predictions=predictions, references=references)
    results = metrics[name].compute(predictions=["dogs"], references=["dogs"])
    assert next(iter(results.values())) == 1, "an error must leave nothing behind"


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([], "at least one prediction, but found none"),
        (["a", 3], "prediction 1 to be a string, but found int"),
        ("ab", "`predictions` to be a list with one text per response, but found str"),
    ],
)
def test_wrong_responses_of_distinct(metrics, predictions, message):
    with pytest.raises(ValueError, match=f"^distinct expected {re.escape(message)}"):
        metrics["distinct"].compute(predictions=predictions, references=["a"])
    assert metrics["distinct"].compute(predictions=["a a"])["distinct_1"] == 0.5


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a", "b"], ["a"], "one reference for each prediction, but found 2 predictions and 1 references"),
        ([], [], "at least one prediction, but found none"),
        (["a"], [[]], "at least one gold reply in reference 0, but found none"),
        (["a"], [3], "reference 0 to be a string or a list of strings, but found int"),
        (["a"], [["a", None]], "gold replies of reference 0 to be strings, but found NoneType"),
        ([["a"]], ["a"], "prediction 0 to be a string, but found list"),
        (["a"], "a", "`references` to be a list with one entry per response, but found str"),
    ],
)
def test_wrong_rows_of_parlai_f1(metrics, predictions, references, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        metrics["parlai_f1"].compute(predictions=predictions, references=references)
    assert metrics["parlai_f1"].compute(predictions=["a dog"], references=["dog"])["parlai_f1"] == 1


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([[1.0]], [0, 0], "one reference for each prediction, but found 1 predictions and 2 references"),
        ([], [], "at least one prediction, but found none"),
        ([[1.0, math.nan]], [0], "the scores of prediction 0 to be numbers, but found nan"),
        ([[1.0, "2"]], [0], "the scores of prediction 0 to be numbers, but found '2'"),
        ([[1.0, True]], [0], "the scores of prediction 0 to be numbers, but found True"),
        ([1.0], [0], "prediction 0 to be a list with a score per candidate, but found float"),
        ([[1.0, 2.0]], [2], "reference 0 to be the index of one of 2 candidates, from 0 on, but found 2"),
        ([[1.0, 2.0]], [-1], "from 0 on, but found -1"),
        ([[1.0, 2.0]], [0.5], "from 0 on, but found 0.5"),
        ([[1.0, 2.0]], [math.nan], "from 0 on, but found nan"),
        ([[]], [0], "the index of one of 0 candidates"),
        (None, [0], "`predictions` to be a list with one entry per context, but found NoneType"),
    ],
)
def test_wrong_rows_of_hits(metrics, predictions, references, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        metrics["hits_at_k"].compute(predictions=predictions, references=references)
    assert metrics["hits_at_k"].compute(predictions=[[1.0, 0.0]], references=[0])["hits_at_1"] == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("idl_bleu", {"preset": "released"}, "'released', but expected one of: standard, paper"),
        ("idl_bleu", {"tokens": "subwords"}, '`tokens` to be "words" or "characters", but found \'subwords\''),
        ("idl_bleu", {"swap": 1}, "`swap` to be True or False, but found 1"),
        ("idl_bleu", {"smoothing": "exp"}, '`smoothing` to be None or "method1"'),
        ("idl_rouge_l", {"preset": "msp"}, "'msp', but expected one of: standard, paper, dhap"),
        ("idl_rouge_l", {"stemmer": "porter"}, "`stemmer` to be True, False or None, but found 'porter'"),
        ("idl_rouge_l", {"preset": "dhap", "stemmer": True}, 'no stemmer in the preset "dhap"'),
        ("distinct", {"max_order": 0}, "`max_order` to be a whole number from 1 on, but found 0"),
        ("distinct", {"empty": None}, '`empty` to be "zero" or "skip", but found None'),
        ("hits_at_k", {"ks": 1}, "`ks` to be a list of whole numbers, but found 1"),
        ("hits_at_k", {"ks": [0]}, "`ks` to hold whole numbers from 1 on, but found 0"),
    ],
)
def test_wrong_options(metrics, name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        metrics[name].compute(**COLUMNS[name], **options)


# The ways `evaluate` calls a metric


@pytest.mark.parametrize("name", NEW)
def test_add_and_add_batch_equal_compute(metrics, name):
    metric, columns, options = metrics[name], COLUMNS[name], OPTIONS.get(name, {})
    singular = {"predictions": "prediction", "references": "reference"}
    expected = metric.compute(**columns, **options)
    for row in range(3):
        metric.add(**{singular.get(key, key): column[row] for key, column in columns.items()})
    assert metric.compute(**options) == expected
    for part in (slice(0, 2), slice(2, 3)):
        metric.add_batch(**{key: column[part] for key, column in columns.items()})
    assert metric.compute(**options) == expected


def test_combine(metrics):
    texts = COLUMNS["idl_bleu"]
    names = ("idl_bleu", "idl_rouge_l", "distinct", "parlai_f1")
    results = evaluate.combine([load(name) for name in names]).compute(**texts)
    for name in names:
        alone = metrics[name].compute(**{key: texts[key] for key in COLUMNS[name]})
        assert alone.items() <= results.items(), name


def compute_in_process(process_id: int, cache_dir: str, results) -> None:
    computed = {}
    for name in NEW:
        metric = evaluate.load(
            str(ROOT / "metrics" / name),
            num_process=2,
            process_id=process_id,
            experiment_id="two",
            cache_dir=cache_dir,
        )
        rows = slice(0, 2) if process_id == 0 else slice(2, 3)
        own = {key: column[rows] for key, column in COLUMNS[name].items()}
        computed[name] = metric.compute(**own, **OPTIONS.get(name, {}))
    results.put((process_id, computed))


def test_two_processes_equal_one(metrics, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=compute_in_process, args=(i, str(tmp_path), results)) for i in range(2)]
    for process in processes:
        process.start()
    computed = dict(results.get(timeout=240) for _ in processes)
    for process in processes:
        process.join()
    for name in NEW:
        expected = metrics[name].compute(**COLUMNS[name], **OPTIONS.get(name, {}))
        assert computed[0][name] == pytest.approx(expected), name
        assert computed[1][name] is None


# Examples and files


def run_examples(source: str, text: str) -> None:
    example = doctest.DocTestParser().get_doctest(text, {}, source, source, 0)
    outcome = doctest.DocTestRunner().run(example)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def by_path(text: str, name: str) -> str:
    """Return the same example for a machine where idl_hf is not installed."""
    path = ROOT / "metrics" / name
    return text.replace("import idl_hf", "import evaluate").replace(f'load("{name}")', f"load({str(path)!r})")


@pytest.mark.parametrize("name", NEW)
def test_example_of_the_docstring(metrics, name):
    pytest.importorskip("idl_hf.registration", reason="idl_hf registers the short metric names")
    run_examples(f"{name}.py", metrics[name].inputs_description)


@pytest.mark.parametrize("name", NEW)
def test_examples_by_path(metrics, name):
    run_examples(f"{name}.py", by_path(metrics[name].inputs_description, name))
    card = (ROOT / "metrics" / name / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        run_examples(f"{name}/README.md, example {number}", by_path(block, name))


@pytest.mark.parametrize("name", NEW)
def test_space_files(name):
    folder = ROOT / "metrics" / name
    assert {"README.md", "app.py", "requirements.txt", f"{name}.py"} <= {path.name for path in folder.iterdir()}
    front_matter = (folder / "README.md").read_text(encoding="utf-8").split("---")[1]
    for line in ("sdk: gradio", "app_file: app.py", "- evaluate", "- metric"):
        assert line in front_matter.splitlines()
    source = (folder / f"{name}.py").read_text(encoding="utf-8")
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", source, flags=re.MULTILINE))
    standard = {"math", "re", "string", "warnings", "collections", "numbers", "datasets", "evaluate"}
    needed = (folder / "requirements.txt").read_text(encoding="utf-8")
    assert all(name in needed for name in imported - standard - {"numpy"}), "self-contained: never imports idl_hf"


@pytest.mark.parametrize("name", NEW)
def test_card_names_every_option_and_result(metrics, name):
    card = (ROOT / "metrics" / name / "README.md").read_text(encoding="utf-8")
    for result in metrics[name].compute(**COLUMNS[name], **OPTIONS.get(name, {})):
        stem = re.sub(r"_\d+$", "", result)
        assert f"**{stem}" in card, result
    for column in COLUMNS[name]:
        assert f"**{column}**" in card


@pytest.mark.parametrize("name", NEW)
def test_name_and_public_texts(metrics, name):
    assert metrics[name].name == name
    assert metrics[name].description
    card = (ROOT / "metrics" / name / "README.md").read_text(encoding="utf-8")
    assert metrics[name].citation.strip() in card
