"""Scores of generated replies, all fractions and means over replies."""

from collections.abc import Sequence

import evaluate
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from idl_hf.registration import folder


def score_replies(
    predictions: Sequence[str], references: Sequence[str], histories: Sequence[Sequence[str]]
) -> dict[str, float]:
    """predictions: replies. references: the persons' own. histories: each person's past utterances.

    Word BLEU of order 1 and 2 (sentence level, no smoothing), ROUGE-L F1 without stemming, distinct-1 and -2 within a
    reply and over all, P-F1 and P-Co.
    """
    if not len(predictions) == len(references) == len(histories):
        raise ValueError(
            f"Expected one reference and one history per prediction, found {len(predictions)} predictions, "
            f"{len(references)} references and {len(histories)} histories."
        )
    rouge = RougeScorer(["rougeL"])
    count = len(predictions)
    scores = {
        f"bleu_{order}": sum(_bleu(p, r, order) for p, r in zip(predictions, references, strict=True)) / count
        for order in (1, 2)
    }
    pairs = zip(references, predictions, strict=True)
    scores["rouge_l"] = sum(rouge.score(r, p)["rougeL"].fmeasure for r, p in pairs) / count
    for order in (1, 2):
        scores[f"distinct_{order}"] = sum(_distinct([p], order) for p in predictions) / count
        scores[f"corpus_distinct_{order}"] = _distinct(predictions, order)
    persona = {"predictions": list(predictions), "histories": [list(history) for history in histories]}
    scores["p_f1"] = evaluate.load(str(folder("metrics") / "p_f1")).compute(**persona)["p_f1"]
    scores["p_co"] = evaluate.load(str(folder("metrics") / "p_co")).compute(**persona)["p_co"]
    return scores


def _bleu(prediction: str, reference: str, order: int) -> float:
    """Lower-case words split at blanks, as in the corpora."""
    metric = BLEU(lowercase=True, tokenize="none", max_ngram_order=order, smooth_method="none", effective_order=False)
    return metric.corpus_score([prediction], [[reference]]).score / 100


def _distinct(texts: Sequence[str], order: int) -> float:
    """Distinct n-grams over n-grams, never across texts; 0 where there is none."""
    split = [text.lower().split() for text in texts]
    grams = [tuple(words[i : i + order]) for words in split for i in range(len(words) - order + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0
