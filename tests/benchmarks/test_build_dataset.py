"""The benchmark of builds, whole and tiny; ours and the straightforward form find the same. No test asserts a time."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "build_dataset.py"
PARTS = ["conved", "order", "cold", "warm", "peer", "memory", "scale"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """(folder, what was printed, records by part)"""
    folder = tmp_path_factory.mktemp("build_dataset")
    command = [sys.executable, str(SCRIPT), "--quick", "--output_dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout, json.loads((folder / "build_dataset.json").read_text())["parts"]


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.mark.slow
def test_every_part_is_in_both_files_and_printed(bench):
    folder, printed, parts = bench
    report = (folder / "build_dataset.md").read_text()
    assert [line.removeprefix("## ") for line in report.splitlines() if line.startswith("## ")] == PARTS
    assert list(parts) == PARTS
    assert all(parts.values())
    assert report.count("\n| ") == sum(1 + len(records) for records in parts.values())
    assert report.strip() in printed
    assert sorted(path.name for path in folder.iterdir()) == ["build_dataset.json", "build_dataset.md"]


@pytest.mark.slow
def test_ours_finds_what_the_straightforward_form_finds(bench):
    _, _, parts = bench
    assert [record["cosines by"] for record in parts["conved"]] == ["NumPy", "torch"]
    assert all(record["largest difference"] < 1e-6 for record in parts["conved"])
    assert [record["the same"] for record in parts["order"]] == [record["orders"] for record in parts["order"]]
    assert all(record["largest difference in cost"] < 1e-6 for record in parts["peer"])


@pytest.mark.slow
def test_a_text_is_encoded_once_and_not_at_all_where_its_vector_is_cached(bench):
    _, _, parts = bench
    assert all(record["each encoded once"] for record in parts["cold"])
    encoded = {record["cached"]: record["texts encoded"] for record in parts["warm"] if record["config"] == "dpoc"}
    assert encoded == {"nothing": parts["cold"][0]["unique texts"], "vectors": 0, "vectors and choices": 0}


@pytest.mark.slow
def test_a_stage_takes_time_only_where_it_runs(bench):
    _, _, parts = bench
    for record in parts["warm"]:
        assert (record["encoding, %"] > 0) == (record["texts encoded"] > 0)
        assert (record["choosing, %"] > 0) == (record["config"] != "sessions")
    for record in [*parts["cold"], *parts["warm"], *parts["scale"]]:
        assert record["rest, %"] > 0


@pytest.mark.slow
def test_peak_memory_is_that_of_the_build_alone(bench):
    """This process's own peak, torch within, is not in what is said of builds that encode nothing."""
    _, _, parts = bench
    for record in parts["memory"]:
        assert 0 < max(record["1 x the people, MiB"] + record["2 x the people, MiB"]) < parts["scale"][0]["peak, MiB"]


def test_the_straightforward_distance_gives_the_worked_numbers(script, vectors):
    cases = [case for case in vectors("conved")["cases"] if case["name"] != "zero_vector"]  # no encoder gives one
    for case in cases:
        a, b = ((side["speakers"], script["np"].array(side["vectors"])) for side in (case["a"], case["b"]))
        found = script["slow_distance"](a, b, script["numpy_cosine"])
        assert found == pytest.approx(case["expected"]["5.0"], abs=1e-9), case["name"]
    assert len(cases) == 15


def test_repeated_people_are_new_people_with_new_words(script, sample_data, tmp_path):
    people = script["read_people"](script["Settings"](data_dir=str(sample_data)))
    count = sum(len(person.dialogues) for person in people)
    folder = script["write_dialogues"](people, str(tmp_path), 2 * count + 1)
    twice = script["read_people"](script["Settings"](data_dir=folder))
    said = [{turn.text for dialogue in person.dialogues for turn in dialogue.turns} for person in twice]
    assert sum(len(person.dialogues) for person in twice) == 2 * count + 1
    assert len(twice) == 2 * len(people) + 1
    assert not set.union(*said[: len(people)]) & set.union(*said[len(people) :])


def test_an_unknown_part_is_refused(script):
    with pytest.raises(ValueError, match=r"Unknown part colds\. The parts are: conved, order, cold"):
        script["Settings"](parts=["colds", "warm"])
