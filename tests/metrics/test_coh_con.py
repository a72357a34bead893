"""The metric coh_con: worked numbers, labels of any form, and models whose labels stand in any order."""

import math
import re
import shutil
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

FOLDER = Path(__file__).parents[2] / "metrics" / "coh_con"
USUAL = {0: "contradiction", 1: "neutral", 2: "entailment"}
NAMES = ["coh", "coh_con", "response_coh", "response_coh_con", "any_entailed", "any_contradicted", "c_score"]

PREDICTIONS = ["i walk my dogs every day .", "no !", "i love texas and i love my dogs", "i walk my dogs every day ."]
PROFILES = [
    ["i have two dogs .", "i live in texas ."],
    ["i work as a farmer .", "i have two dogs .", "i hate music"],
    [],
    ["i live in texas .", "i have two dogs ."],
]


@pytest.fixture(scope="module")
def metric():
    return evaluate.load(str(FOLDER), keep_in_memory=True)


def judged(metric, labels, **options):
    """Return the values of labels whose texts do not matter."""
    profiles = [["s"] * len(row) for row in labels]
    return metric.compute(predictions=["r"] * len(labels), profiles=profiles, labels=labels, **options)


# The worked numbers


def test_one_label_per_response_vectors(metric, vectors):
    """Check CLV's reading, and that of the released code for a single response."""
    for case in vectors("metrics")["nli_labels"]:
        labels = case["labels"]
        each = judged(metric, [[label] for label in labels], id2label=USUAL)
        assert each["coh"] == each["response_coh"] == pytest.approx(case["clv_con"], abs=1e-9)
        assert each["coh_con"] == each["response_coh_con"] == pytest.approx(case["clv_coh_con"], abs=1e-9)
        together = judged(metric, [labels], id2label=USUAL)
        assert together["coh"] == pytest.approx(case["released_coh"], abs=1e-9)
        assert together["coh_con"] == pytest.approx(case["released_coh_con"], abs=1e-9)
        assert together["c_score"] == case["c_score_sum"]


def test_aggregation_vectors(metric, vectors):
    case = vectors("metrics")["nli_aggregation"]
    results = judged(metric, case["pair_labels"], id2label=USUAL)
    keys = [
        "released_coh", "released_coh_con", "mean_over_responses_coh", "mean_over_responses_coh_con",
        "any_entailed_share", "any_contradicted_share", "madotto_c_score_mean",
    ]  # fmt: skip
    assert [results[name] for name in NAMES] == pytest.approx([case[key] for key in keys], abs=1e-9)


# Labels computed elsewhere


def test_names_numbers_and_scores_mean_the_same(metric):
    names = [["entailment", "neutral"], ["contradiction"]]
    expected = judged(metric, names)
    assert judged(metric, [["Entailment", "NEUTRAL"], ["contradiction"]]) == expected
    other = {0: "entailment", 1: "contradiction", 2: "neutral"}
    assert judged(metric, [[2, 1], [0]], id2label=USUAL) == expected
    assert judged(metric, [[0, 2], [1]], id2label=other) == expected
    assert judged(metric, [np.array([2, 1]), np.array([0])], id2label=USUAL) == expected
    scores = [[[0.1, 0.2, 0.7], [0.2, 0.7, 0.1]], [[3.0, -1.0, -2.0]]]
    assert judged(metric, scores, id2label=USUAL) == expected
    assert judged(metric, [np.array(scores[0]), np.array(scores[1])], id2label=USUAL) == expected


def test_of_equal_scores_the_first_counts(metric):
    assert judged(metric, [[[0.4, 0.4, 0.2]]], id2label=USUAL)["any_contradicted"] == 1


def test_responses_without_profile_are_counted_and_nothing_else(metric):
    labels = [["entailment", "neutral"], [], ["contradiction"]]
    results = judged(metric, labels)
    assert results["n_without_profile"] == 1
    assert [results[name] for name in NAMES] == [judged(metric, [labels[0], labels[2]])[name] for name in NAMES]


# Models


def make_model(folder, *more_words):
    """Make a cross-encoder with random weights, a word list of its own, and labels in an unusual order."""
    words = sorted({word for texts in (PREDICTIONS, *PROFILES) for text in texts for word in text.split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *more_words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=256).save_pretrained(folder)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        initializer_range=1.0, id2label={0: "ENTAILMENT", 1: "neutral", 2: "contradiction"},
    )  # fmt: skip
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("nli"))


def test_judge_labels_each_pair_as_the_cross_encoder_does(metric, model):
    encoder = CrossEncoder(model, device="cpu", max_length=128)

    def label(first: str, second: str) -> str:
        return ["entailment", "neutral", "contradiction"][int(encoder.predict([(first, second)])[0].argmax())]

    pairs = list(zip(PREDICTIONS, PROFILES, strict=True))
    expected = [[label(sentence, response) for sentence in profile] for response, profile in pairs]
    turned = [[label(response, sentence) for sentence in profile] for response, profile in pairs]
    assert turned != expected, "a model that does not see which text is first would test nothing"
    for batch_size in (1, 3, 64):
        assert metric.judge(PREDICTIONS, PROFILES, model, batch_size=batch_size) == expected


def test_texts_are_read_whatever_their_apostrophes(metric, tmp_path):
    model = make_model(tmp_path, "'")

    def judge(sign: str) -> list[list[str]]:
        texts = [f"i love {sign} {words} {sign} {sign}" for words in ("my dogs", "texas", "music and dogs", "i live")]
        return metric.judge(texts, [texts] * len(texts), model)

    assert judge("\u2019") == judge("'")
    assert judge("\u2020") != judge("'"), "a model that takes no notice of the sign would test nothing"


def test_weights_in_a_pickle_are_not_read(metric, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save(BertForSequenceClassification.from_pretrained(model).state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        metric.judge(PREDICTIONS, PROFILES, str(folder))


def test_a_model_and_its_labels_give_the_same(metric, model):
    columns = {"predictions": PREDICTIONS, "profiles": PROFILES}
    labels = metric.judge(PREDICTIONS, PROFILES, model)
    assert metric.compute(**columns, model=model) == metric.compute(**columns, labels=labels)


def test_id2label_of_the_call_wins_over_the_models(metric, model):
    columns = {"predictions": PREDICTIONS, "profiles": PROFILES}
    read = metric.compute(**columns, model=model)
    turned = metric.compute(**columns, model=model, id2label=USUAL)  # entailment and contradiction exchanged
    assert turned["c_score"] == -read["c_score"]
    assert turned["any_entailed"] == read["any_contradicted"]


def test_long_texts_are_cut_off(metric, model):
    response = "i walk my dogs every day . " * 100
    assert metric.judge([response], [["i have two dogs ."]], model) == metric.judge(
        [response + "no !"], [["i have two dogs ."]], model
    )


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, "'LABEL_0'"),
        ({0: "entailment", 1: "not_entailment"}, "'not_entailment'"),
    ],
)
def test_a_model_whose_labels_cannot_be_told(metric, model, tmp_path, labels, found):
    network = BertForSequenceClassification.from_pretrained(model, id2label=labels, ignore_mismatched_sizes=True)
    network.save_pretrained(tmp_path)
    BertTokenizerFast.from_pretrained(model).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"in the configuration of the model.*{found}.*Give `id2label`"):
        metric.compute(predictions=["no !"], profiles=[["i hate music"]], model=str(tmp_path))


# Wrong inputs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either a `model` or `labels` that one gave, but found neither"),
        ({"model": "a", "labels": [["neutral"]]}, "but found both"),
        (
            {"labels": [["neutral", "neutral"]]},
            "a label for each of the 1 persona sentences of response 0, but found 2",
        ),
        ({"labels": [["neutral"], ["neutral"]]}, "labels for 1 responses, but found them for 2"),
        ({"labels": ["neutral"]}, "`labels` to be a list of lists, but found 'neutral' in it"),
        ({"labels": 2}, "`labels` to be a list of lists, but found 2 in it"),
        ({"labels": iter([["neutral"]])}, "`labels` to be a list of lists, but found <list_iterator"),
        ({"labels": [["maybe"]]}, "label of response 0 to be contradiction, neutral or entailment"),
        ({"labels": [[2]]}, "labels given as numbers, which mean something else in each model"),
        ({"labels": [[3]], "id2label": USUAL}, "but found 3"),
        ({"labels": [[-1]], "id2label": USUAL}, "but found -1"),
        ({"labels": [[True]], "id2label": USUAL}, "but found True"),
        ({"labels": [[None]], "id2label": USUAL}, "but found None"),
        ({"labels": [[[0.5, 0.5]]], "id2label": USUAL}, "but found [0.5, 0.5]"),
        ({"labels": [[[0.5, math.nan, 0.5]]], "id2label": USUAL}, "but found [0.5, nan, 0.5]"),
        ({"labels": [[[0.1, 0.2, 0.7]]]}, "labels given as numbers"),
        ({"labels": [["neutral"]], "id2label": {0: "neutral"}}, "which of 0, 1 and 2 is contradiction"),
        ({"labels": [["neutral"]], "id2label": ["contradiction", "neutral", "entailment"]}, "which of 0, 1 and 2"),
    ],
)
def test_wrong_judgements(metric, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        metric.compute(predictions=["a"], profiles=[["b"]], **options)
    assert judged(metric, [["neutral"]])["coh"] == 1, "an error must leave nothing behind"


@pytest.mark.parametrize(
    ("predictions", "profiles", "message"),
    [
        (["a", "b"], [["a"]], "one profile for each prediction, but found 2 predictions and 1 profiles"),
        ([], [], "at least one prediction, but found none"),
        (["a"], [[]], "at least one response with a persona sentence, but all profiles are empty"),
        (["a"], ["b"], "profile 0 to be a list of sentences, but found str"),
        (["a"], [[None]], "sentences of profile 0 to be strings, but found NoneType"),
        ([3], [["a"]], "prediction 0 to be a string, but found int"),
        ("a", [["a"]], "`predictions` to be a list with one entry per response, but found str"),
        (["a"], None, "`profiles` to be a list with one entry per response, but found NoneType"),
    ],
)
def test_wrong_rows(metric, predictions, profiles, message):
    labels = [["neutral"] * len(profile) for profile in profiles or []]
    with pytest.raises(ValueError, match=re.escape(message)):
        metric.compute(predictions=predictions, profiles=profiles, labels=labels)


def test_missing_profiles(metric):
    with pytest.raises(ValueError, match="profiles"):
        metric.compute(predictions=["a"], labels=[["neutral"]])
