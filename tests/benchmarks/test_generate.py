"""The benchmark of generation runs, and all ways write the same. No test asserts a time."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_reports_all_ways_and_that_they_agree():
    command = [sys.executable, str(ROOT / "benchmarks" / "generate.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [cells[0] for cells in rows] == ["way", "shared", "in batches", "one by one"]
    for cells in rows[1:]:
        assert float(cells[2]) > 0
        assert cells[4] == "6 of 6"  # one by one takes part in the first of two turns
    assert "12 replies of 2 dialogues" in done.stdout
    assert rows[1][3] == "1.00 [1.00, 1.00]"
