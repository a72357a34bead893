"""The displacement bench: which preference losses lower the likelihood of the chosen reply while the margin grows?

The paper calls that preference degradation and adds the criterion penalty against it (3.3). One MSL adapter, the same
dpoc rows in the same order, the same steps, seven losses; measured on people of the validation split, whom neither
stage trained on: a fixed probe of dpoc rows (log-prob, rewards) and whole dialogues (NLL, persona gain):

    python benchmarks/displacement.py --data_dir <ConvAI2 files, split by person> --output_dir runs/displacement

Whether steps of one dialogue learn as much as steps of as many rows drawn at random, once over the same rows:

    python benchmarks/displacement.py --methods dpoc trees --dpoc_rows 240 --gradient_accumulation_steps 8 --steps 30

A finished method, <output_dir>/<method>.json, is not run again: the same command goes on after an interruption.
Estimate for two idle CPU cores: 37 minutes, 10 of them for rows and first stage, which --adapter replaces.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor
from transformers import PrinterCallback
from trl import ModelConfig, SFTConfig, TrlParser

import idl_hf  # noqa: F401 (registers the datasets)
from common import head, row, tiny_model, write
from idl_hf.arguments import option
from idl_hf.demo import DemoSettings
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.dpoc.trainer import DPOCTrainer
from idl_hf.evaluation.data import EvaluationData
from idl_hf.models.likelihood import nll_by_person
from idl_hf.models.loading import load_model
from idl_hf.models.offline import OFFLINE
from idl_hf.report.statistics import Estimate, mean_difference, mean_over_people
from idl_hf.training.data import DataArguments, dialogues_of, fit_rows
from idl_hf.training.stages import train_msl

REWARDS = ("rewards/chosen", "rewards/criterion", "rewards/rejected")
PROBED = ("logps/chosen", *REWARDS, "rewards/margins", "rewards/accuracies")
# The methods in the order of the table, with what sets each apart
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpo": ("DPO", {"penalty": 0.0}),
    "dpoc": ("DPOC, paper", {"penalty": 2.0}),
    "dpoc_released": ("DPOC, released", {"penalty": 0.5, "penalty_form": "released"}),
    "dpo_sft": ("DPO + SFT", {"penalty": 0.0, "loss_type": ["sigmoid", "sft"]}),
    "apo_down": ("APO-down", {"penalty": 0.0, "loss_type": ["apo_down"]}),  # lowers the chosen reply on purpose
    "nca": ("NCA", {"penalty": 0.0, "loss_type": ["nca_pair"]}),
    "dpop": ("DPOP", {}),
    # A dialogue a step, once over the same rows: about as many steps as the others make of 8 rows each
    "trees": ("DPOC, trees", {"prefix_sharing": "dialogue", "max_steps": -1, "gradient_accumulation_steps": 1}),
}
QUICK = {"msl_rows": 4, "dpoc_rows": 4, "steps": 2, "eval_every": 1, "probe_rows": 4, "gain_dialogues": 4,
         "max_prompt_tokens": 256, "learning_rate": 1e-3}  # fmt: skip


@dataclass
class Settings:
    """Everything that the numbers depend on."""

    data_dir: str | None = option(None, "Folder as for `idl-hf demo`; default: sample data.")
    output_dir: str = option("runs/displacement", "Results, table and plot go here.")
    model_name_or_path: str = option(OFFLINE, "Base model; 'offline' is SmolLM2-135M.")
    adapter: str | None = option(None, "MSL adapter of this train split. None: trains one.")
    encoder: str = option(OFFLINE, "Sentence encoder; 'offline' is all-MiniLM-L6-v2.")
    methods: list[str] = field(default_factory=lambda: [*METHODS], metadata={"help": "Losses.", "choices": [*METHODS]})
    msl_rows: int = option(200, "Target dialogues of the first stage.")
    dpoc_rows: int = option(80, "Replies of the second stage, of whole dialogues drawn by the seed.")
    steps: int = option(40, "Optimizer steps of each method.")
    gradient_accumulation_steps: int = option(2, "Rows per optimizer step, one at a time.")
    learning_rate: float = option(1e-4, "Of the second stage, constant.")
    eval_every: int = option(10, "Steps between two looks at the probe; also at 0 and last.")
    probe_rows: int = option(24, "Held-out dpoc rows of as many dialogues, the same for all methods.")
    gain_dialogues: int = option(36, "Held-out dialogues for NLL and persona gain.")
    gain_every: int = option(0, "Steps (k x eval_every) between two of these. 0: ends.")
    dpop_lambda: float = option(5.0, "λ of DPOP. Its paper has 50; this is milder.")
    max_prompt_tokens: int = option(768, "Longer prompts lose whole reference dialogues.")
    seed: int = option(0, "Of the first stage, and of which rows the second trains on.")
    quick: bool = option(False, "A tiny random model and a handful of rows: seconds.")


def dpop_term(chosen: Tensor, rejected: Tensor, penalty: float = 5.0, beta: float = 0.1) -> Tensor:
    """Return what DPOP (Pal et al. 2024, arXiv 2402.13228) adds to L_DPO: -log σ(β(Δ - λ max(0, -r_cho))) + log σ(βΔ).

    Δ = r_cho - r_rej. Log-ratios and result have shape (B,).
    """
    difference = chosen - rejected
    return F.logsigmoid(beta * difference) - F.logsigmoid(beta * (difference - penalty * F.relu(-chosen)))


class ProbedTrainer(DPOCTrainer):
    """DPOCTrainer that keeps of each evaluation the logged means, the rows' log-ratios, and, if due, the NLL."""

    def __init__(self, settings: Settings, rows: dict[str, Dataset], **kwargs: Any) -> None:
        self.curve: list[dict[str, Any]] = []
        self._settings, self._rows = settings, rows
        super().__init__(train_dataset=rows["train"], eval_dataset=rows["probe"], **kwargs)

    def _penalty(self, chosen: Tensor, criterion: Tensor, rejected: Tensor) -> Tensor:
        if not self.model.training:
            self._log_ratios += torch.stack((chosen, criterion, rejected), dim=1).tolist()
        return super()._penalty(chosen, criterion, rejected)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate as TRL does, and add a point to `curve`."""
        self._log_ratios = []
        metrics = super().evaluate(*args, **kwargs)
        point = {"step": self.state.global_step, **{name: metrics[f"eval_{name}"] for name in PROBED}}
        print(", ".join(f"{name} {value:.4g}" for name, value in point.items()), flush=True)
        self.curve.append({**point, "log_ratios": self._log_ratios, "nll": self._nll(self.state.global_step)})
        return metrics

    def _nll(self, step: int) -> dict[str, dict[str, float]] | None:
        """Return the NLL by person, where due. All methods start as one adapter: that at step 0 is computed once."""
        start, every = Path(self._settings.output_dir, "start.json"), self._settings.gain_every
        if step == 0 and start.exists():
            return json.loads(start.read_text())
        if step not in (0, self.state.max_steps) and (every == 0 or step % every):
            return None
        nll = {name: nll_by_person(self.model, self.processing_class, self._rows[name]) for name in ("own", "other")}
        if step == 0:
            write(start, nll)
        return nll


class DPOPTrainer(ProbedTrainer):
    """ProbedTrainer with the loss of DPOP, `penalty` being its λ."""

    def _penalty(self, chosen: Tensor, criterion: Tensor, rejected: Tensor) -> Tensor:
        super()._penalty(chosen, criterion, rejected)  # which keeps the log-ratios
        return dpop_term(chosen, rejected, self.args.penalty, self.beta)


def run_bench(settings: Settings) -> None:
    """Run the methods that have no results yet and write the report; ValueError in a folder of other settings."""
    folder = Path(settings.output_dir)
    record, current = folder / "settings.json", asdict(replace(settings, methods=[]))
    if record.exists() and json.loads(record.read_text()) != current:
        raise ValueError(f"'{folder}' has results of the settings in its settings.json. Pass another --output_dir.")
    write(record, current)
    if settings.quick:
        torch.set_num_threads(1)  # a second one of so small a model mostly waits
        for part in tiny_model(tie_word_embeddings=True):
            part.save_pretrained(folder / "tiny_model")
        settings = replace(settings, **QUICK, model_name_or_path=str(folder / "tiny_model"))
    adapter = settings.adapter or train_adapter(settings, folder / "msl")
    rows = load_rows(settings, load_model(adapter)[1])
    for name in settings.methods:
        if not (file := folder / f"{name}.json").exists():  # one that is there is whole
            print(f"\n{METHODS[name][0]}", flush=True)
            write(file, run_method(name, settings, adapter, rows))
    write_report(settings, folder)


def common_arguments(settings: Settings, folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder), "per_device_train_batch_size": 1, "gradient_checkpointing": False,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps, "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "no", "report_to": "none", "seed": settings.seed,
    }  # fmt: skip


def data_arguments(settings: Settings, **options: Any) -> DataArguments:
    demo = DemoSettings(data_dir=settings.data_dir)
    options |= {"encoder": settings.encoder, "targets": "all"}
    return DataArguments(demo.dataset_name, demo.data_folder, options, max_prompt_tokens=settings.max_prompt_tokens)


def train_adapter(settings: Settings, folder: Path) -> str:
    """Train the first stage with the recipe of the demo, unless it is there, and return its folder."""
    if not (folder / "adapter_model.safetensors").exists():
        data = replace(data_arguments(settings, reply="all"), max_rows=settings.msl_rows)
        schedule = {"learning_rate": 2e-3, "lr_scheduler_type": "cosine", "warmup_steps": 2, "num_train_epochs": 1}
        lora = {"lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "lora_target_modules": ["all-linear"]}
        model = ModelConfig(settings.model_name_or_path, use_peft=True, **lora)
        train_msl(data, SFTConfig(**common_arguments(settings, folder), **schedule), model)
    return str(folder)


def load_rows(settings: Settings, tokenizer: Any) -> dict[str, Dataset]:
    """Return the rows by name: `train`, and of other people `probe`, `own` and `other`.

    The last two are whole dialogues, spread over people, with references of the person and of another.
    Raises ValueError where a person is in both splits.
    """
    data = data_arguments(settings)
    held_out = EvaluationData(data.dataset_name, data.data_dir, options={"encoder": settings.encoder})
    people = len(set(held_out.rows("references")["person_id"]))
    kinds = [{"conditioning": name} for name in ("references", "other_person")]
    held_out.choose(kinds, 1, None, max(1, settings.gain_dialogues // people))
    held_out_rows = data.load("dpoc", "validation").shuffle(seed=0)
    sources = {
        "train": (shuffled_dialogues(data.load("dpoc", "train"), settings), settings.dpoc_rows),
        "probe": (held_out_rows.select([places[0] for places in dialogues_of(held_out_rows)]), settings.probe_rows),
        "own": (held_out.rows("references"), settings.gain_dialogues),
        "other": (held_out.rows("other_person"), settings.gain_dialogues),
    }
    chosen = {name: rows.select(range(min(count, len(rows)))) for name, (rows, count) in sources.items()}
    if both := set(sources["train"][0]["person_id"]) & {*chosen["probe"]["person_id"], *chosen["own"]["person_id"]}:
        raise ValueError(f"The validation split must hold people of its own; also in train: {', '.join(both)}.")
    most = settings.max_prompt_tokens
    return {name: fit_rows(rows, tokenizer, most, per_dialogue=name == "train") for name, rows in chosen.items()}


def shuffled_dialogues(rows: Dataset, settings: Settings) -> Dataset:
    """Return the rows of so many whole dialogues, drawn by the seed, in an order by the seed."""
    dialogues, drawn = dialogues_of(rows), []
    for place in np.random.default_rng(settings.seed).permutation(len(dialogues)):
        if len(drawn) < settings.dpoc_rows:
            drawn += dialogues[place]
    return rows.select(drawn[: settings.dpoc_rows]).shuffle(seed=settings.seed)


def run_method(name: str, settings: Settings, adapter: str, rows: dict[str, Dataset]) -> dict[str, Any]:
    model, tokenizer = load_model(adapter, trainable=True)
    dpop = (DPOPTrainer, {"penalty": settings.dpop_lambda})
    trainer_class, options = dpop if name == "dpop" else (ProbedTrainer, METHODS[name][1])
    # Sequential: the rows, shuffled before, come in the same order for all. The reference is computed once for all
    args = DPOCConfig(
        **{**common_arguments(settings, Path(settings.output_dir)), "max_steps": settings.steps, **options},
        learning_rate=settings.learning_rate, lr_scheduler_type="constant", train_sampling_strategy="sequential",
        precompute_ref_log_probs=True, per_device_eval_batch_size=1, eval_strategy="steps", num_train_epochs=1,
        eval_steps=settings.eval_every, eval_on_start=True, logging_steps=settings.eval_every, disable_tqdm=True,
    )  # fmt: skip
    trainer = trainer_class(settings, rows, model=model, args=args, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    if trainer.curve[-1]["step"] < trainer.state.global_step:
        trainer.evaluate()
    return {"curve": trainer.curve, "log": trainer.state.log_history, "people": rows["probe"]["person_id"][:]}


def summarise(run: dict[str, Any]) -> dict[str, Estimate | float]:
    """Return the row of the table: estimates over people, means over the probe's rows or fractions of them."""
    first, last = run["curve"][0], run["curve"][-1]
    chosen, criterion, rejected = torch.tensor(last["log_ratios"]).T
    change, people = chosen - torch.tensor(first["log_ratios"])[:, 0], run["people"]
    of_person = {person: change[[other == person for other in people]].mean().item() for person in people}
    own_before, other_before, own, other = (nll for point in (first, last) for nll in point["nll"].values())
    gain_change = {p: other[p] - own[p] - (other_before[p] - own_before[p]) for p in own}
    return {
        "change of chosen log-prob": mean_over_people(of_person),
        "chosen fell": (change < 0).float().mean().item(),
        **{name.replace("rewards/", "reward "): last[name] for name in PROBED if name.startswith("rewards/")},
        "chosen > criterion > rejected": ((chosen > criterion) & (criterion > rejected)).float().mean().item(),
        "NLL own, before": mean_over_people(own_before),
        "NLL own, after": mean_over_people(own),
        "persona gain, before": mean_difference(other_before, own_before),
        "persona gain, after": mean_difference(other, own),
        "change of persona gain": mean_over_people(gain_change),
    }


def write_report(settings: Settings, folder: Path) -> None:
    """Write the report of every method that has results in the folder, whichever of them this run was asked for."""
    files = {label: folder / f"{name}.json" for name, (label, _) in METHODS.items()}
    runs = {label: json.loads(file.read_text()) for label, file in files.items() if file.exists()}
    for run in runs.values():
        run["summary"] = summarise(run)
    write(folder / "results.json", {"settings": asdict(settings), "methods": runs})
    plot(runs, folder / "results.svg")
    summary, people = (next(iter(runs.values()))[name] for name in ("summary", "people"))
    lines = [
        f"{settings.steps} steps of {settings.gradient_accumulation_steps} rows from one adapter, learning rate "
        f"{settings.learning_rate:g}, one seed; {len(people)} dpoc rows of {len(set(people))} held-out people, "
        f"dialogues of {summary['persona gain, after'].people}. Log-prob in nats per reply, NLL and gain in nats per "
        "token; mean over people [95 % bootstrap interval], rewards and fractions over rows.\n",
        head("method", *summary),
    ]
    for label, run in runs.items():
        cells = {name: f"{x:.3f}" if isinstance(x, float) else str(x) for name, x in run["summary"].items()}
        lines.append(row(label, *cells.values()))
        print(f"{label}: " + ", ".join(map(" ".join, cells.items())))
    write(folder / "results.md", "\n".join(lines) + "\n")


@rc_context({"svg.fonttype": "none", "svg.hashsalt": "displacement"})
def plot(runs: dict[str, Any], file: Path) -> None:
    """Write a figure of the chosen log-prob over steps, the change of persona gain, and each method's rewards."""
    figure = Figure(figsize=(14, 7), layout="constrained")
    above, below = figure.subfigures(2, 1)
    chosen, gain = above.subplots(1, 2)
    panels = below.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    for i, (label, run) in enumerate(runs.items()):
        curve = {name: [point[name] for point in run["curve"]] for name in ("step", *PROBED)}
        chosen.plot(curve["step"], curve["logps/chosen"], marker="o", label=label)
        change = run["summary"]["change of persona gain"]
        gain.plot([change.low, change.mean, change.high], [-i] * 3, color=f"C{i}", marker="|")
        for name, color in zip(REWARDS, ("C2", "C7", "C3"), strict=True):
            panels[i].plot(curve["step"], curve[name], color=color, label=name.removeprefix("rewards/"))
        panels[i].axhline(0, color="black", linewidth=0.5)
        panels[i].set(title=label, xlabel="step", ylabel="" if i else "reward")
    chosen.set(title="Log-prob of the chosen reply, held-out people", xlabel="step", ylabel="nats per reply")
    gain.set(title="Change of persona gain, held-out people", xlabel="nats per token, 95 % interval over people")
    gain.set_yticks(range(0, -len(runs), -1), list(runs))
    gain.axvline(0, color="black", linewidth=0.5)
    chosen.legend()
    panels[0].legend()
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    run_bench(TrlParser(Settings).parse_args_and_config()[0])
