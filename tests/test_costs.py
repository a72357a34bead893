"""What importing a folder and asking for help may cost: a new process tells what it has loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from idl_hf.cli import VERBS

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "trl", "datasets", "fastapi", "uvicorn")
LIGHT = ("arguments", "command_line", "schema", "prompting", "cache", "models.identity", "training.launch")
NO_TORCH = (
    "rows.arguments", "rows.options", "rows.people", "rows.references", "rows.generate", "rows.builder",
    "rows.parquet", "training.data", "explore.dataset", "explore.show", "explore.stats", "explore.extract",
    "explore.charts", "chat.terminal", "chat.server", "hub.push", "encoding",
    "evaluation.human", "evaluation.judging", "evaluation.verb", "evaluation.written",
)  # fmt: skip
FOLDERS = ("report", "corpora")


def loaded(code: str) -> set[str]:
    """Which of HEAVY a new process has loaded after it ran some code."""
    code = f"import sys\n{code}\nprint('loaded:', *(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("words", [["--help"], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_help_loads_nothing_heavy(words):
    assert loaded(f"from idl_hf.cli import main\nassert main({words}) == 0") == set()


def test_what_all_folders_build_on_loads_nothing_heavy():
    assert loaded("\n".join(f"import idl_hf.{name}" for name in LIGHT)) == set()


def test_rows_reports_corpora_and_what_explores_them_load_no_torch():
    files = [path for folder in FOLDERS for path in sorted((ROOT / "idl_hf" / folder).glob("[!_]*.py"))]
    names = [*NO_TORCH, *(f"{path.parent.name}.{path.stem}" for path in files)]
    assert loaded("\n".join(f"import idl_hf.{name}" for name in names)) <= {"datasets"}
