"""One training step of DPOC (three completions) against one of DPO (two), by length of the prompt.

    python benchmarks/dpoc_step.py                                                         # SmolLM2-135M on this CPU
    python benchmarks/dpoc_step.py --device cuda --dtype bfloat16 --model_shape llama-2-7b  # random weights
    python benchmarks/dpoc_step.py --quick                                                 # tiny, for the test suite

A step is forward and backward of one row with LoRA on all linear layers, as the trainers' own `training_step` runs it.
All variants take turns in one process; a ratio is that of two steps of one turn. Peak memory is that of one step at
the longest prompt in a process of its own, above what the built trainer holds. Writes dpoc_step.json, .md and .svg.
"""

import statistics
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from transformers import HfArgumentParser, PreTrainedModel
from trl import DPOTrainer

from common import head, progress, ratios, row, run_elsewhere, spread, take_turns, write
from dpoc_common import COMPLETIONS, Setup, build_model, build_trainer, machine, peak_of, step
from idl_hf.arguments import option
from idl_hf.dpoc.trees import plant

OURS, THREE_ROWS, TRL, TWO_ROWS = "DPOC, shared prompt", "DPOC, three rows", "DPO, TRL", "DPO, completions only"
PRECOMPUTED = ", precomputed"
VARIANTS = [OURS, OURS + PRECOMPUTED, THREE_ROWS, TRL, TRL + PRECOMPUTED, TWO_ROWS, TWO_ROWS + PRECOMPUTED]
PEERS = {OURS: (TRL, TWO_ROWS), OURS + PRECOMPUTED: VARIANTS[3:], THREE_ROWS: (TRL,)}
Times = dict[int, dict[str, list[float]]]  # seconds of each step, by length of the prompt and variant


@dataclass
class Settings(Setup):
    """What is measured."""

    prompts: list[int] = field(default_factory=lambda: [256, 512, 1024, 2048], metadata={"help": "Prompt lengths."})
    completion: int = option(20, "Tokens of each completion.")
    repeats: int = option(5, "Turns, after one to warm up.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quick:
            self.prompts, self.repeats = [32, 64], 1


def trainer_of(variant: str, model: PreTrainedModel, settings: Settings) -> DPOTrainer:
    options = {"prefix_sharing": variant.startswith(OURS)} if variant.startswith("DPOC") else {}
    return build_trainer(model, settings, variant.endswith(PRECOMPUTED), **options)


def build_batch(trainer: DPOTrainer, prompt: int, settings: Settings) -> dict[str, Any]:
    """Return a batch of one row of random tokens, the same for every variant."""
    generator = torch.Generator().manual_seed(prompt)
    vocabulary = min(32000, trainer.model.config.vocab_size)
    lengths = {"prompt": prompt, **dict.fromkeys(COMPLETIONS, settings.completion)}
    texts: dict[str, Any] = {}
    for name, length in lengths.items():
        texts[f"{name}_ids"] = torch.randint(10, vocabulary, (length,), generator=generator).tolist()
    if getattr(trainer, "shares_prefix", False):
        texts = plant([texts])
    texts |= {f"ref_{name}_logps": -100.0 for name in COMPLETIONS if trainer.precompute_ref_logps}
    return trainer.data_collator([texts])


def run_step(trainer: DPOTrainer, batch: dict[str, Any], variant: str) -> Any:
    return step(trainer, [batch], variant.startswith(TWO_ROWS))


def measure_times(settings: Settings) -> Times:
    model = build_model(settings)
    trainers = {variant: trainer_of(variant, model, settings) for variant in VARIANTS}
    times: Times = {}
    for prompt in settings.prompts:
        progress(f"prompt {prompt}")
        batches = {variant: build_batch(trainer, prompt, settings) for variant, trainer in trainers.items()}
        ways = {variant: partial(run_step, trainers[variant], batches[variant], variant) for variant in VARIANTS}
        seconds = take_turns(ways, settings.repeats + 1).seconds
        times[prompt] = {variant: taken[1:] for variant, taken in zip(VARIANTS, seconds, strict=True)}
    return times


def peak_memory(variant: str, settings: Settings) -> int:
    """Return the bytes that one step at the longest prompt takes above the built trainer, in a process of its own."""
    trainer = trainer_of(variant, build_model(settings), settings)
    batch = build_batch(trainer, settings.prompts[-1], settings)
    return peak_of(partial(run_step, trainer, batch, variant), settings)


def table(settings: Settings, times: Times, peaks: dict[int, dict[str, int]]) -> str:
    """Return Markdown: seconds, throughput and memory of each variant, then ours against each peer."""
    lines = [
        f"{settings.described()}, completions of {settings.completion} tokens; median [least, most] of "
        f"{settings.repeats} turns. Tokens: the prompt once and each completion once.\n",
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
