"""Seconds to score replies by each text metric, and by the library that has the same numbers.

    python benchmarks/score.py            # 10,000 replies, 100 past utterances for each
    python benchmarks/score.py --quick    # 200 replies, for the test suite

Ours is a whole `evaluate.load(...).compute(...)`: checks, Arrow, all that the metric returns. The peer is a plain loop
over a library's own function for the same values. Both take turns; the ratio is that of one turn. The last row is all
that `score_replies` computes for a report. Replies are made of halves of utterances of the included sample data, so
that they share words with their references.
"""

import random
import statistics
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import evaluate
import nltk
import numpy as np
from nltk.translate.bleu_score import sentence_bleu
from rouge_score.rouge_scorer import RougeScorer

from common import arguments, head, ratios, row, spread, take_turns
from idl_hf.demo import SAMPLE_DATA
from idl_hf.evaluation.scores import score_replies
from idl_hf.explore.extract import read_utterances

ORDERS = (1, 2, 3, 4)
Columns = dict[str, list]
Values = dict[str, float]
Peer = Callable[[Columns], Values] | None


def make_replies(count: int, utterances: int, seed: int = 0) -> Columns:
    """predictions, references and histories; twenty replies of a person share a history."""
    rng = random.Random(seed)
    said = read_utterances(SAMPLE_DATA / "train.jsonl")
    references = rng.choices(said, k=count)
    starts, ends = ([text.split() for text in column] for column in (references, rng.choices(said, k=count)))
    predictions = [" ".join(a[: len(a) // 2] + b[len(b) // 2 :]) for a, b in zip(starts, ends, strict=True)]
    people = [rng.choices(said, k=utterances) for _ in range(-(-count // 20))]
    return {"predictions": predictions, "references": references, "histories": [people[i // 20] for i in range(count)]}


def of_nltk(predictions: Sequence, references: Sequence, weights: list[tuple[float, ...]]) -> Values:
    pairs = zip(predictions, references, strict=True)
    rows = [sentence_bleu([reference], prediction, weights) for prediction, reference in pairs]
    return {f"bleu_{order}": value for order, value in zip(ORDERS, np.mean(rows, axis=0).tolist(), strict=True)}


def nltk_words(columns: Columns) -> Values:
    predictions, references = ([text.lower().split() for text in columns[name]] for name in list(columns)[:2])
    return of_nltk(predictions, references, [(1 / order,) * order for order in ORDERS])


def nltk_characters(columns: Columns) -> Values:
    """As released: the texts as they are, the response as the reference."""
    single = [(0.0,) * (order - 1) + (1.0,) for order in ORDERS]
    return of_nltk(columns["references"], columns["predictions"], single)


def nltk_distinct(columns: Columns) -> Values:
    words = [text.lower().split() for text in columns["predictions"]]
    grams = {order: [list(nltk.ngrams(own, order)) for own in words] for order in (1, 2)}
    shares = {order: [len(set(own)) / max(1, len(own)) for own in given] for order, given in grams.items()}
    return {f"distinct_{order}": float(np.mean(values)) for order, values in shares.items()}


def rouge_score(columns: Columns, use_stemmer: bool = False) -> Values:
    scorer = RougeScorer(["rougeL"], use_stemmer=use_stemmer)
    pairs = zip(columns["references"], columns["predictions"], strict=True)
    return {"rouge_l": float(np.mean([scorer.score(*pair)["rougeL"].fmeasure for pair in pairs]))}


def rouge_score_stemmed(columns: Columns) -> Values:
    return rouge_score(columns, use_stemmer=True)


TEXTS, HISTORIES = ("predictions", "references"), ("predictions", "histories")
# What is timed: metric, its options, the columns it reads, the peer
RUNS: list[tuple[str, dict[str, str], tuple[str, ...], Peer]] = [
    ("idl_bleu", {}, TEXTS, nltk_words),
    ("idl_bleu", {"preset": "paper"}, TEXTS, nltk_characters),
    ("idl_rouge_l", {}, TEXTS, rouge_score),
    ("idl_rouge_l", {"preset": "paper"}, TEXTS, rouge_score_stemmed),
    ("idl_rouge_l", {"preset": "dhap"}, TEXTS, None),
    ("distinct", {}, TEXTS[:1], nltk_distinct),
    ("parlai_f1", {}, TEXTS, None),
    ("p_f1", {}, HISTORIES, None),
    ("p_co", {}, HISTORIES, None),
    ("p_co", {"method": "cover_msp"}, HISTORIES, None),
]


def compute(name: str, given: dict[str, Any]) -> Values:
    return evaluate.load(name, keep_in_memory=True).compute(**given)


def measure(label: str, ours: Callable[[], Values], peer: Peer, columns: Columns, repeats: int) -> float:
    """Print a row and return the median seconds of ours."""
    ways = {"ours": ours} if peer is None else {"ours": ours, "peer": lambda: peer(columns)}
    (own, *others), (values, *peer_values) = take_turns(ways, repeats)
    cells = [""] * 4
    for taken, found in zip(others, peer_values, strict=True):
        difference = max(abs(values[name] - value) for name, value in found.items())
        cells = [peer.__name__, f"{statistics.median(taken):.2f}", spread(ratios(taken, own)), f"{difference:.0e}"]
    print(row(label, f"{statistics.median(own):.2f}", *cells), flush=True)
    return statistics.median(own)


def main() -> None:
    quick = {"replies": 200, "utterances": 10, "repeats": 1}
    args = arguments(__doc__, quick, replies=10_000, utterances=100, repeats=3)
    warnings.filterwarnings("ignore", message=r"\s*The hypothesis contains", category=UserWarning)  # of nltk
    columns = make_replies(args.replies, args.utterances)
    print(f"{args.replies:,} replies, {args.utterances} past utterances for each. Medians of {args.repeats}.\n")
    print(head("metric", "ours, s", "peer", "peer, s", "times faster", "largest difference"))
    total = 0.0
    for name, options, read, peer in RUNS:
        ours = partial(compute, name, {column: columns[column] for column in read} | options)
        total += measure(", ".join([name, *options.values()]), ours, peer, columns, args.repeats)
    print(f"| all of the above | {total:.2f} | | | | |")
    measure("score_replies", lambda: score_replies(**columns), None, columns, args.repeats)


if __name__ == "__main__":
    main()
