"""How well an extractor finds the turns of ConvAI2 that show persona, by labels of 300 turns that were read by hand.

The labels (tests/data/persona_labels.json in a checkout) hold places and digests only, since the corpus has a licence of its
own; the turns are read from its files.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idl_hf.schema import Triple


@dataclass(frozen=True)
class LabelledTurn:
    file: str
    text: str
    objects: tuple[str, ...]  # none: the turn states nothing of its speaker


def read_labelled_turns(labels: str | Path, folder: str | Path) -> list[LabelledTurn]:
    """labels: the JSON file. folder: of ConvAI2's files. Raises ValueError where a turn is not the one that was labelled."""
    found: list[LabelledTurn] = []
    lines: dict[str, list[str]] = {}
    for turn in json.loads(Path(labels).read_text(encoding="utf-8"))["turns"]:
        name = turn["file"]
        if name not in lines:
            lines[name] = Path(folder, name).read_text(encoding="utf-8").split("\n")
        text = lines[name][turn["line"] - 1].split("\t")[1].strip()
        if hashlib.sha1(text.encode()).hexdigest()[:12] != turn["sha1"]:
            raise ValueError(f"{Path(folder, name)}:{turn['line']} is not the turn that was labelled: '{text}'.")
        found.append(LabelledTurn(name, text, tuple(text[start:end] for start, end in turn["objects"])))
    return found


def score_labelled_turns(turns: Sequence[LabelledTurn], found: Sequence[Sequence[Triple]]) -> dict[str, float]:
    """Precision, recall and F1 of "states something of its speaker", and F1 of the objects, each of which may agree once."""
    hits = sum(bool(turn.objects) and bool(triples) for turn, triples in zip(turns, found, strict=True))
    agreed = 0
    for turn, triples in zip(turns, found, strict=True):
        left = [triple.object for triple in triples]
        for obj in turn.objects:
            match = next((one for one in left if objects_agree(one, obj)), None)
            if match is not None:
                left.remove(match)
                agreed += 1
    objects = sum(len(turn.objects) for turn in turns) + sum(len(triples) for triples in found)
    precision = hits / max(1, sum(bool(triples) for triples in found))
    recall = hits / max(1, sum(bool(turn.objects) for turn in turns))
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(1e-9, precision + recall),
        "object_f1": 2 * agreed / max(1, objects),
    }


def objects_agree(one: str, other: str) -> bool:
    """Whether two objects share half of their words (Dice), articles and possessives aside."""
    words = [
        set(re.findall(r"[\w']+", text.casefold())) - {"a", "an", "the", "my", "our", "some"} for text in (one, other)
    ]
    return 4 * len(words[0] & words[1]) >= len(words[0]) + len(words[1]) > 0
