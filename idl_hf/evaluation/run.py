"""Models side by side, or a table of the paper by one command. Trains what is missing, measures,
reports."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from idl_hf.encoding import default_encoder
from idl_hf.evaluation.arguments import EvaluateArguments
from idl_hf.evaluation.conditions import Condition, condition, conditions_of_models
from idl_hf.evaluation.data import EvaluationData
from idl_hf.evaluation.experiment import Experiment, Scale, load_experiment, load_scale
from idl_hf.evaluation.kept_lines import KeptLines
from idl_hf.evaluation.measuring import ExperimentRun
from idl_hf.evaluation.prompts import prompt_budget, prompt_options
from idl_hf.evaluation.provenance import NO_RESULT, SAMPLE_DATA, Files, provenance
from idl_hf.evaluation.scores import AUTHOR, WORDS
from idl_hf.evaluation.written import finish, write_report
from idl_hf.models.endpoint import Endpoint
from idl_hf.models.identity import load_recipe
from idl_hf.registration import dataset_names
from idl_hf.report.results import Report
from idl_hf.shown import without_paths
from idl_hf.training.data import DataArguments, parse_options

_EXPERIMENTS = "runs/experiments"
_LIKELIHOODS = ["nll", "nll_other", "gain", "id_hits", "id_log_loss", "nll_none", "nll_profile"]
_ABOUT_MODELS = (
    "Models side by side on people none of them trained on. Persona gain is NLL given another person's dialogues "
    "minus NLL given the person's own: zero for a model that ignores the person, whatever else it learnt."
)


def evaluate(args: EvaluateArguments) -> Path:
    """Evaluate models, or run an experiment of the paper, and return the report's folder.

    An interrupted run goes on where it stopped; what is done so far is in so_far.md there.
    Raises ValueError for what cannot be combined or compared, OSError for a model that cannot be had.
    """
    return _evaluate_models(args) if args.experiment is None else _run_experiment(args)


def models_experiment(
    models: Mapping[str, str],
    test: str,
    columns: list[str],
    prompts: Mapping[str, Mapping[str, Any]] | None = None,
) -> Experiment:
    """Return the experiment that compares models, by label, on one dataset.

    prompts: by label, the row options by which a model's prompts are made.
    """
    title = f"{', '.join(models)} on {test}"
    return Experiment(title, _ABOUT_MODELS, test, [test], conditions_of_models(models, prompts), columns)


def measure(
    experiment: Experiment,
    run: ExperimentRun,
    folder: Path,
    settings: Mapping[str, Any],
    started: float,
    texts: bool = True,
) -> Report:
    """Measure all conditions under all seeds, writing after each what there is to `folder`/so_far.md and last all
    replies, and return the report. texts: whether it shows replies and dialogues."""
    run.refuse_unknown_templates()  # what cannot be compared is said before the first training
    run.choose_dialogues()
    made = provenance(run.data)
    settings = without_paths({**settings, "measured": run.extent, "made": made})
    for step in run.steps:
        run.measure(step)
        report = run.report(time.perf_counter() - started, settings, texts)
        if not made["is_result"]:
            report = replace(report, intro=f"{report.intro} {NO_RESULT}")
        write_report(folder, report, so_far=True)
    run.write_replies(folder, texts)
    return report


def _evaluate_models(args: EvaluateArguments) -> Path:
    started = time.perf_counter()
    models = {name: name for name in args.models or []}
    reader = next(iter(models)) if args.engine is None else _tokenizer(args.engine, list(models), args)
    recipes = {name: load_recipe(reader if args.engine else name) for name in models}
    given = parse_options(args.dataset_options) | ({"encoder": args.encoder} if args.encoder else {})
    prompts = prompt_options(recipes, given)
    budget = args.max_prompt_tokens or prompt_budget(recipes)
    test = args.dataset_name.removeprefix("idl_hf/")
    columns = _LIKELIHOODS + ([*WORDS, *AUTHOR] if args.generated_replies else [])
    experiment = models_experiment(models, test, columns, prompts)
    options = {
        "encoder": next((made["encoder"] for made in prompts.values() if "encoder" in made), default_encoder()),
        **given,
    }
    data = EvaluationData(args.dataset_name, args.data_dir, args.split, budget, options)
    scale = Scale(
        model_name_or_path=reader,
        encoder=options["encoder"],
        max_prompt_tokens=budget,
        max_new_tokens=40,
        dialogues_per_person=args.dialogues_per_person,
        generated=args.generated_replies or None,  # no score is of replies then
        chat_template=args.chat_template,
    )
    folder = Path(args.output_dir or "runs/evaluation")
    run = ExperimentRun(experiment, scale, folder, {test: data}, DataArguments(args.dataset_name), args.engine)
    made = [{"model": name, **options} for name, options in prompts.items()]
    settings = {"arguments": _given(args), "max_prompt_tokens": budget, "prompts": made}
    return finish(folder, measure(experiment, run, folder, settings, started))


def _tokenizer(engine: str, models: list[str], args: EvaluateArguments) -> str:
    """Return by whose tokenizer prompts for an engine are cut to length, once it is sure that it has the models."""
    listed = Endpoint(engine, models[0]).models()
    if unknown := [name for name in models if name not in listed]:
        raise ValueError(
            f"The engine at {engine} has no model {', '.join(map(repr, unknown))}. Its models are: "
            f"{', '.join(listed) or 'none'}. Name some of these with --models."
        )
    if args.tokenizer is None and not Path(models[0]).is_dir():
        raise ValueError(
            f"'{models[0]}' is what the engine calls a model, and no folder here with its tokenizer. Pass --tokenizer "
            "with the model or adapter behind the engine: a Hub id, a folder, or 'offline'."
        )
    return args.tokenizer or models[0]


def _given(args: EvaluateArguments) -> dict[str, Any]:
    return {name: value for name, value in asdict(args).items() if value is not None}


def _run_experiment(args: EvaluateArguments) -> Path:
    started = time.perf_counter()
    if args.quick and (args.data_dirs or args.scale != EvaluateArguments.scale):
        raise ValueError("--quick is a scale of its own, on the sample data: leave --scale and --data_dirs out.")
    scale, experiment = _scale(args), _experiment(args)
    folders = parse_options(args.data_dirs, "--data_dirs")
    unknown = [name for name in folders if name not in dataset_names()]
    if unknown:
        raise ValueError(f"--data_dirs names {', '.join(unknown)}. The datasets are: {', '.join(dataset_names())}.")
    if scale.sample_data:
        about = f"A trial on the package's sample dialogues; the corpora named below were not used. {experiment.about}"
        experiment = replace(experiment, about=about, trained_on="dialogues_idl", tests=["dialogues_idl"], paper={})
        folders = {"dialogues_idl": str(SAMPLE_DATA)}
    output, runs = Path(args.output_dir or _EXPERIMENTS), Path(args.runs_dir or _EXPERIMENTS)
    _refuse_what_was_kept_beside_reports(output, runs)
    runs.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(runs / ".lock", timeout=0):
            kept = KeptLines(output / "lines")
            run = _experiment_run(experiment, scale, runs, kept, folders, parse_options(args.dataset_options))
            folder = output / _report_name(args, run.data)
            settings = {"arguments": _given(args), "scale": {"name": _scale_name(args), **vars(scale)}}
            return finish(folder, measure(experiment, run, folder, settings, started, args.texts))
    except Timeout as error:
        raise ValueError(
            f"Another experiment runs in '{runs}' and trains the same adapters. Wait, or pass another --runs_dir."
        ) from error


def _refuse_what_was_kept_beside_reports(output: Path, runs: Path) -> None:
    """Raise ValueError for a folder of reports that holds adapters or measurements, which would be made anew."""
    kept = [name for name in ("adapters", "measured.sqlite") if (output / name).exists()]
    if kept and output.resolve() != runs.resolve():
        raise ValueError(
            f"'{output}' holds {' and '.join(kept)} of earlier runs, and this one would keep its own in '{runs}'. "
            f"Pass --runs_dir {output} to go on with them, or another --output_dir for the report."
        )


def _experiment_run(
    experiment: Experiment,
    scale: Scale,
    runs: Path,
    kept: KeptLines,
    folders: Mapping[str, str],
    options: Mapping[str, Any],
) -> ExperimentRun:
    shared: dict[str, Any] = {
        "max_prompt_tokens": scale.max_prompt_tokens,
        "options": {"encoder": scale.encoder, **options},
    }
    tests = {test: EvaluationData(f"idl_hf/{test}", folders.get(test), **shared) for test in experiment.tests}
    corpus = experiment.trained_on
    trained_on = DataArguments(f"idl_hf/{corpus}", folders.get(corpus), dict(options))
    return ExperimentRun(experiment, scale, runs, tests, trained_on, kept=kept)


def _scale(args: EvaluateArguments) -> Scale:
    scale = load_scale("quick" if args.quick else args.scale)
    given = {name: getattr(args, name) for name in ("model_name_or_path", "encoder", "nli_model", "chat_template")}
    return replace(scale, **{name: value for name, value in given.items() if value is not None})


def _experiment(args: EvaluateArguments) -> Experiment:
    experiment = load_experiment(str(args.experiment))
    if args.conditions is None:
        return experiment
    own = {made.name: made for made in experiment.conditions.values()} | experiment.conditions
    chosen = {name: own.get(name) or _condition(name, experiment) for name in args.conditions}
    return replace(experiment, conditions=chosen)


def _condition(name: str, experiment: Experiment) -> Condition:
    try:
        return condition(name)
    except ValueError as error:
        known = ", ".join(repr(made.name) for made in experiment.conditions.values())
        raise ValueError(f"{error} Those of the experiment itself: {known}.") from error


def _report_name(args: EvaluateArguments, data: Mapping[str, Files]) -> str:
    """Of the report's folder: by all that was asked for, so that no report replaces one of something else. Data goes
    by what it holds, so that the folder is the same wherever it lies."""
    name, scale = Path(str(args.experiment)).stem, Path(args.scale).stem
    model = Path(args.model_name_or_path).name if args.model_name_or_path is not None else ""
    usual = EvaluateArguments(experiment=name, scale=scale, quick=args.quick)
    of_no_account = ("output_dir", "runs_dir", "data_dirs", "texts")
    asked = asdict(args) | {name: getattr(usual, name) for name in of_no_account}
    held = data if args.data_dirs else {}
    is_usual = asked == asdict(usual) and not held
    digest = "" if is_usual else hashlib.sha256(json.dumps([asked, held]).encode()).hexdigest()[:6]
    return "-".join(filter(None, (name, _scale_name(args), model, digest)))


def _scale_name(args: EvaluateArguments) -> str:
    return "quick" if args.quick else Path(args.scale).stem
