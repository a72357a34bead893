"""What the benchmarks of DPOC's step share: models by shape, trainers ready for a step, time and memory of steps."""

import copy
import os
import platform
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import trl.trainer.utils
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedModel
from trl import DPOConfig, DPOTrainer

from common import Timed, memory, timed, tiny_model
from idl_hf import DPOCConfig, DPOCTrainer
from idl_hf.arguments import option
from idl_hf.machine import fast_precision
from idl_hf.models.offline import resolve_model

SHAPES = ("smollm2-135m", "llama-2-7b", "tiny")
COMPLETIONS = ("chosen", "criterion", "rejected")
Batches = list[dict[str, Any]]


@dataclass
class Setup:
    """On what it is measured."""

    device: str = option("cpu", "cpu or cuda.")
    dtype: str = option("", "bfloat16, on a CPU by autocast, or float32; or by the machine.")
    gradient_checkpointing: bool = option(True, "As TRL's default.")
    model_shape: str = option(SHAPES[0], "The first has its weights, others random ones.", SHAPES)
    output_dir: str = option("runs/benchmarks", "Where the files go.")
    quick: bool = option(False, "A tiny model and one turn: shows that it runs, no more.")

    def __post_init__(self) -> None:
        if self.quick:
            self.model_shape = "tiny"
        self.dtype = self.dtype or str(fast_precision(self.device)).removeprefix("torch.")

    def described(self) -> str:
        """Return it in words, for the head of a table."""
        checkpointing = "with" if self.gradient_checkpointing else "without"
        return (
            f"{self.model_shape}, {self.device} ({machine(self)}), {self.dtype}, {checkpointing} gradient "
            "checkpointing, LoRA r 8 on all linear layers, batch 1"
        )


def machine(setup: Setup) -> str:
    if setup.device == "cuda":
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} cores of {platform.machine()}, {torch.get_num_threads()} threads"


def build_model(setup: Setup) -> PreTrainedModel:
    """Return the model to train; on a CPU its weights are float32."""
    dtype = getattr(torch, setup.dtype) if setup.device == "cuda" else torch.float32
    if setup.model_shape == "smollm2-135m":
        model = AutoModelForCausalLM.from_pretrained(resolve_model("offline"), dtype=dtype, trust_remote_code=False)
        return model.to(setup.device)
    if setup.model_shape == "tiny":
        return tiny_model(num_key_value_heads=2)[0].to(setup.device, dtype)
    with torch.device(setup.device):  # LlamaConfig's defaults are the sizes of LLaMA-7B
        config = LlamaConfig(max_position_embeddings=4096)
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)


def build_trainer(model: PreTrainedModel, setup: Setup, precomputed: bool, **options: Any) -> DPOTrainer:
    """Return a trainer on a copy of `model` that shares its frozen weights: ours where there are options, or TRL's."""
    settings = {
        "output_dir": setup.output_dir, "bf16": setup.dtype == "bfloat16", "use_cpu": setup.device == "cpu",
        "gradient_checkpointing": setup.gradient_checkpointing, "max_length": None, "report_to": "none",
        "per_device_train_batch_size": 1, "disable_tqdm": True, **options,
    }  # fmt: skip
    trainer = (DPOCTrainer if options else DPOTrainer)(
        model=copy.deepcopy(model, {id(weight): weight for weight in model.parameters()}),
        args=(DPOCConfig if options else DPOConfig)(**settings),
        train_dataset=Dataset.from_dict({name: [f" {name}"] for name in ("prompt", *COMPLETIONS)}),
        processing_class=AutoTokenizer.from_pretrained(resolve_model("offline"), trust_remote_code=False),
        peft_config=LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.precompute_ref_logps = precomputed
    if setup.gradient_checkpointing:
        trainer.model.gradient_checkpointing_enable(trainer.args.gradient_checkpointing_kwargs)
    # What train() would do before its first step; the first of them installs autocast
    trainer.model_wrapped = trainer.accelerator.prepare_model(trainer.model)
    trainer.create_optimizer()
    return trainer


def step(trainer: DPOTrainer, batches: Batches, completions_only: bool = False) -> Timed:
    """Take the time of one forward and backward pass of each batch and the optimizer's step.

    completions_only: TRL's trainer as it is on CUDA; on a CPU it projects every position to the vocabulary.
    """

    def run() -> None:
        trainer.current_gradient_accumulation_steps = len(batches)
        for batch in batches:
            trainer.training_step(trainer.model, batch)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        synchronize()

    synchronize: Callable[[], Any] = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    synchronize()
    as_on_cuda = patch.object(trl.trainer.utils, "_use_triton", lambda device: True)
    with as_on_cuda if completions_only else nullcontext():
        return timed(run)


def peak_of(run: Callable[[], Any], setup: Setup) -> int:
    """Return the bytes that a call takes above what this process holds."""
    if setup.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    run()
    return memory("VmHWM") - before
