"""The benchmark that kills and disturbs things runs, and what it disturbed ended the same."""

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
    for name, place in json.loads((tmp_path / "chaos.json").read_text())["places"].items():
        assert place["the same"] == place["tries"] == 1, place["failed"]
        assert f"| {name} | " in done.stdout
