"""Scores of persona extractors, on the worked numbers and on sentences that state nothing."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from idl_hf.persona import patterns
from idl_hf.persona.accuracy import evaluate_extractor, one_by_one
from idl_hf.persona.triples import format_prompt, format_sample
from idl_hf.schema import Triple

ROOT = Path(__file__).parents[2]
SENTENCES = ["i have two dogs .", "hi", "i live in texas ."]
GOLD = [[DOGS], [], [TEXAS]] = patterns.extract(SENTENCES)


def sample(sentences, triples):
    return {"prompt": format_prompt(sentences), "completion": format_sample(triples), "sentences": sentences}


def scores(found):
    return evaluate_extractor(lambda _: [found], [sample(SENTENCES, GOLD)])


def test_worked_numbers(vectors):
    cases = vectors("extractor")["accuracy"]
    assert len(cases) == 7
    for case in cases:
        gold, predicted = ([Triple(s, r, o) for o, r, s in case[side]] for side in ("gold", "pred"))
        found = evaluate_extractor(lambda _, p=predicted: [[p]], [sample(["all of it"], [gold])])
        assert found["sample_accuracy"] == case["sample_correct"], case["name"]
        assert found["triple_accuracy"] == pytest.approx(case["positional_triple_accuracy"]), case["name"]
        assert found["precision"] == pytest.approx(case["triple_precision"]), case["name"]
        assert found["recall"] == pytest.approx(case["triple_recall"]), case["name"]


def test_all_right_is_one_everywhere():
    found = scores(GOLD)
    assert found.pop("samples") == 1
    assert found.pop("sentences") == 3
    assert found.pop("sentences_per_second") > 0
    assert set(found.values()) == {1.0}


def test_a_triple_of_the_wrong_sentence_is_wrong():
    found = scores([[], [DOGS], [TEXAS]])
    assert found["f1"] == found["persona_precision"] == found["persona_recall"] == 0.5


def test_a_wrong_relation_leaves_object_and_utterance_right():
    found = scores([[Triple("i", "own", "two dogs")], [], [TEXAS]])
    assert (found["triple_accuracy"], found["f1"], found["object_f1"], found["persona_recall"]) == (0.5, 0.5, 1.0, 1.0)


def test_where_all_sentences_state_something_precision_of_utterances_tells_nothing():
    found = evaluate_extractor(lambda _: [[[DOGS]]], [sample(SENTENCES[:1], GOLD[:1])])
    assert math.isnan(found["persona_precision"])


def test_extractors_of_utterances_keep_to_their_samples():
    samples = [SENTENCES[:1], SENTENCES[1:], SENTENCES]
    assert one_by_one(patterns.extract)(samples) == [[GOLD[0]], GOLD[1:], GOLD]


def test_the_example_writes_a_table(tiny_llama, tokenizer, tmp_path):
    tiny_llama().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    lines = [json.dumps(sample(SENTENCES, GOLD)) for _ in range(3)]
    (tmp_path / "validation.jsonl").write_text("\n".join(lines))
    model, output = str(tmp_path / "model"), str(tmp_path / "out" / "table.md")
    command = [
        sys.executable,
        str(ROOT / "examples" / "evaluate_extractor.py"),
        "--data",
        str(tmp_path / "validation.jsonl"),
    ]
    command += ["--instruct", model, "--models", model, "--max_samples", "2", "--output", output]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    table = Path(output).read_text().splitlines()
    assert table[0] == "2 samples of 6 sentences in all; scores x 100."
    assert [line.split(" | ")[1] for line in table[4:]] == ["100.0", "0.0", "0.0", "0.0"]
    assert len(table) == 8
