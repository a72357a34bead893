"""Scores of generated replies, each as the metric of this package defines it."""

import functools
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import evaluate
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from idl_hf.evaluation.records import Records, code_version
from idl_hf.persona.extractor import model_identity
from idl_hf.registration import folder

Judge = Callable[[Sequence[str], Sequence[Sequence[str]]], list[list[str]]]  # replies, facts of each -> NLI labels


def score_replies(
    predictions: Sequence[str], references: Sequence[str], histories: Sequence[Sequence[str]], release: bool = False
) -> dict[str, float]:
    """predictions: replies. references: the persons' own. histories: each person's past utterances.

    All are fractions and means over replies: word BLEU of order 1 and 2 (sentence level, no smoothing), ROUGE-L F1
    without stemming, distinct-1 and -2 within a reply and over all, P-F1 and P-Co. Tokens are those of sacrebleu's 13a,
    which sets punctuation apart, so that "dogs." and the "dogs ." of ConvAI2 are the same; P-F1 and P-Co take no
    punctuation, since everybody's full stops are alike. release: also BLEU-3 and -4, and BLEU and ROUGE-L as the authors'
    released code counts them, on the text as it is.
    """
    if not len(predictions) == len(references) == len(histories):
        raise ValueError(
            f"Expected one reference and one history per prediction, found {len(predictions)} predictions, "
            f"{len(references)} references and {len(histories)} histories."
        )
    replies: dict[str, list[Any]] = {"predictions": _tokens(predictions)}
    pairs = {**replies, "references": _tokens(references)}
    persona: dict[str, list[Any]] = {
        "predictions": _words(predictions),
        "histories": [_words(history) for history in histories],
    }
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
        **(_as_released(predictions, references) if release else {}),
    }


def score_people(
    people: Sequence[str],
    predictions: Sequence[str],
    references: Sequence[str],
    histories: Sequence[Sequence[str]],
    profiles: Sequence[Sequence[str]] | None = None,
    judge: Judge | None = None,
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """(scores of each person's replies, by column and person; scores of all replies as one corpus).

    people: whose reply each prediction is. With a judge also Coh. and Coh-Con., against the profiles.
    """
    if len(people) != len(predictions):
        raise ValueError(f"Expected one person per prediction, found {len(people)} and {len(predictions)}.")
    labels = judge(predictions, profiles) if judge is not None and profiles is not None else None
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
    together = _compute("distinct", {"predictions": _tokens(predictions)})
    return dict(by_person), {name: together[name] for name in ("corpus_distinct_1", "corpus_distinct_2")}


_split = Tokenizer13a()  # puts a space between each two tokens


def _tokens(texts: Sequence[str]) -> list[str]:
    return [_split(text) for text in texts]


def _words(texts: Sequence[str]) -> list[str]:
    """Tokens with a letter or a digit."""
    return [" ".join(token for token in text.split() if any(map(str.isalnum, token))) for text in _tokens(texts)]


def _as_released(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    pairs = {"predictions": list(predictions), "references": list(references)}
    bleu = _compute("idl_bleu", pairs, preset="paper")
    orders = {f"release_bleu_{order}": bleu[f"bleu_{order}"] for order in range(1, 5)}
    return {**orders, "release_rouge_l": _compute("idl_rouge_l", pairs, preset="paper")["rouge_l"]}


def kept_judge(model: str, file: Path) -> Judge:
    """An NLI model's labels, kept in `file` line by line of a table: a pair of fact and reply is read once for all runs."""
    metric = folder("metrics") / "coh_con" / "coh_con.py"
    identity = f"{model_identity(model)} {code_version([metric], ('torch', 'transformers'))}"

    def labels(predictions: Sequence[str], profiles: Sequence[Sequence[str]]) -> list[list[str]]:
        pairs = [(fact, said) for said, facts in zip(predictions, profiles, strict=True) for fact in facts]
        records = Records(file)
        keys = [json.dumps([identity, *pair]) for pair in pairs]
        missing = [pairs[i] for i in records.missing(keys)]
        if missing:
            judged = _metric("coh_con").judge([said for _, said in missing], [[fact] for fact, _ in missing], model)
            for pair, (label,) in zip(missing, judged, strict=True):
                records.add(json.dumps([identity, *pair]), label)
        found = (records[key] for key in keys)
        return [[next(found) for _ in facts] for facts in profiles]

    return labels


def _compute(metric: str, columns: dict[str, list[Any]], **options: Any) -> dict[str, float]:
    return _metric(metric).compute(**columns, **options)


@functools.cache
def _metric(name: str) -> Any:
    return evaluate.load(str(folder("metrics") / name), keep_in_memory=True)
