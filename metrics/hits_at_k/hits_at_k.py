"""Hits@k: how often a model prefers the gold reply among candidates."""

import math
from collections.abc import Iterable, Sized
from numbers import Integral

import evaluate
from datasets import Features, List, Value

from ._rows import candidate_scores, check_columns, check_each

_CITATION = """\
@inproceedings{zhang2018personalizing, title = {Personalizing Dialogue Agents: {I} have a dog, do you have pets too?},
  author = {Zhang, Saizheng and Dinan, Emily and Urbanek, Jack and Szlam, Arthur and Kiela, Douwe and Weston, Jason},
  booktitle = {Proceedings of the 56th Annual Meeting of the Association for Computational Linguistics (Volume 1: Long
    Papers)}, pages = {2204--2213}, year = {2018}}
"""

_DESCRIPTION = """\
Hits@k is the share of contexts in which the gold reply is among the k candidates that a model scores highest. With it
come the mean reciprocal rank and the mean rank of the gold reply.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[list[float]]`): for each context the score of every candidate, higher is better (a log-prob, or
        minus a loss). Contexts may have different numbers of candidates.
    references (`list[int]`): for each context the index of the gold reply among its candidates, from 0 on.
    ks (`list[int]`, defaults to [1, 5, 10]): the numbers of candidates to look at.
Returns:
    hits_at_k (`float`): share of the contexts whose gold reply has rank k or better, for each k. Its rank is 1 + the
        number of other candidates that score as high or higher: a tie counts against it.
    mrr (`float`): mean of 1 / rank.
    mean_rank (`float`): mean rank, 1 is best.
    n_tied (`int`): in how many contexts another candidate scored exactly as high as the gold reply.
Raises:
    ValueError: for no contexts, scores that are not numbers, indices out of range, or inputs of the wrong shape.
Examples:
    >>> import idl_hf
    >>> import evaluate
    >>> hits_at_k = evaluate.load("hits_at_k")
    >>> scores = [[-2.1, -0.3, -1.5], [-0.9, -0.2, -0.4], [-1.0, -1.0, -3.0]]
    >>> results = hits_at_k.compute(predictions=scores, references=[1, 0, 0], ks=[1, 2])
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'hits_at_1': 0.3333, 'hits_at_2': 0.6667, 'mrr': 0.6111, 'mean_rank': 2.0, 'n_tied': 1}
"""


def read_ks(ks: Iterable[int]) -> list[int]:
    """Return the numbers of candidates to look at, each once."""
    if isinstance(ks, str) or not isinstance(ks, Iterable):
        raise ValueError(f"hits_at_k expected `ks` to be a list of whole numbers, but found {ks!r}.")
    ks = list(dict.fromkeys(ks))
    for k in ks:
        if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
            raise ValueError(f"hits_at_k expected `ks` to hold whole numbers from 1 on, but found {k!r}.")
    return ks


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class HitsAtK(evaluate.Metric):
    """Rank of the gold reply among candidates."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": List(Value("float64")), "references": Value("int64")})
        urls = ["https://aclanthology.org/P18-1205"]
        return evaluate.MetricInfo(_DESCRIPTION, _CITATION, features, _KWARGS_DESCRIPTION, reference_urls=urls)

    def add(self, *, prediction=None, reference=None, **kwargs):
        """Add the scores of the candidates of one context, and the index of the gold reply."""
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Add the scores of the candidates of several contexts, and for each the index of the gold reply."""
        check_columns("hits_at_k", "entry per context", predictions, references=references)
        check_each(Sized, predictions, "hits_at_k expected prediction {} to be a list with a score per candidate")
        pairs = zip(predictions, references, strict=True)
        rows = [candidate_scores("hits_at_k", row, *pair) for row, pair in enumerate(pairs)]
        evaluate.Metric.add_batch(self, predictions=rows, references=references, **kwargs)

    def _compute(
        self, predictions: list[list[float]], references: list[int], ks: Iterable[int] = (1, 5, 10)
    ) -> dict[str, float]:
        ks = read_ks(ks)
        if len(predictions) == 0:
            raise ValueError("hits_at_k expected at least one prediction, but found none.")
        pairs = list(zip(predictions, references, strict=True))
        ranks = [sum(score >= scores[gold] for score in scores) for scores, gold in pairs]
        return {
            **{f"hits_at_{k}": sum(rank <= k for rank in ranks) / len(ranks) for k in ks},
            "mrr": math.fsum(1 / rank for rank in ranks) / len(ranks),
            "mean_rank": sum(ranks) / len(ranks),
            "n_tied": sum(list(scores).count(scores[gold]) > 1 for scores, gold in pairs),
        }
