"""The argument checks that metrics share: a copy of metrics/_rows.py in the folder of each metric that uses them."""

import runpy
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "metrics" / "_rows.py"
SCRIPT = ROOT / "utils" / "fix_copies.py"


@pytest.fixture
def fix_copies(monkeypatch, capsys):
    """Runs utils/fix_copies.py with arguments: (exit status, printed lines)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return ended.value.code, capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def checkout(tmp_path):
    """Copy the metrics' folders, and the pages made from them, to where a test may change them."""
    for folder in ("metrics", "docs/reference"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_the_copies_equal_their_source(fix_copies):
    copies = list(ROOT.glob("metrics/*/_rows.py"))
    assert len(copies) > 1
    for copy in copies:
        assert copy.read_bytes() == SOURCE.read_bytes(), copy
    assert fix_copies("--check") == (0, [])


def test_who_uses_the_checks_has_a_copy_and_nobody_else():
    for metric in (card.parent for card in ROOT.glob("metrics/*/README.md")):
        used = "from ._rows import" in (metric / f"{metric.name}.py").read_text(encoding="utf-8")
        assert (metric / "_rows.py").is_file() == used, metric


@pytest.mark.parametrize("change", ["a changed copy", "a missing copy", "a changed source"])
def test_check_notices_and_a_run_repairs(checkout, fix_copies, change):
    copy = checkout / "metrics" / "p_co" / "_rows.py"
    if change == "a missing copy":
        copy.unlink()
    else:
        changed = copy if change == "a changed copy" else checkout / "metrics" / "_rows.py"
        changed.write_text(changed.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in checkout.rglob("*.py")}
    status, told = fix_copies("--check", "--root", checkout)
    assert status == 1
    assert "differs: metrics/p_co/_rows.py" in told
    assert (len(told) > 1) == (change == "a changed source")
    assert before == {path: path.read_bytes() for path in checkout.rglob("*.py")}, "--check must write nothing"
    assert fix_copies("--root", checkout)[0] == 0
    assert copy.read_bytes() == (checkout / "metrics" / "_rows.py").read_bytes()
    assert fix_copies("--check", "--root", checkout) == (0, [])
