"""One training step of DPOC (three completions) against one of DPO (two), by length of the prompt.

    python benchmarks/dpoc_step.py                                                         # SmolLM2-135M on this CPU
    python benchmarks/dpoc_step.py --device cuda --dtype bfloat16 --model_shape llama-2-7b  # random weights
    python benchmarks/dpoc_step.py --quick                                                 # tiny, for the test suite

A step is forward and backward of one row with LoRA on all linear layers, as the trainers' own `training_step` runs it.
All variants take turns in one process; a ratio is that of two steps of one turn. Peak memory is that of one step at
the longest prompt in a process of its own, above what the built trainer holds. Writes dpoc_step.json, .md and .svg.
"""

import copy
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import trl.trainer.utils
from datasets import Dataset
from matplotlib.figure import Figure
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, HfArgumentParser, LlamaConfig, PreTrainedModel
from trl import DPOConfig, DPOTrainer

from common import head, memory, progress, ratios, row, run_elsewhere, spread, take_turns, timed, tiny_model, write
from idl_hf import DPOCConfig, DPOCTrainer
from idl_hf.arguments import option
from idl_hf.machine import fast_precision
from idl_hf.models.offline import resolve_model

SHAPES = ("smollm2-135m", "llama-2-7b", "tiny")
OURS, THREE_ROWS, TRL, TWO_ROWS = "DPOC, shared prompt", "DPOC, three rows", "DPO, TRL", "DPO, completions only"
PRECOMPUTED = ", precomputed"
COMPLETIONS = ("chosen", "criterion", "rejected")
VARIANTS = [OURS, OURS + PRECOMPUTED, THREE_ROWS, TRL, TRL + PRECOMPUTED, TWO_ROWS, TWO_ROWS + PRECOMPUTED]
PEERS = {OURS: (TRL, TWO_ROWS), OURS + PRECOMPUTED: VARIANTS[3:], THREE_ROWS: (TRL,)}
Times = dict[int, dict[str, list[float]]]  # seconds of each step, by length of the prompt and variant


@dataclass
class Settings:
    """What is measured."""

    prompts: list[int] = field(default_factory=lambda: [256, 512, 1024, 2048], metadata={"help": "Prompt lengths."})
    completion: int = option(20, "Tokens of each completion.")
    repeats: int = option(5, "Turns, after one to warm up.")
    device: str = option("cpu", "cpu or cuda.")
    dtype: str = option("", "bfloat16, on a CPU by autocast, or float32; or by the machine.")
    gradient_checkpointing: bool = option(True, "As TRL's default.")
    model_shape: str = option(SHAPES[0], "The first has its weights, others random ones.", SHAPES)
    output_dir: str = option("runs/benchmarks", "Where the three files go.")
    quick: bool = option(False, "A tiny model and one turn: shows that it runs, no more.")

    def __post_init__(self) -> None:
        if self.quick:
            self.prompts, self.repeats, self.model_shape = [32, 64], 1, "tiny"
        self.dtype = self.dtype or str(fast_precision(self.device)).removeprefix("torch.")


def build_model(settings: Settings) -> PreTrainedModel:
    """Return the model to train; on a CPU its weights are float32."""
    dtype = getattr(torch, settings.dtype) if settings.device == "cuda" else torch.float32
    if settings.model_shape == "smollm2-135m":
        model = AutoModelForCausalLM.from_pretrained(resolve_model("offline"), dtype=dtype, trust_remote_code=False)
        return model.to(settings.device)
    if settings.model_shape == "tiny":
        return tiny_model(num_key_value_heads=2)[0].to(settings.device, dtype)
    with torch.device(settings.device):  # LlamaConfig's defaults are the sizes of LLaMA-7B
        config = LlamaConfig(max_position_embeddings=4096)
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)


def build_trainer(variant: str, model: PreTrainedModel, settings: Settings) -> DPOTrainer:
    """Return a trainer on a copy of `model` that shares its frozen weights."""
    ours = variant.startswith("DPOC")
    options = {
        "output_dir": settings.output_dir, "bf16": settings.dtype == "bfloat16", "use_cpu": settings.device == "cpu",
        "gradient_checkpointing": settings.gradient_checkpointing, "max_length": None, "report_to": "none",
        "per_device_train_batch_size": 1, "disable_tqdm": True,
    }  # fmt: skip
    options |= {"prefix_sharing": variant.startswith(OURS)} if ours else {}
    trainer = (DPOCTrainer if ours else DPOTrainer)(
        model=copy.deepcopy(model, {id(weight): weight for weight in model.parameters()}),
        args=(DPOCConfig if ours else DPOConfig)(**options),
        train_dataset=Dataset.from_dict({name: [f" {name}"] for name in ("prompt", *COMPLETIONS)}),
        processing_class=AutoTokenizer.from_pretrained(resolve_model("offline"), trust_remote_code=False),
        peft_config=LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.precompute_ref_logps = variant.endswith(PRECOMPUTED)
    if options["gradient_checkpointing"]:
        trainer.model.gradient_checkpointing_enable(trainer.args.gradient_checkpointing_kwargs)
    # What train() would do before its first step; the first of them installs autocast
    trainer.model_wrapped = trainer.accelerator.prepare_model(trainer.model)
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def build_batch(trainer: DPOTrainer, prompt: int, settings: Settings) -> dict[str, Any]:
    """Return a batch of one row of random tokens, the same for every variant."""
    generator = torch.Generator().manual_seed(prompt)
    vocabulary = min(32000, trainer.model.config.vocab_size)
    lengths = {"prompt": prompt, **dict.fromkeys(COMPLETIONS, settings.completion)}
    texts: dict[str, Any] = {f"ref_{name}_logps": -100.0 for name in COMPLETIONS if trainer.precompute_ref_logps}
    for name, length in lengths.items():
        texts[f"{name}_ids"] = torch.randint(10, vocabulary, (length,), generator=generator).tolist()
    return trainer.data_collator([texts])


def step(trainer: DPOTrainer, batch: dict[str, Any], variant: str) -> Any:
    """Take the time of one forward and backward pass and the optimizer's step."""

    def run() -> None:
        trainer.training_step(trainer.model, batch)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        synchronize()

    synchronize = torch.cuda.synchronize if trainer.accelerator.device.type == "cuda" else lambda: None
    synchronize()
    if not variant.startswith(TWO_ROWS):
        return timed(run)
    # What TRL does on CUDA; on a CPU it projects every position to the vocabulary
    with patch.object(trl.trainer.utils, "_use_triton", lambda device: True):
        return timed(run)


def measure_times(settings: Settings) -> Times:
    model = build_model(settings)
    trainers = {variant: build_trainer(variant, model, settings) for variant in VARIANTS}
    times: Times = {}
    for prompt in settings.prompts:
        progress(f"prompt {prompt}")
        batches = {variant: build_batch(trainer, prompt, settings) for variant, trainer in trainers.items()}
        ways = {variant: partial(step, trainers[variant], batches[variant], variant) for variant in VARIANTS}
        seconds = take_turns(ways, settings.repeats + 1).seconds
        times[prompt] = {variant: taken[1:] for variant, taken in zip(VARIANTS, seconds, strict=True)}
    return times


def peak_memory(variant: str, settings: Settings) -> int:
    """Return the bytes that one step at the longest prompt takes above the built trainer, in a process of its own."""
    trainer = build_trainer(variant, build_model(settings), settings)
    batch = build_batch(trainer, settings.prompts[-1], settings)
    if settings.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(trainer, batch, variant)
        return torch.cuda.max_memory_allocated() - before
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    step(trainer, batch, variant)
    return memory("VmHWM") - before


def table(settings: Settings, times: Times, peaks: dict[int, dict[str, int]]) -> str:
    """Return Markdown: seconds, throughput and memory of each variant, then ours against each peer."""
    checkpointing = "with" if settings.gradient_checkpointing else "without"
    lines = [
        f"{settings.model_shape}, {settings.device} ({machine(settings)}), {settings.dtype}, {checkpointing} gradient "
        f"checkpointing, LoRA r 8 on all linear layers, batch 1, completions of {settings.completion} tokens; median "
        f"[least, most] of {settings.repeats} turns. Tokens: the prompt once and each completion once.\n",
        head("prompt", "variant", "seconds per step", "tokens/s", "peak memory above the model"),
    ]
    for prompt, by_variant in times.items():
        for variant, values in by_variant.items():
            tokens = prompt + settings.completion * (3 if variant.startswith("DPOC") else 2)
            used = peaks.get(prompt, {}).get(variant)
            shown = "" if used is None else f"{used / 2**30:.2f} GiB"
            lines.append(row(prompt, variant, spread(values), f"{tokens / statistics.median(values):,.0f}", shown))
    lines += ["", head("prompt", "ours", "against", "times faster")]
    for prompt, taken in times.items():
        for ours, peers in PEERS.items():
            lines += [row(prompt, ours, peer, spread(ratios(taken[peer], taken[ours]))) for peer in peers]
    return "\n".join(lines) + "\n"


def machine(settings: Settings) -> str:
    if settings.device == "cuda":
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} cores of {platform.machine()}, {torch.get_num_threads()} threads"


def plot(path: Path, times: Times) -> None:
    """Write a figure of seconds over the length of the prompt, a line for each variant."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for variant in VARIANTS:
        seconds = [statistics.median(by_variant[variant]) for by_variant in times.values()]
        style = "-" if variant.startswith(OURS) else "--"
        axes.plot(list(times), seconds, style, marker="o", markersize=3, label=variant)
    axes.set(xlabel="tokens of the prompt", ylabel="seconds per step", xscale="log", yscale="log")
    axes.set_xticks(list(times), [str(prompt) for prompt in times])
    axes.legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def main(settings: Settings) -> None:
    """Measure, write the three files and print the table."""
    times, variants = measure_times(settings), [OURS, TRL] if settings.quick else VARIANTS
    peaks = {settings.prompts[-1]: {variant: run_elsewhere(peak_memory, variant, settings) for variant in variants}}
    folder, report = Path(settings.output_dir), table(settings, times, peaks)
    results = {"settings": asdict(settings), "machine": machine(settings), "seconds": times, "peak_bytes": peaks}
    write(folder / "dpoc_step.json", results)
    write(folder / "dpoc_step.md", report)
    plot(folder / "dpoc_step.svg", times)
    print(report)


if __name__ == "__main__":
    main(HfArgumentParser(Settings).parse_args_into_dataclasses()[0])
