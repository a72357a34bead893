"""The benchmark runs and reports what it measured; no test asserts a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_reports_every_variant(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "dpoc_step.py"), "--quick", "--output_dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "dpoc_step.json").read_text())
    assert list(results["seconds"]) == ["32", "64"]
    for by_variant in results["seconds"].values():
        assert len(by_variant) == 7
        assert all(len(values) == 1 and values[0] > 0 for values in by_variant.values())
    assert all(used > 0 for used in results["peak_bytes"]["64"].values())
    report = (tmp_path / "dpoc_step.md").read_text()
    assert report.count("DPO, TRL") > 4
    assert report.strip() in done.stdout
    assert (tmp_path / "dpoc_step.svg").stat().st_size > 0
