"""The precision is the machine's: said once, overridden by name, and the same for training and evaluation."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from idl_hf import machine
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.models.loading import load_model
from idl_hf.training.stages import MSLConfig

ROOT = Path(__file__).parents[1]


@pytest.fixture
def on_machine(monkeypatch):
    """Pretends to be a machine without a GPU, whose processor has bfloat16 instructions or not."""

    def pretend(has_bfloat16: bool) -> None:
        monkeypatch.delenv(machine.PRECISION_VARIABLE, raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bfloat16)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        machine.fast_precision.cache_clear()

    yield pretend
    machine.fast_precision.cache_clear()


@pytest.mark.parametrize("config", [DPOCConfig, MSLConfig])
@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_training_takes_bfloat16_only_where_the_processor_computes_in_it(config, has_bfloat16, on_machine, tmp_path):
    on_machine(has_bfloat16)
    args = config(str(tmp_path), use_cpu=True)
    assert (args.bf16, args.fp16) == (has_bfloat16, False)
    assert config(str(tmp_path)).use_cpu, "a machine without a GPU trains on its processor unasked"
    assert config(str(tmp_path), use_cpu=True, bf16=True).bf16, "what is asked for wins"
    assert not config(str(tmp_path), use_cpu=True, bf16=False).bf16


@pytest.mark.parametrize(("has_bfloat16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_evaluation_computes_in_the_same_precision(has_bfloat16, dtype, on_machine, tiny_llama, tokenizer, tmp_path):
    on_machine(has_bfloat16)
    tiny_llama().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_model(str(tmp_path))[0].dtype == dtype


def test_the_choice_is_said_once_and_can_be_overridden(on_machine, monkeypatch, caplog):
    on_machine(False)
    with caplog.at_level(logging.INFO, "idl_hf"):
        machine.fast_precision("cpu")
        machine.fast_precision("cpu")
    assert [record.message for record in caplog.records] == [
        "Computing in float32 on cpu: the processor has no instructions for bfloat16."
    ]
    machine.fast_precision.cache_clear()
    monkeypatch.setenv(machine.PRECISION_VARIABLE, "bfloat16")
    assert machine.fast_precision("cpu") == torch.bfloat16
    machine.fast_precision.cache_clear()
    monkeypatch.setenv(machine.PRECISION_VARIABLE, "bf16")
    with pytest.raises(ValueError, match="must be one of float32, bfloat16, float16, found 'bf16'"):
        machine.fast_precision("cpu")


@pytest.mark.parametrize("launched", ["bf16", "fp16", "no"])
def test_the_machine_decides_on_precision_and_no_launch(launched, on_machine, monkeypatch, tmp_path):
    on_machine(False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    assert MSLConfig(str(tmp_path), use_cpu=True).mixed_precision == "no"
    assert MSLConfig(str(tmp_path), use_cpu=True, bf16=True).mixed_precision == "bf16"


@pytest.fixture
def threads_of(monkeypatch):
    """Returns the threads that a process settles on, of 1 that it starts with, by how it was launched."""

    def settle(environment, launcher=(), given=(), gpu=False):
        for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        parent = SimpleNamespace(environ=lambda: dict(given), cmdline=lambda: ["accelerate", "launch", *launcher])
        monkeypatch.setattr(machine.psutil, "Process", lambda _: parent)
        monkeypatch.setattr(machine, "core_count", lambda: 8)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpu)
        torch.set_num_threads(1)
        machine.settle_threads()
        return torch.get_num_threads()

    before = torch.get_num_threads()
    yield settle
    torch.set_num_threads(before)


ACCELERATE = {"ACCELERATE_MIXED_PRECISION": "no", "OMP_NUM_THREADS": "1"}  # what a launch leaves in each process


def test_a_launched_process_takes_its_share_of_the_cores_unless_the_user_said_how_many(threads_of, caplog):
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "3", "OMP_NUM_THREADS": "1"}
    with caplog.at_level(logging.INFO, "idl_hf"):
        assert threads_of(ACCELERATE) == 8
        assert threads_of({**ACCELERATE, "LOCAL_WORLD_SIZE": "2"}) == 4
        assert threads_of(torchrun) == 2
    assert len(caplog.records) == 3
    machine.settle_threads()
    assert len(caplog.records) == 3, "said once"
    assert threads_of({**ACCELERATE, "LOCAL_WORLD_SIZE": "16"}) == 1
    assert threads_of({"OMP_NUM_THREADS": "1"}) == 1, "nothing was launched"
    assert threads_of({**ACCELERATE, "OMP_NUM_THREADS": "3"}) == 1, "chosen before torch began"
    assert threads_of(ACCELERATE, given={"OMP_NUM_THREADS": "1"}) == 1
    assert threads_of(ACCELERATE, ["--num_cpu_threads_per_process", "1"]) == 1
    assert threads_of(ACCELERATE, ["--num-cpu-threads-per-process=1"]) == 1
    assert threads_of(ACCELERATE, gpu=True) == 1


@pytest.mark.slow
def test_accelerate_launch_computes_on_all_cores(tmp_path):
    (tmp_path / "told.py").write_text(
        "import torch\nfrom idl_hf.training.stages import MSLConfig\n"
        f"MSLConfig({str(tmp_path)!r}, use_cpu=True)\nprint('threads', torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", "accelerate.commands.launch", str(tmp_path / "told.py")]
    environment |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert f"threads {machine.core_count()}" in done.stdout, done.stderr


def test_no_setting_for_a_cpu_fixes_the_precision():
    """Of recipes, scales, the demo and the benchmarks; only the paper's own settings, for its GPU, may."""
    files = [*ROOT.glob("examples/**/*.yaml"), *ROOT.glob("benchmarks/*.py"), ROOT / "idl_hf" / "demo.py"]
    fixed = [file.name for file in files if re.search(r"bf16[\"']?\s*[:=]\s*true", file.read_text(), re.IGNORECASE)]
    assert sorted(fixed) == [
        "dpoc_llama2_7b_chat.yaml", "extractor_llama2_7b.yaml", "msl_llama2_7b_chat.yaml", "paper.yaml",
    ]  # fmt: skip
