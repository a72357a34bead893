"""Scores of generated replies, each as the metric of this package defines it."""

from collections.abc import Sequence
from typing import Any

import evaluate

from idl_hf.registration import folder


def score_replies(
    predictions: Sequence[str], references: Sequence[str], histories: Sequence[Sequence[str]]
) -> dict[str, float]:
    """predictions: replies. references: the persons' own. histories: each person's past utterances.

    All are fractions and means over replies: word BLEU of order 1 and 2 (sentence level, no smoothing), ROUGE-L F1
    without stemming, distinct-1 and -2 within a reply and over all, P-F1 and P-Co.
    """
    if not len(predictions) == len(references) == len(histories):
        raise ValueError(
            f"Expected one reference and one history per prediction, found {len(predictions)} predictions, "
            f"{len(references)} references and {len(histories)} histories."
        )
    replies: dict[str, list[Any]] = {"predictions": list(predictions)}
    pairs = {**replies, "references": list(references)}
    persona = {**replies, "histories": [list(history) for history in histories]}
    bleu, distinct = _compute("idl_bleu", pairs), _compute("distinct", replies)
    return {
        "bleu_1": bleu["bleu_1"],
        "bleu_2": bleu["bleu_2"],
        "rouge_l": _compute("idl_rouge_l", pairs)["rouge_l"],
        "distinct_1": distinct["distinct_1"],
        "corpus_distinct_1": distinct["corpus_distinct_1"],
        "distinct_2": distinct["distinct_2"],
        "corpus_distinct_2": distinct["corpus_distinct_2"],
        "p_f1": _compute("p_f1", persona)["p_f1"],
        "p_co": _compute("p_co", persona)["p_co"],
    }


def _compute(metric: str, columns: dict[str, list[Any]]) -> dict[str, float]:
    return evaluate.load(str(folder("metrics") / metric), keep_in_memory=True).compute(**columns)
