"""How right a persona extractor is, and how fast."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from idl_hf.persona.extractor import Extract
from idl_hf.persona.triples import object_f1, parse_sample, precision_recall_f1, sample_accuracy, triple_accuracy
from idl_hf.schema import Triple

ExtractSamples = Callable[[Sequence[Sequence[str]]], list[list[list[Triple]]]]


def evaluate_extractor(extract_samples: ExtractSamples, samples: Iterable[dict[str, Any]]) -> dict[str, float]:
    """samples: the columns `sentences` and `completion`, as examples/prepare_personaext.py writes them.

    sample_accuracy and triple_accuracy compare the triples of a sample in order (paper A.2); precision, recall, f1 and
    object_f1 those of each sentence as a set. persona_precision and persona_recall ask only which sentences have a triple
    at all; the former is NaN where all have one. sentences_per_second includes what `extract_samples` loads.
    """
    rows = list(samples)
    wanted = [parse_sample(row["completion"], len(row["sentences"])) for row in rows]
    start = time.perf_counter()
    found = extract_samples([row["sentences"] for row in rows])
    seconds = time.perf_counter() - start
    flat = [[triple for of_sentence in sample for triple in of_sentence] for sample in found]
    flat_wanted = [[triple for of_sentence in sample for triple in of_sentence] for sample in wanted]
    by_sentence = [of_sentence for sample in found for of_sentence in sample]
    by_sentence_wanted = [of_sentence for sample in wanted for of_sentence in sample]
    precision, recall, f1 = precision_recall_f1(by_sentence, by_sentence_wanted)
    return {
        "samples": len(rows),
        "sentences": len(by_sentence),
        "sample_accuracy": sample_accuracy(flat, flat_wanted),
        "triple_accuracy": triple_accuracy(flat, flat_wanted),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "object_f1": object_f1(by_sentence, by_sentence_wanted),
        **_persona_utterances(by_sentence, by_sentence_wanted),
        "sentences_per_second": len(by_sentence) / seconds,
    }


def one_by_one(extract: Extract) -> ExtractSamples:
    """Each sentence by itself, whatever the sample it stands in."""

    def extract_samples(samples: Sequence[Sequence[str]]) -> list[list[list[Triple]]]:
        found = iter(extract([sentence for sample in samples for sentence in sample]))
        return [[next(found) for _ in sample] for sample in samples]

    return extract_samples


def _persona_utterances(found: Sequence[Sequence[Triple]], wanted: Sequence[Sequence[Triple]]) -> dict[str, float]:
    both = sum(bool(a and b) for a, b in zip(found, wanted, strict=True))
    marked, right = sum(map(bool, found)), sum(map(bool, wanted))
    tells = right < len(wanted) and marked
    return {
        "persona_precision": both / marked if tells else math.nan,
        "persona_recall": both / right if right else math.nan,
    }
