"""One model under all conditionings, and several models in one table."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from idl_hf.encoding import default_encoder
from idl_hf.evaluation.data import EvaluationData, spread
from idl_hf.evaluation.scores import score_replies
from idl_hf.models.likelihood import CONDITIONINGS, Estimate, mean_over_people, nll_by_person, persona_gain
from idl_hf.models.loading import first_turn, load_model
from idl_hf.models.replies import generate_replies
from idl_hf.training.stages import fit_rows, parse_options


@dataclass
class ModelReport:
    """What was measured of one model. `nll[conditioning]` in nats per token, over people."""

    label: str
    nll: dict[str, Estimate]
    gain: Estimate
    by_person: dict[str, dict[str, float]]
    scores: dict[str, float] = field(default_factory=dict)
    replies: list[dict[str, str]] = field(default_factory=list)


def evaluate_model(
    model: Any, tokenizer: Any, data: EvaluationData, label: str, generated: int = 0, max_new_tokens: int = 40
) -> ModelReport:
    """NLL and persona gain on all rows; with `generated` > 0, also scores of that many generated last replies."""
    by_person = {}
    has_profiles = all(data.sessions()["profile"])
    for name, conditioning in CONDITIONINGS.items():
        if name == "profile" and not has_profiles:
            continue  # the same people under all conditionings
        fitted = fit_rows(data.rows(conditioning), tokenizer, data.max_prompt_tokens)
        by_person[name] = nll_by_person(model, tokenizer, fitted, f"{label}, {name}")
    report = ModelReport(
        label,
        {name: mean_over_people(values) for name, values in by_person.items()},
        persona_gain(by_person["own"], by_person["other"]),
        by_person,
    )
    if generated:
        _add_generated(report, model, tokenizer, data, generated, max_new_tokens)
    return report


def _add_generated(
    report: ModelReport, model: Any, tokenizer: Any, data: EvaluationData, count: int, max_new_tokens: int
) -> None:
    rows = data.rows("references", reply="last")
    rows = rows.select(spread(len(rows), count))  # over people
    rows = fit_rows(rows, tokenizer, data.max_prompt_tokens)
    written = generate_replies(model, tokenizer, rows["prompt"], max_new_tokens, report.label)
    predictions = [first_turn(tokenizer, text) for _, text in sorted(written)]
    references = [row["completion"][0]["content"] for row in rows]
    report.scores = {"replies": float(len(rows)), **score_replies(predictions, references, data.histories(rows))}
    report.replies = [
        {"person": row["person_id"], "said": row["prompt"][-1]["content"], "reply": prediction, "gold": reference}
        for row, prediction, reference in zip(rows, predictions, references, strict=True)
    ]


def markdown_table(reports: list[ModelReport]) -> str:
    """NLL per token with its interval over people, and persona gain."""
    names = list(reports[0].nll)
    people = reports[0].gain.people
    lines = [
        f"Held-out people: {people}. NLL in nats per token of their replies, lower is better; persona gain = "
        "NLL(another person's references) - NLL(own), higher is better. Mean over people [95 % bootstrap interval].",
        "",
        "| model | " + " | ".join(f"NLL, {name}" for name in names) + " | persona gain |",
        "|---" * (len(names) + 2) + "|",
    ]
    for report in reports:
        cells = [f"{report.nll[name].mean:.3f}" for name in names]
        lines.append(f"| {report.label} | " + " | ".join(cells) + f" | {report.gain} |")
    return "\n".join(lines)


def scores_table(reports: list[ModelReport]) -> str:
    """Scores of the generated replies, in percent but for their number."""
    names = [name for name in reports[0].scores if name != "replies"]
    lines = [
        f"{reports[0].scores['replies']:.0f} generated last replies per model (greedy), scores x 100.",
        "",
        "| model | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for report in reports:
        lines.append(f"| {report.label} | " + " | ".join(f"{100 * report.scores[name]:.1f}" for name in names) + " |")
    return "\n".join(lines)


@dataclass
class EvaluateArguments:
    """Which models on which people."""

    models: list[str] = field(metadata={"help": "Models and adapters: Hub ids, folders, or 'offline'."})
    dataset_name: str = field(default="idl_hf/convai2_idl", metadata={"help": "Dataset of dialogues."})
    data_dir: str | None = field(default=None, metadata={"help": "Folder with the raw files of the corpus."})
    split: str = field(default="validation", metadata={"help": "Split of people whom no model trained on."})
    encoder: str = field(default_factory=default_encoder, metadata={"help": "Sentence encoder, or 'offline'."})
    dataset_options: dict | str | None = field(default=None, metadata={"help": "Builder options, as for training."})
    max_prompt_tokens: int = field(default=2048, metadata={"help": "Longer prompts lose whole reference dialogues."})
    dialogues_per_person: int | None = field(default=None, metadata={"help": "Scores at most this many; default all."})
    generated_replies: int = field(default=0, metadata={"help": "Last replies to generate and score per model."})
    output_dir: str = field(default="runs/evaluation", metadata={"help": "report.md and report.json go here."})


def evaluate_models(args: EvaluateArguments) -> list[ModelReport]:
    """Evaluates each model and writes report.md and report.json."""
    data = EvaluationData(
        args.dataset_name,
        args.data_dir,
        args.split,
        args.max_prompt_tokens,
        args.dialogues_per_person,
        {"encoder": args.encoder, **parse_options(args.dataset_options)},
    )
    reports: list[ModelReport] = []
    for name in args.models:
        model, tokenizer = load_model(name)
        reports.append(evaluate_model(model, tokenizer, data, name, args.generated_replies))
        _write_reports(args, reports)  # after each, so that a failure with a later model loses nothing
    return reports


def _write_reports(args: EvaluateArguments, reports: list[ModelReport]) -> None:
    tables = [markdown_table(reports)] + ([scores_table(reports)] if args.generated_replies else [])
    text = "\n\n".join(tables)
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(f"# Evaluation\n\n{text}\n")
    results = {"arguments": asdict(args), "models": [asdict(report) for report in reports]}
    (folder / "report.json").write_text(json.dumps(results, indent=2))
    print(f"\n{text}\n\nThe report is in {folder / 'report.md'}.")
