"""What metrics share, copied by utils/fix_copies.py: the words of a text, and checks for wrong shapes that `datasets`
would turn into strings without a word."""

import math
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sized
from numbers import Real

APOSTROPHES = dict.fromkeys(map(ord, "`\u00b4\u02b9\u02bc\u02c8\u2018\u2019\u201b\u2032\uff07"), "'")
INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff"))
# Scripts that set no spaces between words: Thai to Tibetan, Myanmar, Khmer, kana, Chinese characters
NO_SPACES = "\u0e01-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
UNSPACED = re.compile(rf"[{NO_SPACES}]{{5}}|^\s*\S*[{NO_SPACES}]{{2}}\S*\s*$")


def plain(text: str) -> str:
    """Return a text in NFC with one kind of apostrophe and without invisible characters."""
    return unicodedata.normalize("NFC", text.translate(INVISIBLE)).translate(APOSTROPHES)


def word_splitter(metric: str, tokenize: str | None, texts: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what splits a text into lower-cased words: at white space, or by the tokenizer of sacrebleu of that name.
    Warns of those among the texts that white space does not split. Raises ValueError for an unknown tokenizer and
    ImportError for one that needs another package."""
    if tokenize is None:
        unspaced = [bool(UNSPACED.search(text)) for text in texts]
        if any(unspaced):
            warnings.warn(
                f"{metric} splits words at white space, and {sum(unspaced)} of {len(unspaced)} texts are written "
                'without spaces, so that their scores mean nothing. Give `tokenize`: "zh" for Chinese, "ja-mecab" for '
                'Japanese, "char" for single characters, or another of sacrebleu.',
                stacklevel=2,
            )
        return lambda text: plain(text).lower().split()
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise ImportError(f"{metric} needs sacrebleu for `tokenize`: pip install sacrebleu.") from error
    if tokenize not in BLEU.TOKENIZERS:
        expected = ", ".join(BLEU.TOKENIZERS)
        raise ValueError(f"{metric} expected `tokenize` to be None or one of: {expected}, but found {tokenize!r}.")
    try:
        split = BLEU(tokenize=tokenize).tokenizer
    except (ImportError, RuntimeError) as error:
        problem = " ".join(str(error).split())
        raise ImportError(f"{metric} cannot use the tokenizer {tokenize!r}: {problem}") from error
    return lambda text: split(plain(text).lower()).split()


def check_each(kind: type, values: Iterable, expected: str) -> None:
    """Raise ValueError for the first value of another kind, whose number replaces `{}`. A string is no `Sized`."""
    for number, value in enumerate(values):
        if not isinstance(value, kind) or (kind is Sized and isinstance(value, str)):
            raise ValueError(f"{expected.format(number)}, but found {type(value).__name__}.")


def check_columns(metric: str, entry: str, predictions: Sized, **others: Sized) -> None:
    """Raise ValueError for a column that is no list, or that is not as long as the predictions."""
    for name, column in {"predictions": predictions, **others}.items():
        check_each(Sized, [column], f"{metric} expected `{name}` to be a list with one {entry}")
        if len(column) != len(predictions):
            one, lengths = name.replace("ies", "ys")[:-1], f"{len(predictions)} predictions and {len(column)} {name}"
            raise ValueError(f"{metric} expected one {one} for each prediction, but found {lengths}.")


def candidate_scores(metric: str, row: int, scores: Iterable[float], gold: int) -> list[float]:
    """Return the scores of the candidates of one row. Raises ValueError for one that is no number, and for a gold
    index that is not one of theirs."""
    scores = list(scores)
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, Real) or math.isnan(score):
            raise ValueError(f"{metric} expected the scores of prediction {row} to be numbers, but found {score!r}.")
    if isinstance(gold, bool) or not isinstance(gold, Real) or gold % 1 or not 0 <= gold < len(scores):
        raise ValueError(
            f"{metric} expected reference {row} to be the index of one of {len(scores)} candidates, from 0 on, "
            f"but found {gold!r}."
        )
    return [float(score) for score in scores]
