"""The argument checks that metrics share: a copy of metrics/_rows.py in the folder of each metric that uses them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "metrics" / "_rows.py"


def fix_copies(*arguments: object) -> subprocess.CompletedProcess:
    """Run utils/fix_copies.py as a developer does."""
    command = [sys.executable, ROOT / "utils" / "fix_copies.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path):
    """Copy the metrics' folders to where a test may change them."""
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def test_the_copies_equal_their_source():
    copies = list(ROOT.glob("metrics/*/_rows.py"))
    assert len(copies) > 1
    for copy in copies:
        assert copy.read_bytes() == SOURCE.read_bytes(), copy
    assert (fix_copies("--check").returncode, fix_copies("--check").stdout) == (0, "")


def test_who_uses_the_checks_has_a_copy_and_nobody_else():
    for metric in (card.parent for card in ROOT.glob("metrics/*/README.md")):
        used = "from ._rows import" in (metric / f"{metric.name}.py").read_text(encoding="utf-8")
        assert (metric / "_rows.py").is_file() == used, metric


@pytest.mark.parametrize("change", ["a changed copy", "a missing copy", "a changed source"])
def test_check_notices_and_a_run_repairs(checkout, change):
    copy = checkout / "metrics" / "p_co" / "_rows.py"
    if change == "a missing copy":
        copy.unlink()
    else:
        changed = copy if change == "a changed copy" else checkout / "metrics" / "_rows.py"
        changed.write_text(changed.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in checkout.rglob("*.py")}
    check = fix_copies("--check", "--root", checkout)
    assert check.returncode == 1
    assert "differs: metrics/p_co/_rows.py" in check.stdout.splitlines()
    assert (len(check.stdout.splitlines()) > 1) == (change == "a changed source")
    assert before == {path: path.read_bytes() for path in checkout.rglob("*.py")}, "--check must write nothing"
    assert fix_copies("--root", checkout).returncode == 0
    assert copy.read_bytes() == (checkout / "metrics" / "_rows.py").read_bytes()
    assert fix_copies("--check", "--root", checkout).returncode == 0
