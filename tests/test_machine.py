"""The precision is the machine's: said once, overridden by name, and the same for training and evaluation."""

import logging
import re
from pathlib import Path

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


def test_no_setting_for_a_cpu_fixes_the_precision():
    """Of recipes, scales, the demo and the benchmarks; only the paper's own settings, for its GPU, may."""
    files = [*ROOT.glob("examples/**/*.yaml"), *ROOT.glob("benchmarks/*.py"), ROOT / "idl_hf" / "demo.py"]
    fixed = [file.name for file in files if re.search(r"bf16[\"']?\s*[:=]\s*true", file.read_text(), re.IGNORECASE)]
    assert sorted(fixed) == [
        "dpoc_llama2_7b_chat.yaml", "extractor_llama2_7b.yaml", "msl_llama2_7b_chat.yaml", "paper.yaml",
    ]  # fmt: skip
