"""The rows of load_dataset are the same, byte for byte, whatever Python's hashes, the threads, the processes that make
them and the order of the files: digests of rows made in processes of their own, each with caches of its own."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOTH = ["a.jsonl", "b.jsonl"]
# The environment of the process, and how rows are made there; an import takes long, so that one process makes several
WAYS = {
    ("PYTHONHASHSEED=0", "OMP_NUM_THREADS=1"): {
        "plain": {"files": BOTH},
        "two processes": {"files": BOTH, "num_proc": 2},
        "streaming": {"files": BOTH, "streaming": True},
        "files in another order": {"files": BOTH[::-1]},
        "people in another order": {"files": ["shuffled.jsonl"]},
    },
    ("PYTHONHASHSEED=1", "OMP_NUM_THREADS=1"): {"other hashes": {"files": BOTH}},
    ("PYTHONHASHSEED=0", "OMP_NUM_THREADS=2"): {"two threads": {"files": BOTH}},
}
MAKE = """
import hashlib, json, os, sys
import idl_hf
from datasets import load_dataset
from idl_hf.rows import builder
from tests.rows.letters import Letters

folder, encoder, ways = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
if encoder == "letters":
    builder.SentenceEncoder = lambda name: Letters()
made = {}
for way, options in ways.items():
    os.environ["IDL_HF_CACHE"] = f"{folder}/caches/{way}"
    files = [f"{folder}/{name}" for name in options.pop("files")]
    options |= {"data_files": {"train": files}, "split": "train", "encoder": encoder}
    if "streaming" not in options:
        options["cache_dir"] = f"{folder}/caches/{way}/datasets"
    for config in ("msl", "dpoc"):
        rows = load_dataset("idl_hf/dialogues_idl", config, **options)
        made[f"{way}, {config}"] = [hashlib.sha256(json.dumps(row).encode()).hexdigest() for row in rows]
print(json.dumps(made))
"""


@pytest.fixture(scope="module", params=["letters", pytest.param("offline", marks=pytest.mark.slow)])
def made(request, sample_data, tmp_path_factory) -> dict[str, list[str]]:
    """Digests of rows, by way and config."""
    lines = (sample_data / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:24]
    people = [json.loads(line)["person_id"] for line in lines]
    order = random.Random(0).sample(sorted(set(people)), len(set(people)))
    shuffled = [line for name in order for line, own in zip(lines, people, strict=True) if own == name]
    folder = tmp_path_factory.mktemp("rows")
    for file, content in {"a": lines[:18], "b": lines[18:], "shuffled": shuffled}.items():
        (folder / f"{file}.jsonl").write_text("".join(content), encoding="utf-8")
    processes = []
    for variables, ways in WAYS.items():
        command = [sys.executable, "-c", MAKE, str(folder), request.param, json.dumps(ways)]
        environment = {**os.environ, **dict(variable.split("=") for variable in variables)}
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True))
    parts = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    return {name: digests for part in parts for name, digests in part.items()}


@pytest.mark.parametrize("config", ["msl", "dpoc"])
@pytest.mark.parametrize("way", [way for ways in WAYS.values() for way in ways])
def test_rows_are_the_same_however_they_are_made(made, way, config):
    expected, rows = made[f"plain, {config}"], made[f"{way}, {config}"]
    assert len(set(expected)) > 5
    if way.endswith("another order"):
        assert rows != expected, "the rows follow the order of the people"
        rows, expected = sorted(rows), sorted(expected)
    assert rows == expected
