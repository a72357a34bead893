"""The benchmark of scores runs, and the metrics make the same numbers as its peers. No test asserts a time."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "score.py"


@pytest.fixture(scope="module")
def table():
    """The cells of each row by its first."""
    done = subprocess.run([sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith("| ")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows[1:]}


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.mark.slow
def test_every_metric_takes_time(table, script):
    labels = [", ".join([name, *options.values()]) for name, options, _, _ in script["RUNS"]]
    assert list(table) == [*labels, "all of the above", "score_replies"]
    assert sum(float(cells[0]) for cells in table.values()) > 0


@pytest.mark.slow
def test_ours_and_the_peers_agree(table):
    compared = {label: cells for label, cells in table.items() if cells[1]}
    assert len(compared) == 5
    for label, cells in compared.items():
        assert float(cells[4]) < 1e-9, label


def test_replies_share_words_with_their_references_and_histories_are_shared(script):
    columns = script["make_replies"](50, 3)
    assert {len(column) for column in columns.values()} == {50}
    overlapping = [bool(set(a.split()) & set(b.split())) for a, b in zip(*list(columns.values())[:2], strict=True)]
    assert sum(overlapping) > 40
    assert len({tuple(history) for history in columns["histories"]}) == 3
    assert columns == script["make_replies"](50, 3)
