"""The benchmark that kills things runs, and what it killed ended the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_what_is_killed_and_run_again_makes_the_same(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "chaos.py"), "--quick", "--output_dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    (place,) = json.loads((tmp_path / "chaos.json").read_text())["places"].values()
    assert place["the same"] == place["tries"] == 1
    assert "| stats | " in done.stdout
