"""ParlAI F1: words that responses share with gold replies, normalised and counted as ParlAI does."""

import math
import re
import string
from collections import Counter
from collections.abc import Sized

import evaluate
from datasets import Features, List, Value

from ._rows import check_columns, check_each, plain, word_splitter

PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")
ARTICLES = re.compile(r"\b(a|an|the)\b")

_CITATION = """\
@inproceedings{miller2017parlai, title = {{ParlAI}: A Dialog Research Software Platform},
  author = {Miller, Alexander and Feng, Will and Batra, Dhruv and Bordes, Antoine and Fisch, Adam and Lu, Jiasen and
    Parikh, Devi and Weston, Jason},
  booktitle = {Proceedings of the 2017 Conference on Empirical Methods in Natural Language Processing: System
    Demonstrations}, pages = {79--84}, year = {2017}}
@article{dinan2019second, title = {The Second Conversational Intelligence Challenge ({ConvAI2})},
  author = {Dinan, Emily and Logacheva, Varvara and Malykh, Valentin and Miller, Alexander and Shuster, Kurt and
    Urbanek, Jack and Kiela, Douwe and Szlam, Arthur and Serban, Iulian and Lowe, Ryan and others},
  journal = {arXiv preprint arXiv:1902.00098}, year = {2019}}
"""

_DESCRIPTION = """\
ParlAI F1 is the F1 of the words of a response and of the gold reply, after ParlAI's normalisation: lower case, without
punctuation and articles. It is the F1 that papers on PersonaChat and ConvAI2 report.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[str]`): the responses.
    references (`list[str]` or `list[list[str]]`): for each response the gold reply, or several right ones, of which
        the best counts.
    tokenize (`str`, optional): a tokenizer of sacrebleu instead of splitting at white space, for text without spaces:
        "zh" for Chinese, "ja-mecab" for Japanese, "char" for single characters, and others.
Returns:
    parlai_f1 (`float`): mean over the responses of 2 * precision * recall / (precision + recall) of the words, each
        counted as often as it occurs on both sides, in [0, 1]. A response that shares no word scores 0.
Raises:
    ValueError: for no responses, a response without a gold reply, or inputs of the wrong shape.
Examples:
    >>> import idl_hf
    >>> import evaluate
    >>> parlai_f1 = evaluate.load("parlai_f1")
    >>> predictions = ["I like the dog!", "yes yes yes"]
    >>> results = parlai_f1.compute(predictions=predictions, references=["the dog , I like it", "yes"])
    >>> print(round(results["parlai_f1"], 4))
    0.6786
    >>> references = [["i like dogs", "the dog , I like it"], ["yes", "yes , yes !"]]
    >>> print(round(parlai_f1.compute(predictions=predictions, references=references)["parlai_f1"], 4))
    0.8286
"""


def normalise(text: str) -> str:
    """Return the lower-cased text without punctuation and articles."""
    return ARTICLES.sub(" ", PUNCTUATION.sub(" ", plain(text).lower()))


def f1(response: list[str], reply: list[str]) -> float:
    """Return F1 of two bags of words, 0 if they share nothing."""
    shared = (Counter(response) & Counter(reply)).total()
    return 2 * shared / (len(response) + len(reply)) if shared else 0.0


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class ParlaiF1(evaluate.Metric):
    """Mean unigram F1 of responses and gold replies."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value("string"), "references": List(Value("string"))})
        urls = ["https://github.com/facebookresearch/ParlAI", "https://arxiv.org/abs/1902.00098"]
        return evaluate.MetricInfo(_DESCRIPTION, _CITATION, features, _KWARGS_DESCRIPTION, reference_urls=urls)

    def add(self, *, prediction=None, reference=None, **kwargs):
        """Add one response and its gold reply, or several right ones."""
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Add responses and, for each, its gold reply, or several right ones."""
        check_columns("parlai_f1", "entry per response", predictions, references=references)
        check_each(str, predictions, "parlai_f1 expected prediction {} to be a string")
        rows = [[replies] if isinstance(replies, str) else replies for replies in references]
        check_each(Sized, rows, "parlai_f1 expected reference {} to be a string or a list of strings")
        for row, replies in enumerate(rows):
            if len(replies) == 0:
                raise ValueError(f"parlai_f1 expected at least one gold reply in reference {row}, but found none.")
            check_each(str, replies, f"parlai_f1 expected the gold replies of reference {row} to be strings")
        evaluate.Metric.add_batch(self, predictions=predictions, references=list(map(list, rows)), **kwargs)

    def _compute(
        self, predictions: list[str], references: list[list[str]], tokenize: str | None = None
    ) -> dict[str, float]:
        if len(predictions) == 0:
            raise ValueError("parlai_f1 expected at least one prediction, but found none.")
        texts = [*predictions, *(reply for replies in references for reply in replies)]
        words = word_splitter("parlai_f1", tokenize, texts)
        pairs = zip(predictions, references, strict=True)
        best = [
            max(f1(words(normalise(response)), words(normalise(reply))) for reply in replies)
            for response, replies in pairs
        ]
        return {"parlai_f1": math.fsum(best) / len(best)}
