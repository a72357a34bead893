"""An experiment as it goes: the dialogues that all lines answer in, and what was measured so far."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from idl_hf.evaluation.adapters import Adapters
from idl_hf.evaluation.attention import summarise
from idl_hf.evaluation.columns import COLUMNS
from idl_hf.evaluation.conditions import Condition
from idl_hf.evaluation.data import EvaluationData, spread
from idl_hf.evaluation.experiment import Experiment, Scale, Variation
from idl_hf.evaluation.measured_model import MeasuredModel, Reply
from idl_hf.evaluation.scores import kept_judge, score_people
from idl_hf.models.loading import load_model
from idl_hf.report.results import Highlighted, Line, Report, Table
from idl_hf.training.stages import DataArguments, fit_rows

SAMPLE_DATA = Path(__file__).parents[1] / "sample_data"
_EXAMPLES = 6  # replies shown in a report


class ExperimentRun:
    """The adapters and measurements are in `folder`; `data_dirs` are of datasets, `options` of all rows."""

    def __init__(
        self,
        experiment: Experiment,
        scale: Scale,
        folder: Path,
        data_dirs: dict[str, str],
        options: dict[str, Any],
        arguments: dict[str, Any],
    ) -> None:
        self._experiment, self._scale, self._folder = experiment, scale, folder
        self._data_dirs, self._options = data_dirs, options
        self._settings = {"arguments": arguments, "scale": vars(scale)}
        self._data = {test: self._data_of(test) for test in experiment.tests}
        self._lines: dict[str, list[Line]] = {test: [] for test in experiment.tests}
        self._replies: dict[str, list[Reply]] = {}  # by line, of the first test
        self._highlighted: list[Highlighted] = []
        self._notes = dict.fromkeys(experiment.notes)  # each once, in order
        self._prompts: dict[str, list[str]] = {}  # lines by what their prompts show
        self._judge = None
        if {"coh", "coh_con"} & set(experiment.columns):
            if scale.nli_model is None:
                self._note("Coh. and Coh-Con. need an NLI model (--nli_model), and none was given.")
            else:
                self._judge = kept_judge(scale.nli_model, folder / "measured" / "nli.jsonl")

    def choose_dialogues(self) -> None:
        """The same for all lines of a test, of people for whom the rows of all lines can be made."""
        for test, data in self._data.items():
            kinds = [
                _row_options(one, variation)
                for one in self._experiment.conditions.values()
                for variation in self._experiment.variations
            ]
            lost = data.choose(
                kinds, self._experiment.min_dialogues, self._scale.people, self._scale.dialogues_per_person
            )
            if lost:
                self._note(f"{test}: {lost} people are left out, for whom some line has no rows (such as no profile).")

    def measure(self, one: Condition) -> None:
        """A line for each test and variation. A model that cannot be had is noted, and the other conditions go on."""
        if one.model is not None:
            try:
                load_model(one.model)
            except OSError as error:
                self._note(f"{one.name} was not run: {error}")
                print(f"{one.name} is not run: {error}", flush=True)
                return
        corpus = self._experiment.trained_on
        data = DataArguments(f"idl_hf/{corpus}", self._data_dir(corpus), self._options)
        adapter = Adapters(self._folder / "adapters", self._scale, data).of(one)
        model = MeasuredModel(adapter, self._folder / "measured")
        for test in self._experiment.tests:
            for variation in self._experiment.variations:
                self._lines[test].append(self._line(one, model, test, variation))

    def report(self, seconds: float) -> Report:
        columns = [COLUMNS[key] for key in self._experiment.columns]
        tables = [
            Table(
                f"{test}, {len(lines[0].values['bleu_1'])} people" if lines else test,
                columns,
                lines,
                self._experiment.x_label,
            )
            for test, lines in self._lines.items()
        ]
        notes = [*self._notes, *(f"{about}: {'; '.join(labels)}." for about, labels in self._prompts.items())]
        shown = (self._examples(), self._highlighted, self._settings, notes, seconds)
        return Report(self._experiment.title, self._experiment.about, tables, *shown)

    def _line(self, one: Condition, model: MeasuredModel, test: str, variation: Variation) -> Line:
        data, options = self._data[test], _row_options(one, variation)
        label = ", ".join(filter(None, (one.name, variation.name)))
        rows = self._fitted(test, model, options, label)
        values = {}
        if one.model is None:
            values["nll"] = model.nll(rows, label)
        else:
            self._note(
                f"{one.name} has another tokenizer. Its NLL and persona gain are not shown, since likelihoods per token of "
                "different tokenizers cannot be compared."
            )
        if one.model is None and _shows_dialogues(options):
            others = self._fitted(test, model, {**options, "conditioning": "other_person"}, f"{label}, other person")
            other = model.nll(others, f"{label}, other person")
            values["gain"] = {person: other[person] - own for person, own in values["nll"].items()}
        replies = model.replies(rows, self._scale.max_new_tokens, self._scale.batch_size, label)
        scores, whole = self._score(replies, data)
        values |= scores
        counts = {key: len(replies) for key in [*scores, *whole]} | {"nll": len(rows), "gain": len(rows)}
        if self._experiment.attention_rows and _shows_dialogues(options):
            looked, looked_at = self._attention(model, data, rows, label)
            values |= looked
            counts |= looked_at
        if test == self._experiment.tests[0]:
            self._replies[label] = replies
        curve = one.name if variation.x is not None else ""
        group = curve or (variation.name if len(self._experiment.conditions) > 1 else "")
        paper = self._experiment.paper.get(test, {}).get(label, {})
        return Line(label, variation.role or one.role, values, whole, counts, paper, variation.x, group)

    def _fitted(self, test: str, model: MeasuredModel, options: dict[str, Any], label: str) -> Dataset:
        """Rows within the token budget. How many past dialogues they show is noted: lines differ in it, too."""
        data = self._data[test]
        rows = fit_rows(data.rows(**options), model.tokenizer, data.max_prompt_tokens)
        if _shows_dialogues(options):
            chosen, lost = [len(ids) for ids in rows["reference_ids"]], rows["dropped_references"]
            shown = [count - dropped for count, dropped in zip(chosen, lost, strict=True)]
            about = (
                f"{test}, {np.mean(shown):.2f} past dialogues a prompt, of {np.mean(chosen):.2f} chosen; "
                f"{sum(map(bool, lost))} of {len(rows)} prompts lost some to keep within {data.max_prompt_tokens} tokens, "
                f"{shown.count(0)} hold none"
            )
            self._prompts.setdefault(about, []).append(label)
        return rows

    def _score(
        self, replies: Sequence[Reply], data: EvaluationData
    ) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
        people = [reply.person for reply in replies]
        histories = data.histories({"person_id": reply.person, "dialogue_id": reply.dialogue} for reply in replies)
        profiles = data.profiles()
        known = [profiles[reply.person, reply.dialogue] for reply in replies]
        if self._judge is not None and not all(known):
            self._note(
                f"{data.dataset_name}: Coh. and Coh-Con. are left out, since {known.count([])} of {len(known)} replies are of "
                "people without a profile."
            )
        said, gold = [reply.text for reply in replies], [reply.gold for reply in replies]
        return score_people(people, said, gold, histories, known, self._judge if all(known) else None)

    def _attention(
        self, model: MeasuredModel, data: EvaluationData, rows: Dataset, label: str
    ) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
        """(values, in how many dialogues) by column, of those that show a reference, spread over the rows."""
        shown = [row for row in rows if len(row["reference_ids"]) > row["dropped_references"]]
        kept = [shown[i] for i in spread(len(shown), self._experiment.attention_rows)]
        if not kept:
            return {}, {}
        profiles = data.profiles()
        found = model.attention(kept, [profiles[row["person_id"], row["dialogue_id"]] for row in kept], label)
        self._highlighted.append(Highlighted(f"{label}, {kept[0]['person_id']}", found[0].spans))
        return summarise(found, [row["person_id"] for row in kept])

    def _data_of(self, test: str) -> EvaluationData:
        options = {"encoder": self._scale.encoder, **self._options}
        budget = self._scale.max_prompt_tokens
        return EvaluationData(f"idl_hf/{test}", self._data_dir(test), max_prompt_tokens=budget, options=options)

    def _data_dir(self, dataset: str) -> str | None:
        return str(SAMPLE_DATA) if self._scale.sample_data else self._data_dirs.get(dataset)

    def _examples(self) -> list[dict[str, str]]:
        """The same replies of all lines, spread over people."""
        some = next(iter(self._replies.values()), [])
        return [
            {
                "partner": some[i].said,
                "the person": some[i].gold,
                **{name: replies[i].text for name, replies in self._replies.items()},
            }
            for i in spread(len(some), _EXAMPLES)
        ]

    def _note(self, text: str) -> None:
        self._notes[text] = None


def _row_options(one: Condition, variation: Variation) -> dict[str, Any]:
    both = one.prompt.keys() & variation.options.keys()
    if both:
        raise ValueError(
            f"The condition '{one.name}' and the variation '{variation.name}' both set {', '.join(sorted(both))}. Leave "
            "the condition out of this experiment (--conditions)."
        )
    return {"conditioning": "references", **one.prompt, **variation.options}


def _shows_dialogues(options: dict[str, Any]) -> bool:
    return options["conditioning"] not in ("none", "profile") and options.get("references") != 0
