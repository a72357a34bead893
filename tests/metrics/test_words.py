"""The words of a text, in every metric of words: however apostrophes are written, and where there are no spaces."""

import unicodedata
import warnings
from pathlib import Path

import evaluate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
RESULTS = {"p_f1": "p_f1", "p_co": "p_co", "idl_bleu": "bleu_1", "idl_rouge_l": "rouge_l", "parlai_f1": "parlai_f1"}
RESULTS["distinct"] = "corpus_distinct_1"
METRICS = {name: evaluate.load(str(ROOT / "metrics" / name), keep_in_memory=True) for name in RESULTS}


def score(name: str, response: str, other: str, **options) -> float:
    """The score of a response against what the person said, or would have said."""
    column = {"p_f1": {"histories": [[other]]}, "p_co": {"histories": [[other]]}, "distinct": {}}
    rows = {"predictions": [response], **column.get(name, {"references": [other]})}
    if name == "distinct":
        rows = {"predictions": [response, other]}
    return METRICS[name].compute(**rows, **options)[RESULTS[name]]


WAYS = {
    "curly": lambda text: text.replace("'", "\u2019"),
    "modifier letter": lambda text: text.replace("'", "\u02bc"),
    "acute": lambda text: text.replace("'", "\u00b4"),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "tabs": lambda text: text.replace(" ", "\t"),
    "zero-width spaces": lambda text: text.replace(" ", "\u200b "),
    "byte order mark": lambda text: f"\ufeff{text}",
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
}
words = st.lists(st.sampled_from(["i", "don't", "caf\u00e9", "swim", "it's", "dogs"]), min_size=1, max_size=6)


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("way", WAYS)
@given(words.map(" ".join), words.map(" ".join))
@settings(max_examples=4)
def test_how_a_text_is_written_changes_no_score(name, way, response, other):
    expected = score(name, response, other)
    assert score(name, WAYS[way](response), other) == expected
    assert score(name, response, WAYS[way](other)) == expected


def test_stop_words_are_left_out_however_they_are_written():
    for text in ("i don't", "i don\u2019t", "i\u00a0don\u02bct"):
        assert score("p_f1", text, f"{text} swim") == 0.0
        assert score("p_f1", text, text, stop_words=["I", "don\u00b4t"]) == 0.0


UNSPACED = {
    "Chinese": ("今天天气很好我喜欢小狗", "今天天气很好我喜欢小猫"),
    "two characters": ("你好", "你吗"),
    "Japanese": ("犬が好きです", "猫が好きです"),
    "Thai": ("ฉันชอบหมา", "ฉันชอบแมว"),
    "mixed": ("ok 我喜欢小狗啊", "ok 我喜欢小猫啊"),
}
SPACED = ["i like dogs", "今天 天气 很 好", "나는 개를 좋아한다", "\u044f люблю", ""]


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("script", UNSPACED)
def test_text_without_spaces_is_warned_of_and_scored_with_a_tokenizer(name, script):
    response, other = UNSPACED[script]
    with pytest.warns(UserWarning, match=rf"{name} .*2 of 2 texts are written without spaces.*`tokenize`"):
        score(name, response, other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 < score(name, response, other, tokenize="char") < 1


@pytest.mark.parametrize("name", [name for name in RESULTS if name != "idl_rouge_l"])
@pytest.mark.parametrize("text", SPACED)
def test_text_with_spaces_is_warned_of_by_nothing(name, text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score(name, text, text)


def test_chinese_with_sacrebleus_tokenizer_is_scored_by_character():
    response, other = UNSPACED["Chinese"]
    assert score("idl_bleu", response, other, tokenize="zh") == pytest.approx(10 / 11)
    assert score("idl_rouge_l", response, other, tokenize="zh") == pytest.approx(10 / 11)
    assert score("parlai_f1", response, other, tokenize="zh") == pytest.approx(10 / 11)
    assert score("idl_rouge_l", response, other, tokenize="zh", preset="dhap") == pytest.approx(
        2 * 9 / (9 + 10) if 0 else 9 / 10
    )


def test_rouge_warns_of_letters_that_it_does_not_know():
    text = SPACED[3]
    with pytest.warns(UserWarning, match="letters from a to z alone .* 1 of 2 texts have none"):
        assert score("idl_rouge_l", text, "i like dogs") == 0
    assert score("idl_rouge_l", text, text, tokenize="intl") == 1


@pytest.mark.parametrize("name", RESULTS)
def test_an_unknown_tokenizer_names_those_there_are(name):
    with pytest.raises(
        ValueError, match=rf"{name} expected `tokenize` to be None or one of: .*zh.*, but found 'klingon'"
    ):
        score(name, "a", "b", tokenize="klingon")


def test_a_tokenizer_and_what_has_no_use_for_it_are_refused():
    with pytest.raises(ValueError, match="together with tokens"):
        score("idl_bleu", "a", "b", tokenize="zh", preset="paper")
    with pytest.raises(ValueError, match="no stemmer for the words of `tokenize`"):
        score("idl_rouge_l", "a", "b", tokenize="zh", stemmer=True)
