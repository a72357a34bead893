"""One optimizer step over all replies of a dialogue: a tree of tokens against rows, and against TRL's DPO.

    python benchmarks/dpoc_dialogue.py --data_dir PATH      # raw ConvAI2 or own dialogues; default: sample data
    python benchmarks/dpoc_dialogue.py --device cuda --dtype bfloat16 --model_shape llama-2-7b   # random weights
    python benchmarks/dpoc_dialogue.py --quick                           # tiny, for the test suite

Variants: a tree (prefix_sharing="dialogue"), a row for each reply with its prompt once (True), TRL's DPO with two rows
a reply, and TRL's as it is on CUDA, which projects the completions only. Rows accumulate, one at a time. Each also
with the reference computed before. All take turns in one process, a dialogue a turn; ratios are of one turn. Peak
memory is that of one step on the first dialogue in a process of its own, above what the built trainer holds; of rows,
that of the longest one. Writes dpoc_dialogue.json, .md and .svg, the latter of how a step grows with its replies.
"""

import statistics
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from transformers import AutoTokenizer, HfArgumentParser, PreTrainedModel
from trl import DPOTrainer

from common import Timed, head, progress, ratios, row, run_elsewhere, spread, take_turns, write
from dpoc_common import COMPLETIONS, Batches, Setup, build_model, build_trainer, peak_of, step
from idl_hf.arguments import option
from idl_hf.demo import DemoSettings
from idl_hf.dpoc.tokenization import tokenize_row
from idl_hf.dpoc.trees import plant
from idl_hf.models.offline import resolve_model
from idl_hf.training.data import DataArguments, fit_rows

TREE, ROWS, TRL, TWO_ROWS = "DPOC, tree", "DPOC, rows", "DPO, TRL", "DPO, completions only"
PRECOMPUTED = ", precomputed"
SHARING = {TREE: "dialogue", ROWS: True}
VARIANTS = [name + how for name in (TREE, ROWS, TRL, TWO_ROWS) for how in ("", PRECOMPUTED)]
PAPER_REPLIES = 131_438  # of an epoch of DPOC on ConvAI2 in the paper
Rows = list[dict[str, Any]]


@dataclass
class Settings(Setup):
    """What is measured."""

    data_dir: str | None = option(None, "Folder as for `idl-hf demo`; default: sample data.")
    max_prompt_tokens: int = option(1024, "Longer prompts lose whole references, the same in a dialogue.")
    dialogues: int = option(3, "Turns, a dialogue each.")
    replies: int = option(8, "Of each dialogue, at least and at most.")
    variants: list[str] = field(default_factory=lambda: [*VARIANTS], metadata={"help": "Which.", "choices": VARIANTS})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quick:
            self.max_prompt_tokens, self.dialogues, self.replies = 128, 1, 3


def load_dialogues(settings: Settings) -> list[Rows]:
    """Return the tokenized rows of some dialogues, drawn at random."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("offline"), trust_remote_code=False)
    demo = DemoSettings(data_dir=settings.data_dir)
    options = {"encoder": "offline", "targets": "all"}
    data = DataArguments(demo.dataset_name, demo.data_folder, options, max_rows=60 * settings.dialogues)
    dialogues: dict[tuple[str, str], Rows] = {}
    for line in fit_rows(data.load("dpoc", "train"), tokenizer, settings.max_prompt_tokens, per_dialogue=True):
        dialogues.setdefault((line["person_id"], line["dialogue_id"]), []).append(tokenize_row(line, tokenizer, True))
    long_enough = [rows[: settings.replies] for rows in dialogues.values() if len(rows) >= settings.replies]
    if len(long_enough) < settings.dialogues:
        raise ValueError(f"Only {len(long_enough)} dialogues of {settings.replies} replies were found.")
    return long_enough[: settings.dialogues]


def trainer_of(variant: str, model: PreTrainedModel, settings: Settings) -> DPOTrainer:
    name = variant.removesuffix(PRECOMPUTED)
    options = {"prefix_sharing": SHARING[name]} if name in SHARING else {}
    return build_trainer(model, settings, variant.endswith(PRECOMPUTED), **options)


def batches_of(trainer: DPOTrainer, rows: Rows, variant: str) -> Batches:
    """Return what one step runs: a tree, or a batch for each reply."""
    if variant.startswith(TREE):
        examples = [plant(rows)]
    else:
        examples = [plant([line]) if variant.startswith(ROWS) else line for line in rows]
    known: dict[str, Any] = {}
    if trainer.precompute_ref_logps:
        values = [-50.0] * len(rows) if variant.startswith(TREE) else -50.0
        known = {f"ref_{name}_logps": values for name in COMPLETIONS}
    return [trainer.data_collator([{**example, **known}]) for example in examples]


def run_step(trainer: DPOTrainer, rows: Rows, variant: str) -> Timed:
    batches = batches_of(trainer, rows, variant)
    return step(trainer, batches, variant.startswith(TWO_ROWS))


def peak_memory(variant: str, rows: Rows, settings: Settings) -> int:
    trainer = trainer_of(variant, build_model(settings), settings)
    return peak_of(partial(run_step, trainer, rows, variant), settings)


def count_tokens(rows: Rows, variant: str) -> int:
    """Return the tokens that run through the model in one forward pass of a step."""
    if variant.startswith(TREE):
        return len(plant(rows)["input_ids"])
    if variant.startswith(ROWS):
        return sum(len(plant([line])["input_ids"]) for line in rows)
    return sum(len(line["prompt_ids"]) + len(line[f"{name}_ids"]) for line in rows for name in ("chosen", "rejected"))


def measure(settings: Settings, dialogues: list[Rows]) -> dict[str, list[float]]:
    """Return the seconds of each variant's steps, a dialogue after the other, after one reply to warm up."""
    model = build_model(settings)
    trainers = {variant: trainer_of(variant, model, settings) for variant in settings.variants}
    seconds: dict[str, list[float]] = {variant: [] for variant in settings.variants}
    for turn, rows in enumerate([dialogues[0][:1], *dialogues]):
        order = [*trainers][turn % len(trainers) :] + [*trainers][: turn % len(trainers)]
        ways = {variant: partial(run_step, trainers[variant], rows, variant) for variant in order}
        progress(f"dialogue {turn} of {len(dialogues)}, {len(rows)} replies")
        for variant, taken in zip(order, take_turns(ways, 1).seconds, strict=True):
            seconds[variant] += taken if turn else []
    return seconds


def grow(settings: Settings, rows: Rows) -> dict[str, dict[int, float]]:
    """Return the seconds of a step by the number of replies in it, of a tree and of rows, precomputed."""
    variants = [variant + PRECOMPUTED for variant in (TREE, ROWS)]
    model, grown = build_model(settings), {variant: {} for variant in variants}
    for variant in variants:
        trainer = trainer_of(variant, model, settings)
        for count in range(0, len(rows) + 1, 1 if settings.quick else 2):
            taken = run_step(
                trainer, rows[-max(1, count) :], variant
            ).seconds  # the last ones, whose prompt is longest
            grown[variant][max(1, count)] = taken
    return grown


def table(settings: Settings, dialogues: list[Rows], seconds: dict[str, list[float]], peaks: dict[str, int]) -> str:
    """Return Markdown: seconds, tokens and memory of each variant, then a tree against the others."""
    replies = statistics.mean(map(len, dialogues))
    lines = [
        f"{settings.described()}; {len(dialogues)} dialogues of {replies:g} replies, prompts of at most "
        f"{settings.max_prompt_tokens} tokens; median [least, most].\n",
        head("variant", "seconds per step", "tokens", "peak memory above the model"),
    ]
    for variant, taken in seconds.items():
        tokens = statistics.mean(count_tokens(rows, variant) for rows in dialogues)
        lines.append(row(variant, spread(taken), f"{tokens:,.0f}", f"{peaks[variant] / 2**30:.2f} GiB"))
    lines += ["", head("ours", "against", "times faster", "times fewer tokens")]
    for ours in (variant for variant in seconds if variant.startswith(TREE)):
        for peer in (variant for variant in seconds if not variant.startswith(TREE)):
            if PRECOMPUTED in peer and PRECOMPUTED not in ours:
                continue
            fewer = [count_tokens(rows, peer) / count_tokens(rows, ours) for rows in dialogues]
            lines.append(row(ours, peer, spread(ratios(seconds[peer], seconds[ours])), spread(fewer)))
    lines += ["", epoch(dialogues, seconds)]
    return "\n".join(lines) + "\n"


def epoch(dialogues: list[Rows], seconds: dict[str, list[float]]) -> str:
    """Return what the paper's epoch would cost, by these dialogues."""
    replies = sum(map(len, dialogues))
    costs = []
    for variant, taken in seconds.items():
        tokens = sum(count_tokens(rows, variant) for rows in dialogues) / replies * PAPER_REPLIES
        hours = sum(taken) / replies * PAPER_REPLIES / 3600
        costs.append(f"{variant}: {tokens / 1e6:,.0f} million tokens, {hours:,.1f} hours")
    return f"An epoch of {PAPER_REPLIES:,} replies at this rate. " + "; ".join(costs) + "."


def plot(path: Path, grown: dict[str, dict[int, float]]) -> None:
    """Write a figure of a step's seconds over the replies in it."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for variant, by_count in grown.items():
        axes.plot([*by_count], [*by_count.values()], marker="o", markersize=3, label=variant)
    axes.set(xlabel="replies in a step", ylabel="seconds per step", ylim=(0, None))
    axes.legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def main(settings: Settings) -> None:
    """Measure, write the three files and print the table."""
    dialogues = load_dialogues(settings)
    seconds = measure(settings, dialogues)
    peaks = {}
    for variant in settings.variants:
        rows = dialogues[0] if variant.startswith(TREE) else dialogues[0][-1:]
        peaks[variant] = run_elsewhere(peak_memory, variant, rows, settings)
    folder, report, grown = (
        Path(settings.output_dir),
        table(settings, dialogues, seconds, peaks),
        grow(settings, dialogues[0]),
    )
    results = {"settings": asdict(settings), "seconds": seconds, "peak_bytes": peaks, "growth": grown}
    write(folder / "dpoc_dialogue.json", results)
    write(folder / "dpoc_dialogue.md", report)
    plot(folder / "dpoc_dialogue.svg", grown)
    print(report)


if __name__ == "__main__":
    main(HfArgumentParser(Settings).parse_args_into_dataclasses()[0])
