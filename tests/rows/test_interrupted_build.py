"""Builds that are killed, and builds at the same time: the rows are those of an undisturbed build."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

BUILD = """
import json, sys
import idl_hf
from datasets import load_dataset
data, cache, rows = sys.argv[1:]
made = load_dataset("idl_hf/dialogues_idl", "dpoc", data_dir=data, cache_dir=cache, encoder="offline", targets="all")
with open(rows, "w") as file:
    json.dump({split: made[split].to_list() for split in made}, file)
"""


def start(folder: Path, data: Path, name: str = "rows") -> subprocess.Popen:
    """Start a build with all of its caches in `folder`."""
    caches = {"IDL_HF_CACHE": str(folder / "idl_hf"), "HF_HOME": str(folder / "hf"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BUILD, str(data), str(folder / "datasets"), str(folder / f"{name}.json")]
    return subprocess.Popen(command, env={**os.environ, **caches}, stderr=subprocess.DEVNULL)


def rows(folder: Path, name: str = "rows") -> dict:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, sample_data):
    """Return (rows, seconds from the first vector written to the end)."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(folder, sample_data)
    begun = wait_for_vectors(folder, process)
    assert process.wait() == 0
    return rows(folder), time.monotonic() - begun


def wait_for_vectors(folder: Path, process: subprocess.Popen) -> float:
    """Wait until the build has opened its cache of vectors, so that a kill hits work and not imports."""
    while not list(folder.glob("idl_hf/embeddings/*.sqlite")):
        assert process.poll() is None
        time.sleep(0.01)
    return time.monotonic()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_build_killed_twice_is_finished_by_the_next(undisturbed, sample_data, tmp_path, seed):
    expected, seconds = undisturbed
    rng = random.Random(seed)
    for _ in range(2):
        process = start(tmp_path, sample_data)
        wait_for_vectors(tmp_path, process)
        time.sleep(rng.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
        (tmp_path / "rows.json").unlink(missing_ok=True)
    assert start(tmp_path, sample_data).wait() == 0
    assert rows(tmp_path) == expected


@pytest.mark.slow
def test_two_builds_at_once_make_the_same_rows_and_sound_caches(undisturbed, sample_data, tmp_path):
    processes = [start(tmp_path, sample_data, name) for name in ("first", "second")]
    assert [process.wait() for process in processes] == [0, 0]
    assert rows(tmp_path, "first") == rows(tmp_path, "second") == undisturbed[0]
    caches = list((tmp_path / "idl_hf").rglob("*.sqlite"))
    assert len(caches) == 2
    for cache in caches:
        with sqlite3.connect(cache) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
