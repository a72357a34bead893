"""`idl-hf evaluate --experiment table3`: trains what is missing, measures, reports. A table of the paper by one command."""

import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from idl_hf.evaluation.conditions import condition
from idl_hf.evaluation.experiment import Experiment, Scale, load_experiment, load_scale
from idl_hf.evaluation.measuring import ExperimentRun
from idl_hf.registration import dataset_names
from idl_hf.report.html import write_report
from idl_hf.training.stages import parse_options


@dataclass
class ExperimentArguments:
    """Which experiment of the paper, at which size, on which data."""

    experiment: str = field(
        metadata={
            "help": "table1, table2, table3, table5, figure4, figure5, low_resource, generalize, or a YAML file."
        }
    )
    scale: str = field(
        default="paper",
        metadata={"help": "Which models and how much: paper (LLaMA-2-7B on a GPU), smollm2_cpu, or a YAML file."},
    )
    quick: bool = field(
        default=False, metadata={"help": "Minutes on the included sample data: shows that all of it runs."}
    )
    conditions: list[str] | None = field(
        default=None, metadata={"help": "Instead of the experiment's: idl icl ft system gold wo_criterion ..."}
    )
    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Instead of the scale's: any causal LM, on the Hub, in a folder, or 'offline'."},
    )
    encoder: str | None = field(default=None, metadata={"help": "Instead of the scale's sentence encoder."})
    nli_model: str | None = field(default=None, metadata={"help": "Instead of the scale's, for Coh. and Coh-Con."})
    data_dirs: dict | str | None = field(
        default=None,
        metadata={"help": 'Folders with raw files as JSON, {"convai2_idl": "path"}; what is not named is downloaded.'},
    )
    dataset_options: dict | str | None = field(
        default=None, metadata={"help": 'Builder options of all rows as JSON, such as {"on_error": "skip"}.'}
    )
    output_dir: str = field(
        default="runs/experiments",
        metadata={"help": "Reports, in a folder each, and the adapters and measurements of all experiments."},
    )


def run_experiment(args: ExperimentArguments) -> Path:
    """Returns the report's folder. An interrupted run goes on where it stopped; what is done so far is in `so_far`."""
    started = time.perf_counter()
    if args.quick and (args.data_dirs or args.scale != ExperimentArguments.scale):
        raise ValueError(
            "--quick is a scale of its own, on the included sample data: leave --scale and --data_dirs out."
        )
    scale, experiment = _scale(args), _experiment(args)
    if scale.sample_data:
        about = f"A trial on the package's sample dialogues; the corpora named below were not used. {experiment.about}"
        experiment = replace(experiment, about=about, trained_on="dialogues_idl", tests=["dialogues_idl"], paper={})
    folders = parse_options(args.data_dirs, "--data_dirs")
    unknown = [name for name in folders if name not in dataset_names()]
    if unknown:
        raise ValueError(f"--data_dirs names {', '.join(unknown)}. The datasets are: {', '.join(dataset_names())}.")
    output = Path(args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / ".lock", timeout=0):
            run = ExperimentRun(experiment, scale, output, folders, parse_options(args.dataset_options), asdict(args))
            return _measure(run, experiment, _report_folder(args), started)
    except Timeout as error:
        raise ValueError(
            f"Another experiment runs in '{output}' and would train the same adapters. Wait for it, or pass another "
            "--output_dir."
        ) from error


def _measure(run: ExperimentRun, experiment: Experiment, folder: Path, started: float) -> Path:
    run.choose_dialogues()  # what cannot be compared is said before the first training
    for one in experiment.conditions.values():
        run.measure(one)
        write_report(folder / "so_far", run.report(time.perf_counter() - started))
    write_report(folder, run.report(time.perf_counter() - started))
    shutil.rmtree(folder / "so_far")
    print(f"\n{(folder / 'report.md').read_text(encoding='utf-8')}\nThe report is in {folder / 'report.html'}.")
    return folder


def _scale(args: ExperimentArguments) -> Scale:
    scale = load_scale("quick" if args.quick else args.scale)
    given = {name: getattr(args, name) for name in ("model_name_or_path", "encoder", "nli_model")}
    return replace(scale, **{name: value for name, value in given.items() if value is not None})


def _experiment(args: ExperimentArguments) -> Experiment:
    experiment = load_experiment(args.experiment)
    if args.conditions is None:
        return experiment
    chosen = {name: experiment.conditions.get(name) or condition(name) for name in args.conditions}
    return replace(experiment, conditions=chosen)


def _report_folder(args: ExperimentArguments) -> Path:
    """By all that was asked for, so that no report replaces one of something else."""
    name, scale = Path(args.experiment).stem, Path(args.scale).stem
    model = Path(args.model_name_or_path).name if args.model_name_or_path is not None else ""
    asked = asdict(replace(args, output_dir=""))
    usual = asdict(ExperimentArguments(name, scale, args.quick, output_dir=""))
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:6] if asked != usual else ""
    return Path(args.output_dir, "-".join(filter(None, (name, "quick" if args.quick else scale, model, digest))))
