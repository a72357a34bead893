"""The benchmark runs; batches write what single prompts write."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_reports_both_ways_and_that_they_agree():
    command = [sys.executable, str(ROOT / "benchmarks" / "extract.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    (cells,) = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| 4 ")]
    assert float(cells[1]) > 0
    assert float(cells[2]) > 0
    assert cells[-1] == "6 of 6"
    assert "Rules: " in done.stdout
