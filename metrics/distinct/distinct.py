"""Distinct-n: how varied responses are. Three formulas share the name."""

import math
from collections.abc import Iterable, Sequence, Sized

import evaluate
from datasets import Features, Value

from ._rows import check_each, word_splitter

_CITATION = """\
@inproceedings{li2016diversity, title = {A Diversity-Promoting Objective Function for Neural Conversation Models},
  author = {Li, Jiwei and Galley, Michel and Brockett, Chris and Gao, Jianfeng and Dolan, Bill},
  booktitle = {Proceedings of the 2016 Conference of the North American Chapter of the Association for Computational
    Linguistics: Human Language Technologies}, pages = {110--119}, year = {2016}}
@article{cheng2024indialogues,
  title = {"In Dialogues We Learn": Towards Personalized Dialogue Without Pre-defined Profiles through In-Dialogue
    Learning},
  author = {Cheng, Chuanqi and Tu, Quan and Shang, Shuo and Mao, Cunli and Yu, Zhengtao and Wu, Wei and Yan, Rui},
  journal = {arXiv preprint arXiv:2403.03102}, year = {2024}}
"""

_DESCRIPTION = """\
Distinct-n is the number of different n-grams divided by the number of all n-grams. It is given within each response
and averaged, as in the In-Dialogue Learning paper, over all responses together, as first defined, and over all
responses joined to one text, as in the scripts of DHAP and MSP. Only values of the same formula can be compared.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[str]`): the responses. Tokens are the lower-cased text split at white space.
    max_order (`int`, defaults to 2): the longest n-grams to count.
    empty (`str`, defaults to "zero"): a response without an n-gram counts as 0 in the mean of `distinct_n` ("zero"),
        or is left out of it ("skip").
    tokenize (`str`, optional): a tokenizer of sacrebleu instead of splitting at white space, for text without spaces:
        "zh" for Chinese, "ja-mecab" for Japanese, "char" for single characters, and others.
Returns:
    distinct_n (`float`): mean over the responses of different n-grams / n-grams, for each n up to `max_order`.
    corpus_distinct_n (`float`): the same of the n-grams of all responses pooled, none across two responses.
    concat_distinct_n (`float`): different n-grams / tokens of all responses joined to one text, across their bounds.
        All are in [0, 1], and 0 where there is nothing to count.
Raises:
    ValueError: for an unknown option, no responses, or inputs of the wrong shape.
Examples:
    >>> import idl_hf
    >>> import evaluate
    >>> distinct = evaluate.load("distinct")
    >>> results = distinct.compute(predictions=["i like dogs and i like cats", "i like dogs", "no no no"])
    >>> for name, value in results.items():
    ...     print(name, round(value, 4))
    distinct_1 0.6825
    corpus_distinct_1 0.4615
    concat_distinct_1 0.4615
    distinct_2 0.7778
    corpus_distinct_2 0.6
    concat_distinct_2 0.6154
"""


def ngrams(tokens: Sequence[str], order: int) -> list[tuple[str, ...]]:
    """Return all n-grams in order, none of a text with fewer tokens."""
    return list(zip(*(tokens[start:] for start in range(order)), strict=False))


def distinct(responses: Sequence[Sequence[str]], order: int, empty: str) -> dict[str, float]:
    """Return the three values of one order."""
    grams = [ngrams(tokens, order) for tokens in responses]
    rows = [len(set(row)) / max(1, len(row)) for row in grams if row or empty == "zero"]
    joined = [token for tokens in responses for token in tokens]
    return {
        f"distinct_{order}": math.fsum(rows) / len(rows) if rows else 0.0,
        f"corpus_distinct_{order}": len(set().union(*grams)) / max(1, sum(map(len, grams))),
        f"concat_distinct_{order}": len(set(ngrams(joined, order))) / max(1, len(joined)),
    }


def check_rows(predictions: Iterable[str]) -> None:
    """Raise ValueError for the wrong shapes that `datasets` would turn into strings without a word."""
    check_each(Sized, [predictions], "distinct expected `predictions` to be a list with one text per response")
    check_each(str, predictions, "distinct expected prediction {} to be a string")


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Distinct(evaluate.Metric):
    """Share of different n-grams in responses."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value("string")})
        urls = ["https://aclanthology.org/N16-1014", "https://arxiv.org/abs/2403.03102"]
        return evaluate.MetricInfo(_DESCRIPTION, _CITATION, features, _KWARGS_DESCRIPTION, reference_urls=urls)

    def add(self, *, prediction=None, **kwargs):
        """Add one response."""
        self.add_batch(predictions=[prediction], **kwargs)

    def add_batch(self, *, predictions=None, **kwargs):
        """Add responses."""
        check_rows(predictions)
        evaluate.Metric.add_batch(self, predictions=predictions, **kwargs)

    def _compute(
        self, predictions: list[str], max_order: int = 2, empty: str = "zero", tokenize: str | None = None
    ) -> dict[str, float]:
        if isinstance(max_order, bool) or not isinstance(max_order, int) or max_order < 1:
            raise ValueError(f"distinct expected `max_order` to be a whole number from 1 on, but found {max_order!r}.")
        if empty not in ("zero", "skip"):
            raise ValueError(f'distinct expected `empty` to be "zero" or "skip", but found {empty!r}.')
        if len(predictions) == 0:
            raise ValueError("distinct expected at least one prediction, but found none.")
        responses = list(map(word_splitter("distinct", tokenize, predictions), predictions))
        orders = range(1, max_order + 1)
        return {name: value for order in orders for name, value in distinct(responses, order, empty).items()}
