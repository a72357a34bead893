"""Scores of generated replies, each as the metric of this package defines it."""

import functools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import evaluate

from idl_hf.registration import folder


def score_replies(
    predictions: Sequence[str], references: Sequence[str], histories: Sequence[Sequence[str]], release: bool = False
) -> dict[str, float]:
    """predictions: replies. references: the persons' own. histories: each person's past utterances.

    All are fractions and means over replies: word BLEU of order 1 and 2 (sentence level, no smoothing), ROUGE-L F1
    without stemming, distinct-1 and -2 within a reply and over all, P-F1 and P-Co. release: also BLEU-3 and -4, and BLEU
    and ROUGE-L as the authors' released code counts them.
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
        **{f"bleu_{order}": bleu[f"bleu_{order}"] for order in range(1, 5 if release else 3)},
        "rouge_l": _compute("idl_rouge_l", pairs)["rouge_l"],
        "distinct_1": distinct["distinct_1"],
        "corpus_distinct_1": distinct["corpus_distinct_1"],
        "distinct_2": distinct["distinct_2"],
        "corpus_distinct_2": distinct["corpus_distinct_2"],
        "p_f1": _compute("p_f1", persona)["p_f1"],
        "p_co": _compute("p_co", persona)["p_co"],
        **(_as_released(pairs) if release else {}),
    }


def score_people(
    people: Sequence[str],
    predictions: Sequence[str],
    references: Sequence[str],
    histories: Sequence[Sequence[str]],
    profiles: Sequence[Sequence[str]] | None = None,
    nli_model: str | None = None,
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """(scores of each person's replies, by column and person; scores of all replies as one corpus).

    people: whose reply each prediction is. With an NLI model also Coh. and Coh-Con., against the profiles.
    """
    if len(people) != len(predictions):
        raise ValueError(f"Expected one person per prediction, found {len(people)} and {len(predictions)}.")
    labels = _judge(predictions, profiles, nli_model) if nli_model is not None and profiles is not None else None
    by_person: dict[str, dict[str, float]] = defaultdict(dict)
    for person in dict.fromkeys(people):
        own = [i for i, speaker in enumerate(people) if speaker == person]
        said, gold, known = [predictions[i] for i in own], [references[i] for i in own], [histories[i] for i in own]
        scores = score_replies(said, gold, known, release=True)
        if labels is not None and profiles is not None:
            of_person: dict[str, list[Any]] = {"predictions": said, "profiles": [list(profiles[i]) for i in own]}
            judged = _compute("coh_con", of_person, labels=[labels[i] for i in own])
            scores |= {"coh": judged["coh"], "coh_con": judged["coh_con"]}
        for name, score in scores.items():
            if not name.startswith("corpus_"):
                by_person[name][person] = score
    together = _compute("distinct", {"predictions": list(predictions)})
    return dict(by_person), {name: together[name] for name in ("corpus_distinct_1", "corpus_distinct_2")}


def _as_released(pairs: dict[str, list[Any]]) -> dict[str, float]:
    bleu = _compute("idl_bleu", pairs, preset="paper")
    orders = {f"release_bleu_{order}": bleu[f"bleu_{order}"] for order in range(1, 5)}
    return {**orders, "release_rouge_l": _compute("idl_rouge_l", pairs, preset="paper")["rouge_l"]}


def _judge(predictions: Sequence[str], profiles: Sequence[Sequence[str]], model: str) -> list[list[str]]:
    return _metric("coh_con").judge(list(predictions), [list(profile) for profile in profiles], model)


def _compute(metric: str, columns: dict[str, list[Any]], **options: Any) -> dict[str, float]:
    return _metric(metric).compute(**columns, **options)


@functools.cache
def _metric(name: str) -> Any:
    return evaluate.load(str(folder("metrics") / name), keep_in_memory=True)
