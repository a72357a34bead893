"""`idl-hf evaluate --experiment table3`: trains what is missing, measures, reports. A table of the paper by one command."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from idl_hf.evaluation.adapters import Trainer
from idl_hf.evaluation.attention import summarise
from idl_hf.evaluation.columns import COLUMNS
from idl_hf.evaluation.conditions import Condition, condition
from idl_hf.evaluation.data import EvaluationData
from idl_hf.evaluation.experiment import Experiment, Scale, Variation, load_experiment, load_scale
from idl_hf.evaluation.lines import Highlighted, Line, Report, Table
from idl_hf.evaluation.measures import Model, Reply
from idl_hf.evaluation.page import write_report
from idl_hf.evaluation.scoring import score_people
from idl_hf.extractor import model_identity
from idl_hf.hub import load_model
from idl_hf.training import DataArguments, fit_rows, parse_options

SAMPLE_DATA = Path(__file__).parents[1] / "sample_data"
_EXAMPLES = 6  # replies shown in a report


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
        metadata={"help": "<experiment>/report.html, .md and .json; adapters and measurements for all experiments."},
    )


def run_experiment(args: ExperimentArguments) -> Path:
    """Returns the report's folder. An interrupted run goes on where it stopped; the report is written after each line."""
    started = time.perf_counter()
    scale = _scale(args)
    experiment = load_experiment(args.experiment)
    if args.conditions is not None:
        chosen = {name: experiment.conditions.get(name) or condition(name) for name in args.conditions}
        experiment = replace(experiment, conditions=chosen)
    if scale.sample_data:
        experiment = replace(experiment, trained_on="dialogues_idl", tests=["dialogues_idl"])
    run = _Run(args, experiment, scale)
    folder = Path(args.output_dir, Path(args.experiment).stem + ("-quick" if args.quick else ""))
    for one in experiment.conditions.values():
        run.measure(one)
        write_report(folder, run.report(time.perf_counter() - started))
    print(f"\n{(folder / 'report.md').read_text(encoding='utf-8')}\nThe report is in {folder / 'report.html'}.")
    return folder


def _scale(args: ExperimentArguments) -> Scale:
    scale = load_scale("quick" if args.quick else args.scale)
    given = {name: getattr(args, name) for name in ("model_name_or_path", "encoder", "nli_model")}
    return replace(scale, **{name: value for name, value in given.items() if value is not None})


class _Run:
    """What was measured so far, as the lines of a report."""

    def __init__(self, args: ExperimentArguments, experiment: Experiment, scale: Scale) -> None:
        self.experiment, self.scale = experiment, scale
        self.settings = {"arguments": asdict(args), "scale": asdict(scale)}
        self._folder = Path(args.output_dir)
        self._folders = parse_options(args.data_dirs)
        self._options = parse_options(args.dataset_options)
        self.lines: dict[str, list[Line]] = {test: [] for test in experiment.tests}
        self.replies: dict[str, list[Reply]] = {}
        self.highlighted: list[Highlighted] = []
        self.notes = list(experiment.notes)

    def measure(self, one: Condition) -> None:
        """A line for each test and variation."""
        corpus = self.experiment.trained_on
        data = DataArguments(f"idl_hf/{corpus}", self._data_dir(corpus), self._options)
        name = Trainer(self._folder / "adapters", self.scale, data).adapter(one)
        model = Model(lambda: load_model(name), model_identity(name), self._folder / "measured")
        for test in self.experiment.tests:
            for variation in self.experiment.variations:
                self.lines[test].append(self._line(one, model, test, variation))

    def report(self, seconds: float) -> Report:
        tables = []
        for test, lines in self.lines.items():
            columns = [COLUMNS[key] for key in self.experiment.columns]
            title = f"{test}, {len(lines[0].values['nll'])} people" if lines else test
            tables.append(Table(title, columns, lines, self.experiment.x_label))
        notes = list(dict.fromkeys(self.notes))
        about = self.experiment.about
        return Report(
            self.experiment.title, about, tables, self._examples(), self.highlighted, self.settings, notes, seconds
        )

    def _line(self, one: Condition, model: Model, test: str, variation: Variation) -> Line:
        data = self._data(test)
        label = ", ".join(filter(None, (one.name, variation.name)))
        options = {**one.prompt, **variation.options}
        rows = self._rows(data, model, options)
        if self.lines[test]:
            self._same_dialogues(test, label, rows)
        values: dict[str, dict[str, float]] = {"nll": model.nll(rows, label)}
        if options.get("conditioning") not in ("none", "profile") and options.get("references") != 0:
            other = model.nll(self._rows(data, model, {**options, "conditioning": "other_person"}), f"{label}, other")
            values["gain"] = {person: other[person] - own for person, own in values["nll"].items()}
        replies = model.replies(rows, self.scale.max_new_tokens, self.scale.batch_size, label)
        scores, whole = self._score(replies, data)
        values |= scores
        counts = {key: len(replies) for key in [*scores, *whole]} | {"nll": len(rows), "gain": len(rows)}
        if self.experiment.attention_rows:
            looked, count = self._attention(model, data, rows, label)
            values |= looked
            counts |= dict.fromkeys(looked, count)
        self.replies[f"{test}, {label}"] = replies
        paper = self.experiment.paper.get(test, {}).get(label, {})
        group = one.name if variation.x is not None else ""
        return Line(label, one.role, values, whole, counts, paper, variation.x, group)

    def _rows(self, data: EvaluationData, model: Model, options: dict[str, Any]) -> Dataset:
        conditioning = options.get("conditioning", "references")
        rows = data.rows(conditioning, **{name: value for name, value in options.items() if name != "conditioning"})
        if len(rows) == 0:
            raise ValueError(
                f"No row of {data.dataset_name} can be made with {options} and at least {data.min_dialogues} dialogues a "
                "person. Does the corpus have profiles, if they are asked for?"
            )
        bare = sum(not references for references in rows["reference_ids"])
        if bare and conditioning not in ("none", "profile") and options.get("references") != 0:
            self.notes.append(
                f"{bare} of {len(rows)} prompts with {options or 'the default options'} hold no reference."
            )
        return fit_rows(rows, model.loaded[1], data.max_prompt_tokens)

    def _same_dialogues(self, test: str, label: str, rows: Dataset) -> None:
        people, first = set(rows["person_id"]), self.lines[test][0]
        if people != set(first.values["nll"]) or len(rows) != first.rows["nll"]:
            raise ValueError(
                f"'{label}' would answer in {len(rows)} dialogues of {len(people)} people, '{first.name}' in "
                f"{first.rows['nll']} of {len(first.values['nll'])}: they cannot be compared."
            )

    def _score(
        self, replies: Sequence[Reply], data: EvaluationData
    ) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
        profiles = data.profiles()
        histories = data.histories({"person_id": reply.person, "dialogue_id": reply.dialogue} for reply in replies)
        known = [profiles[reply.person] for reply in replies]
        if self.scale.nli_model is None:
            self.notes.append("Coh. and Coh-Con. need an NLI model (--nli_model); none was given.")
        elif not all(known):
            self.notes.append("Coh. and Coh-Con. need profiles, which not all people have.")
        nli = self.scale.nli_model if all(known) else None
        people, said, gold = zip(*((reply.person, reply.text, reply.gold) for reply in replies), strict=True)
        return score_people(people, said, gold, histories, known, nli)

    def _attention(
        self, model: Model, data: EvaluationData, rows: Dataset, label: str
    ) -> tuple[dict[str, dict[str, float]], int]:
        """(values, in how many dialogues), of those that show a reference, spread over the rows."""
        shown = [row for row in rows if len(row["reference_ids"]) > row["dropped_references"]]
        kept = shown[:: max(1, len(shown) // self.experiment.attention_rows)][: self.experiment.attention_rows]
        profiles = data.profiles()
        found = model.attention(kept, [profiles[row["person_id"]] for row in kept], label)
        self.highlighted.append(Highlighted(f"{label}, {kept[0]['person_id']}", found[0].spans))
        return summarise(found, [row["person_id"] for row in kept]), len(kept)

    def _data(self, test: str) -> EvaluationData:
        scale, options = self.scale, {"encoder": self.scale.encoder, **self._options}
        return EvaluationData(
            f"idl_hf/{test}",
            self._data_dir(test),
            max_prompt_tokens=scale.max_prompt_tokens,
            dialogues_per_person=scale.dialogues_per_person,
            options=options,
            people=scale.people,
            min_dialogues=self.experiment.min_dialogues,
        )

    def _data_dir(self, dataset: str) -> str | None:
        return str(SAMPLE_DATA) if self.scale.sample_data else self._folders.get(dataset)

    def _examples(self) -> list[dict[str, str]]:
        """The same replies of all lines of the first test, spread over people."""
        first = next(iter(self.lines))
        replies = {name.partition(", ")[2]: of for name, of in self.replies.items() if name.startswith(f"{first}, ")}
        if not replies:
            return []
        some = next(iter(replies.values()))
        chosen = range(0, len(some), max(1, len(some) // _EXAMPLES))[:_EXAMPLES]
        return [
            {"partner": some[i].said, "gold": some[i].gold, **{name: of[i].text for name, of in replies.items()}}
            for i in chosen
        ]
