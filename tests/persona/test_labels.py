"""How good the rules are on 300 real turns of ConvAI2 that were labelled by hand.

The labels hold places and digests only; the turns themselves are read from the shared data.
"""

import json
from pathlib import Path

import pytest

from idl_hf.persona.accuracy import objects_agree, read_labelled_turns, score_labelled_turns
from idl_hf.persona.patterns import extract

LABELS = Path(__file__).parents[1] / "data" / "persona_labels.json"
HALVES = {"dev": "train_self_original_no_cands.txt", "test": "valid_self_original_no_cands.txt"}


# Measured when the labels were made; less than this, with a margin of about 0.03, is a loss
LEVELS = {
    "dev": {"precision": 0.95, "recall": 0.84, "f1": 0.9, "object_f1": 0.79},
    "test": {"precision": 0.95, "recall": 0.79, "f1": 0.87, "object_f1": 0.7},
}


@pytest.mark.parametrize("half", LEVELS)
def test_the_rules_are_as_good_as_they_were_measured(shared, half):
    turns = read_labelled_turns(LABELS, shared / "data" / "convai2")
    turns = [turn for turn in turns if turn.file == HALVES[half]]
    assert len(turns) == 150
    measured = score_labelled_turns(turns, extract([turn.text for turn in turns]))
    assert all(measured[name] >= level for name, level in LEVELS[half].items()), measured


def test_the_labels_hold_places_and_no_words():
    read = json.loads(LABELS.read_text(encoding="utf-8"))
    assert len(read["turns"]) == 300
    for turn in read["turns"]:
        assert set(turn) == {"file", "line", "sha1", "persona", "objects", "relations"}
        assert turn["persona"] == bool(turn["objects"])
        assert len(turn["objects"]) == len(turn["relations"])
        assert all(0 <= start < end for start, end in turn["objects"])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("two dogs", "Two dogs", True),
        ("dogs", "two dogs", True),
        ("my dog", "the dog", True),
        ("play the guitar", "guitar", True),
        ("dog", "cat", False),
        ("dog", "big old brown dog", False),
        ("the", "a", False),
    ],
)
def test_objects_agree_when_they_share_half_of_their_words(one, other, expected):
    assert objects_agree(one, other) is expected
