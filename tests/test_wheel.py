"""The wheel holds all that the public calls need, and serves them from another folder."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(target), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(target.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_scripts_metrics_recipes_and_samples(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        "idl_hf/dataset_scripts/convai2_idl.py", "idl_hf/dataset_scripts/dialogues_idl.py",
        "idl_hf/metrics/p_co/p_co.py",
        "idl_hf/metrics/p_f1/README.md", "idl_hf/recipes/msl_llama2_7b_chat.yaml", "idl_hf/sample_data/train.jsonl",
        "idl_hf/sample_data/validation.jsonl", "idl_hf/py.typed", "idl_hf/training/accelerate_configs/zero3.yaml",
        "idl_hf/experiments/table3.yaml", "idl_hf/experiments/scales/paper.yaml",
    }  # fmt: skip
    assert expected <= names
    assert not [name for name in names if name.startswith(("tests", "examples"))]


@pytest.mark.slow
def test_an_installed_wheel_serves_load_dataset_and_evaluate(wheel, tmp_path):
    """In an environment of its own that sees the dependencies of this one, but not the checkout."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", str(wheel)], check=True)
    packages = next((Path(sys.prefix) / "lib").glob("python*/site-packages"))
    code = f"""
import sys
sys.path.append({str(packages)!r})
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
import idl_hf
assert {str(environment)!r} in idl_hf.__file__, idl_hf.__file__
import evaluate
from datasets import load_dataset
from idl_hf.demo import SAMPLE_DATA
rows = load_dataset("idl_hf/dialogues_idl", "dpoc", data_dir=str(SAMPLE_DATA), encoder="offline")
print(rows["train"].column_names)
print(evaluate.load("p_co").compute(predictions=["a dog"], histories=[["a dog"]]))
"""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "criterion" in done.stdout
    assert "'p_co': 1.0" in done.stdout or "'p_co': 0.99" in done.stdout
