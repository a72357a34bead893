"""How right a persona extractor is, and how fast, on samples of PersonaExt and on hand-labelled turns of ConvAI2."""

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from idl_hf.persona.extractor import Extract
from idl_hf.persona.triples import object_f1, parse_sample, precision_recall_f1, sample_accuracy, triple_accuracy
from idl_hf.schema import Triple

ExtractSamples = Callable[[Sequence[Sequence[str]]], list[list[list[Triple]]]]


def evaluate_extractor(extract_samples: ExtractSamples, samples: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the scores of an extractor on samples with the columns `sentences` and `completion`.

    The samples are as examples/prepare_personaext.py writes them. sample_accuracy and triple_accuracy compare the
    triples of a sample in order (paper A.2); precision, recall, f1 and object_f1 those of each sentence as a set.
    persona_precision and persona_recall ask only which sentences have a triple at all; the former is NaN where all
    have one. sentences_per_second includes what `extract_samples` loads.
    """
    rows = list(samples)
    expected = [parse_sample(row["completion"], len(row["sentences"])) for row in rows]
    start = time.perf_counter()
    predicted = extract_samples([row["sentences"] for row in rows])
    seconds = time.perf_counter() - start
    in_order, expected_in_order = ([[*chain(*sample)] for sample in side] for side in (predicted, expected))
    by_sentence, expected_by_sentence = list(chain(*predicted)), list(chain(*expected))
    both = sum(bool(a and b) for a, b in zip(by_sentence, expected_by_sentence, strict=True))
    marked, right = sum(map(bool, by_sentence)), sum(map(bool, expected_by_sentence))
    overlap = precision_recall_f1(by_sentence, expected_by_sentence)
    return {
        "samples": len(rows),
        "sentences": len(by_sentence),
        "sample_accuracy": sample_accuracy(in_order, expected_in_order),
        "triple_accuracy": triple_accuracy(in_order, expected_in_order),
        **overlap._asdict(),
        "object_f1": object_f1(by_sentence, expected_by_sentence),
        "persona_precision": both / marked if right < len(expected_by_sentence) and marked else math.nan,
        "persona_recall": both / right if right else math.nan,
        "sentences_per_second": len(by_sentence) / seconds,
    }


def one_by_one(extract: Extract) -> ExtractSamples:
    """Return an extractor of samples that extracts from each sentence by itself, whatever sample it stands in."""

    def extract_samples(samples: Sequence[Sequence[str]]) -> list[list[list[Triple]]]:
        triples = iter(extract(list(chain(*samples))))
        return [[next(triples) for _ in sample] for sample in samples]

    return extract_samples


@dataclass(frozen=True)
class LabelledTurn:
    """A turn of ConvAI2 with the objects of what it states of its speaker, as somebody read it."""

    file: str
    text: str
    objects: tuple[str, ...]  # none: the turn states nothing of its speaker


def read_labelled_turns(labels: str | Path, folder: str | Path) -> list[LabelledTurn]:
    """Return the labelled turns, read from ConvAI2's files in the folder.
    labels: a JSON file (tests/data/persona_labels.json in a checkout) of places and digests only, since the corpus has
    a licence of its own. Raises ValueError where a turn is not the one that was labelled."""
    turns: list[LabelledTurn] = []
    lines: dict[str, list[str]] = {}
    for label in json.loads(Path(labels).read_text(encoding="utf-8"))["turns"]:
        name = label["file"]
        if name not in lines:
            lines[name] = Path(folder, name).read_text(encoding="utf-8").split("\n")
        text = lines[name][label["line"] - 1].split("\t")[1].strip()
        if hashlib.sha1(text.encode()).hexdigest()[:12] != label["sha1"]:
            raise ValueError(f"{Path(folder, name)}:{label['line']} is not the turn that was labelled: '{text}'.")
        turns.append(LabelledTurn(name, text, tuple(text[start:end] for start, end in label["objects"])))
    return turns


def score_labelled_turns(turns: Sequence[LabelledTurn], predicted: Sequence[Sequence[Triple]]) -> dict[str, float]:
    """Return precision, recall and F1 of "states something of its speaker", and F1 of the objects.
    predicted: the triples of each turn, whose objects may each agree with one that was labelled."""
    hits = agreed = 0
    for turn, triples in zip(turns, predicted, strict=True):
        hits += bool(turn.objects and triples)
        left = [triple.object for triple in triples]
        for labelled in turn.objects:
            match = next((obj for obj in left if objects_agree(obj, labelled)), None)
            if match is not None:
                left.remove(match)
                agreed += 1
    objects = sum(len(turn.objects) for turn in turns) + sum(map(len, predicted))
    precision = hits / max(1, sum(map(bool, predicted)))
    recall = hits / max(1, sum(bool(turn.objects) for turn in turns))
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(1e-9, precision + recall),
        "object_f1": 2 * agreed / max(1, objects),
    }


def objects_agree(first: str, second: str) -> bool:
    """Return whether two objects share half of their words (Dice), articles and possessives aside."""
    little = {"a", "an", "the", "my", "our", "some"}
    a, b = (set(re.findall(r"[\w']+", text.casefold())) - little for text in (first, second))
    return 4 * len(a & b) >= len(a) + len(b) > 0
