"""examples/build_cluster.py makes the rows that load_dataset makes, however many tasks share the work."""

import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

import idl_hf  # noqa: F401 (registers the datasets)
from idl_hf.training.data import DataArguments

ROOT = Path(__file__).parents[2]


def build(output: Path, data: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "examples/build_cluster.py", "--dataset_name", "idl_hf/dialogues_idl"]
    command += ["--data_dir", str(data), "--output_dir", str(output), "--dataset_options", '{"encoder": "offline"}']
    return subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("config", [pytest.param("msl", marks=pytest.mark.slow), "dpoc"])
def test_three_tasks_make_the_same_rows_and_a_second_run_skips_them(config, sample_data, tmp_path):
    options = ["--config_name", config, "--tasks", "3", "--workers", "1"]
    first = build(tmp_path, sample_data, *options)
    assert first.returncode == 0, first.stderr[-2000:]
    files = {split: f"{tmp_path}/{config}/{split}-*.parquet" for split in ("train", "validation")}
    made = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    rows = load_dataset("idl_hf/dialogues_idl", config, data_dir=str(sample_data), encoder="offline")
    for split in files:
        assert made[split].features == rows[split].features
        assert made[split].to_list() == rows[split].to_list()
        assert DataArguments(str(tmp_path)).load(config, split).to_list() == rows[split].to_list()
    assert DataArguments(str(tmp_path)).row_options(config) == {"encoder": "offline"}
    if config == "msl":
        (tmp_path / config / "train-00001-of-00003.parquet").unlink()
        (tmp_path / config / "idl_config.json").unlink()
        second = build(tmp_path, sample_data, *options)
        assert "all 3 tasks have already been completed" in second.stderr
        other = build(tmp_path, sample_data, *options, "--dataset_options", '{"encoder": "offline", "seed": 1}')
        assert other.returncode == 1
        assert "holds the rows of another build" in other.stderr


def test_rows_of_another_kind_of_build_are_not_joined(sample_data, tmp_path):
    (tmp_path / "msl").mkdir()
    (tmp_path / "msl" / "train.parquet").touch()
    done = build(tmp_path, sample_data, "--config_name", "msl", "--tasks", "1")
    assert done.returncode == 1
    assert "holds the rows of another build" in done.stderr
