"""The benchmark runs and reports what it measured; no test asserts a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_reports_every_variant(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "dpoc_dialogue.py"), "--quick", "--output_dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "dpoc_dialogue.json").read_text())
    assert len(results["seconds"]) == len(results["peak_bytes"]) == 8
    assert all(len(taken) == 1 and taken[0] > 0 for taken in results["seconds"].values())
    assert all(used > 0 for used in results["peak_bytes"].values())
    assert [list(by_count) for by_count in results["growth"].values()] == [["1", "2", "3"]] * 2
    report = (tmp_path / "dpoc_dialogue.md").read_text()
    assert report.count("| DPOC, tree |") == 1 + 3
    assert report.count("| DPOC, tree, precomputed |") == 1 + 6
    assert report.strip() in done.stdout
    assert (tmp_path / "dpoc_dialogue.svg").stat().st_size > 0
