"""The benchmark of extractors in SPI runs, and measures what the rows are made by."""

import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset

import idl_hf  # noqa: F401 (registers the datasets)
from idl_hf.corpora import jsonl
from idl_hf.models.likelihood import nll_by_person
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import People
from idl_hf.rows.references import represent
from idl_hf.schema import Dialogue, Turn, group_by_person
from idl_hf.training.data import fit_rows

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "spi_extractors.py"
OPTIONS = {"targets": "all", "reply": "all", "encoder": "offline"}


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def people(script, sample_data, encoder):
    """Return the people of the sample data by extractor."""
    persons = group_by_person(jsonl.read_dialogues(sample_data / "validation.jsonl"))
    return {"patterns": People(persons, encoder), "none": script["Unmarked"](persons, encoder, "none")}


def every_dialogue(people):
    return [dialogue for own in people.usable.values() for dialogue in own]


@pytest.mark.slow
def test_quick_run_holds_none_against_the_rules():
    done = subprocess.run([sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith("|")]
    header, _, rules, none = [[cell.strip() for cell in line] for line in lines]
    assert {len(header)} == {len(rules), len(none)}
    rules, none = (dict(zip(header, cells, strict=True)) for cells in (rules, none))
    assert (rules["people"], rules["dialogues"], rules["persona gain"]) == ("4", "24", "")
    assert none["utterances marked"] == rules["other references"] == "0.0%"
    assert rules["ARI with the first"] == "1.000 [1.000, 1.000]"
    assert none["utterances marked"] != rules["utterances marked"]
    assert none["other references"] != rules["other references"]
    assert float(none["ARI with the first"].split()[0]) < 0.9
    assert rules["ARI without an utterance"] != none["ARI without an utterance"]


@pytest.mark.parametrize("name", ["patterns", "none"])
def test_what_is_clustered_is_what_the_rows_cluster(script, people, name):
    for dialogue in every_dialogue(people[name]):
        whole = represent(dialogue, people[name], RowOptions(**OPTIONS)).whole
        assert script["persona_text"](dialogue.turns, people[name]) == whole


def test_without_an_extractor_all_utterances_stand_for_a_dialogue(script, people):
    for dialogue in every_dialogue(people["none"]):
        assert script["persona_text"](dialogue.turns, people["none"]) == "\n".join(dialogue.texts("self"))


@pytest.mark.parametrize("name", ["patterns", "none"])
def test_labels_are_of_every_seed_and_a_seed_is_repeatable(script, people, name):
    labels = script["clusterings"](people[name], RowOptions(**OPTIONS), 3)
    again = script["clusterings"](people[name], RowOptions(**OPTIONS), 2)
    for who, own in people[name].usable.items():
        assert [np.shape(found) for found in labels[who]] == [(3, len(own))] * 2
        np.testing.assert_array_equal(np.stack(again[who]), np.stack(labels[who])[:, :2])


def test_one_utterance_of_the_person_is_left_out_and_which_depends_on_the_seed(script, people):
    leave_out = script["leave_out"]
    for dialogue in every_dialogue(people["none"]):
        kept = [leave_out(dialogue, seed) for seed in range(8)]
        for less in kept:
            assert less.texts("partner") == dialogue.texts("partner")
            assert (Counter(dialogue.texts("self")) - Counter(less.texts("self"))).total() == 1
        assert kept == [leave_out(dialogue, seed) for seed in range(8)]
        assert len(set(kept)) > 1


def test_the_only_utterance_of_a_person_is_kept(script):
    dialogue = Dialogue("ruth", "ruth-1", (Turn("partner", "any plans?"), Turn("self", "aye, mending nets.")))
    assert script["leave_out"](dialogue, 0) == dialogue


def test_agreement_is_of_the_groups_and_not_of_their_numbers(script):
    groups = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]), np.array([0, 1, 0, 1])
    assert script["agreement"]([groups[:2]]) == 1.0
    assert script["agreement"]([groups[:2], groups[1:]]) == pytest.approx((1.0 - 0.5) / 2)


def test_persona_gain_is_that_of_the_builders_rows(script, people, sample_data, tiny_llama, tokenizer):
    model = tiny_llama()
    settings = script["Settings"](dialogues_per_person=1, max_prompt_tokens=1024)
    gain = script["gain_of"](people["patterns"], RowOptions(**OPTIONS), settings, model, tokenizer)
    expected = {}
    for conditioning in ("references", "other_person"):
        options = {**OPTIONS, "conditioning": conditioning, "data_dir": str(sample_data)}
        rows = load_dataset("idl_hf/dialogues_idl", "msl", split="validation", **options)
        firsts = [rows["person_id"].index(who) for who in dict.fromkeys(rows["person_id"])]
        expected[conditioning] = nll_by_person(model, tokenizer, fit_rows(rows.select(firsts), tokenizer, 1024))
    own, other = expected.values()
    assert gain == pytest.approx({who: other[who] - own[who] for who in own}, abs=1e-6)
    assert any(abs(value) > 1e-5 for value in gain.values())


@pytest.mark.slow
def test_gains_are_compared_with_that_of_the_first_extractor(script, tiny_llama, tokenizer, tmp_path):
    tiny_llama(initializer_range=0.5).save_pretrained(tmp_path)  # far from even odds, so that prompts matter
    tokenizer.save_pretrained(tmp_path)
    settings = script["Settings"](**script["QUICK"] | {"dialogues_per_person": None}, adapter=str(tmp_path))
    _, *lines = script["table"](settings)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    first, second = (dict(zip(script["COLUMNS"], row, strict=True)) for row in cells)
    gains = [float(row["persona gain"].split()[0]) for row in (first, second)]
    difference = float(second["gain minus the first's"].split()[0])
    assert first["gain minus the first's"] == "0.000 [0.000, 0.000]"
    assert abs(difference) > 0.002
    assert difference == pytest.approx(gains[1] - gains[0], abs=0.0015)
