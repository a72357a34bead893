"""The benchmark runs; the two ways to attend agree as far as their precision goes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_reports_time_and_error():
    command = [sys.executable, str(ROOT / "benchmarks" / "packed_attention.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert [line[:2] for line in lines] == [[n, t] for n in ("64", "200") for t in ("float32", "bfloat16")]
    for line in lines:
        limit = 1e-5 if line[1] == "float32" else 0.05
        assert 0 < float(line[5]) < limit
        assert 0 < float(line[6]) < limit
