"""An experiment as it goes: the dialogues that all lines answer in, and a line for each condition that is measured, of
each seed that it is trained with."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from idl_hf.baselines.systems import is_baseline
from idl_hf.cache import Cache, code_identity
from idl_hf.evaluation.adapters import Adapters
from idl_hf.evaluation.conditions import Condition
from idl_hf.evaluation.data import EvaluationData
from idl_hf.evaluation.experiment import Experiment, Scale, Variation
from idl_hf.evaluation.kept_lines import KeptLine, KeptLines
from idl_hf.evaluation.measured_baseline import MeasuredBaseline
from idl_hf.evaluation.measured_endpoint import MeasuredEndpoint
from idl_hf.evaluation.measured_model import MeasuredLine, MeasuredModel, Notes, Reply, examples_of
from idl_hf.evaluation.provenance import Files, provenance, raw_files
from idl_hf.evaluation.reply_file import REPLIES, files_of, places_of, write_replies
from idl_hf.evaluation.scores import SCORES, as_line, kept_judge, score_line
from idl_hf.machine import default_device, fast_precision
from idl_hf.models.endpoint import Endpoint
from idl_hf.models.identity import model_identity
from idl_hf.models.known_templates import read_template
from idl_hf.models.loading import load_model, load_tokenizer
from idl_hf.registration import ORGANIZATION
from idl_hf.report.results import Highlighted, Line, Report, Table, over_seeds
from idl_hf.shown import scrub, visible, without_paths
from idl_hf.training.data import DataArguments, parse_options

_MADE = ("date", "idl_hf", "machine", "libraries")  # what a kept line tells of its making
_NO_TEXTS = "Replies and dialogues are not shown: the corpus is not published with this report."


class Step(NamedTuple):
    """A condition, by its key in the experiment, under one seed of training."""

    condition: str
    seed: int


class _Place(NamedTuple):
    """Which line of a table: the condition by its key, the variation by its number."""

    condition: str
    variation: int


class ExperimentRun:
    """What was measured of an experiment so far. `measure` adds the lines of one step, `report` is what there is."""

    def __init__(
        self,
        experiment: Experiment,
        scale: Scale,
        folder: Path,
        tests: dict[str, EvaluationData],
        data: DataArguments,
        engine: str | None = None,
        kept: KeptLines | None = None,
    ) -> None:
        """folder: of the adapters and measurements. tests: the data of each test by its name. data: the corpus that
        adapters are trained on, with the options of all rows. engine: the URL of what answers in place of models that
        are loaded here; only the tokenizer of the scale's model is, then. kept: lines that need no measuring."""
        self._experiment, self._scale, self._tests = experiment, scale, tests
        self._engine, self._kept = engine, kept
        self._adapters = Adapters(folder / "adapters", scale, data)
        self._cache = Cache(folder / "measured.sqlite")
        self._judge = None if scale.nli_model is None else kept_judge(scale.nli_model, self._cache)
        self._vocabulary = load_tokenizer(scale.model_name_or_path, plain=True).get_vocab()
        self._lines: dict[str, dict[_Place, dict[int, Line]]] = {test: {} for test in tests}  # of each seed
        self._replies: dict[str, dict[str, list[Reply]]] = {test: {} for test in tests}  # by line
        self._highlighted: list[Highlighted] = []
        self._notes = Notes({note: [] for note in experiment.notes})
        if len(scale.seeds) > 1:
            self._notes.add(f"Replies and attention that are shown are those of seed {scale.seeds[0]}.")

    @cached_property
    def data(self) -> dict[str, Files]:
        """The raw files of the datasets that are measured and, where anything is trained, trained on."""
        asked = {data.dataset_name: (data.data_dir, data.options) for data in self._tests.values()}
        corpus = self._adapters.corpus
        if any(condition.is_trained for condition in self._experiment.conditions.values()):
            asked.setdefault(corpus.dataset_name, (corpus.data_dir, parse_options(corpus.dataset_options)))
        return {
            without_paths(name).removeprefix(f"{ORGANIZATION}/"): raw_files(name, *where)
            for name, where in asked.items()
        }

    @property
    def extent(self) -> dict[str, dict[str, int]]:
        """How many people and dialogues were chosen, by test."""
        chosen = {test: data.only or set() for test, data in self._tests.items()}
        return {
            test: {"people": len({key.person_id for key in keys}), "dialogues": len(keys)}
            for test, keys in chosen.items()
        }

    @property
    def steps(self) -> list[Step]:
        """What is to be measured: all conditions under the first seed, then under each other one what is trained."""
        conditions, (first, *others) = self._experiment.conditions, self._scale.seeds
        again = [Step(key, seed) for seed in others for key, value in conditions.items() if value.is_trained]
        return [*(Step(key, first) for key in conditions), *again]

    def choose_dialogues(self) -> None:
        """Choose the dialogues of all lines of a test, of people for whom the rows of all lines can be made."""
        kinds = [
            _row_options(condition, variation)
            for condition in self._experiment.conditions.values()
            for variation in self._experiment.variations
        ]
        for test, data in self._tests.items():
            scale, fewest = self._scale, self._experiment.min_dialogues
            if lost := data.choose(kinds, fewest, scale.people, scale.dialogues_per_person):
                about = f"{test}: {lost} people are left out, for whom some line has no rows (such as no profile)."
                self._notes.add(about)

    def measure(self, step: Step) -> None:
        """Add a line for each test and variation.

        A model that a trained or optional condition needs and that cannot be had is noted, and the other conditions go
        on.
        """
        condition = self._experiment.conditions[step.condition]
        trained = condition.is_trained
        if condition.model is not None and (condition.optional or trained):
            try:
                load_model(condition.model, plain=trained, chat_template=self._scale.chat_template)
            except (OSError, ImportError) as error:
                self._notes.add(f"{condition.name} was not run: {scrub(str(error))}")
                print(visible(f"{condition.name} is not run: {error}"), flush=True)
                return
        if self._take_kept(step, condition):
            return
        model = self._model(self._adapters.adapter(condition, step.seed))
        comparable = model.tokenizer.get_vocab() == self._vocabulary
        for test, data in self._tests.items():
            for number, variation in enumerate(self._experiment.variations):
                measured = MeasuredLine(
                    label=_label(condition, variation),
                    model=model,
                    data=data,
                    options=_row_options(condition, variation),
                    notes=Notes(),
                    max_new_tokens=self._scale.max_new_tokens,
                    generated=self._scale.generated,
                    attention_rows=self._experiment.attention_rows,
                    comparable_tokens=comparable,
                    judge=self._judge,
                )
                scored = score_line(measured, self._experiment.columns)
                line = self._line(as_line(measured.label, condition.role, scored), condition, test, variation)
                self._add(line, measured.notes.texts, step, test, number)
                if step.seed == self._scale.seeds[0]:
                    self._keep_texts(measured, test)
                if self._kept is not None and not {"replies", "attention"} & vars(measured).keys():
                    made = {key: provenance(self.data)[key] for key in _MADE}
                    figures = KeptLine(line.name, line.values, line.whole, line.rows, measured.notes.texts, made)
                    self._kept.write(figures, *self._made_of(step, test, variation))

    def refuse_unknown_templates(self) -> None:
        """Raise ValueError for a model that is measured as it is and of which it is not known how it reads messages:
        before anything is trained."""
        for condition in self._experiment.conditions.values():
            if not condition.is_trained and not condition.optional and self._engine is None:
                name = condition.model or self._scale.model_name_or_path
                if not is_baseline(name):
                    load_tokenizer(name, chat_template=self._scale.chat_template)

    def _template_of(self, condition: Condition) -> str | None:
        """Return the text of the template that is given for models without one, None for what is trained."""
        given = self._scale.chat_template
        return None if given is None or condition.is_trained else read_template(given)

    def _take_kept(self, step: Step, condition: Condition) -> bool:
        """Add the lines of a step from what was kept of earlier runs, all of them or none, and tell whether it did."""
        if self._kept is None:
            return False
        places = [(test, *place) for test in self._tests for place in enumerate(self._experiment.variations)]
        kept = [self._kept.read(*self._made_of(step, test, variation)) for test, _, variation in places]
        if None in kept:
            return False
        for (test, number, variation), figures in zip(places, kept, strict=True):
            assert figures is not None
            label = _label(condition, variation)
            line = Line(label, condition.role, figures.values, figures.whole, figures.rows)
            self._add(self._line(line, condition, test, variation), figures.notes_of(label), step, test, number)
            origin = f"{label}, seed {step.seed} ({figures.origin})"
            self._notes.add("Figures of earlier runs, from lines/", origin)
            print(visible(f"Measured before: {origin}"), flush=True)
        return True

    def _add(self, line: Line, notes: Mapping[str, Sequence[str]], step: Step, test: str, variation: int) -> None:
        self._lines[test].setdefault(_Place(step.condition, variation), {})[step.seed] = line
        for note, labels in notes.items():
            self._notes.add(note)
            for label in labels:
                self._notes.add(note, label)

    def _made_of(self, step: Step, test: str, variation: Variation) -> tuple[object, ...]:
        """Return all that a line without texts depends on: anywhere the same."""
        condition, data = self._experiment.conditions[step.condition], self._tests[test]
        code = code_identity("idl_hf.evaluation.scores", "torch", "transformers", "peft", "numpy", "scikit-learn")
        corpus, judge, device = self._adapters.corpus, self._scale.nli_model, default_device()
        return (
            model_identity(condition.model or self._scale.model_name_or_path),
            [training.made_of() for training in self._adapters.trainings(condition, step.seed)],
            [corpus.dataset_name, corpus.train_split, corpus.budget_per] if condition.is_trained else None,
            sorted((name, sorted(files.items())) for name, files in self.data.items()),
            (data.dataset_name, data.split, data.max_prompt_tokens, sorted(data.options.items())),
            sorted(data.only or ()),
            sorted(_row_options(condition, variation).items()),
            (self._experiment.columns, self._scale.max_new_tokens, self._template_of(condition)),
            (judge and model_identity(judge), self._experiment.attention_rows),
            (device, str(fast_precision(device)), code, provenance(self.data)["code"]),
            code_identity("idl_hf.baselines") if condition.baseline else None,
            # Whose tokens likelihoods are per, where the condition has another model: its own may be left out
            *([model_identity(self._scale.model_name_or_path)] if condition.model else []),
        )

    def report(self, seconds: float, settings: Mapping[str, Any], texts: bool = True) -> Report:
        """Return what was measured so far. seconds: how long it took. settings: what was asked for; the report has
        besides what `idl-hf score` reads of each test. texts: whether it shows replies and dialogues."""
        title, about, x_label = self._experiment.title, self._experiment.about, self._experiment.x_label
        columns = [SCORES[key].column for key in self._experiment.columns]
        lines = {test: list(map(self._joined, places.items())) for test, places in self._lines.items()}
        tables = [Table(_title(test, of_test), columns, of_test, x_label) for test, of_test in lines.items()]
        settings = {**settings, "tests": {test: self._asked(test, texts) for test in self._tests}}
        examples = examples_of(next(iter(self._replies.values()))) if texts else []
        notes = [*self._notes.lines(), *([] if texts else [_NO_TEXTS])]
        highlighted = self._highlighted if texts else []
        return Report(title, about, tables, examples, highlighted, settings, notes, seconds)

    def write_replies(self, folder: Path, texts: bool) -> None:
        """Write where all lines of a test reply to a file that the report names and, with texts, the replies of each
        line to one of its own. Those of an earlier report there, which may have had other lines, go."""
        shutil.rmtree(folder / REPLIES, ignore_errors=True)
        files = files_of(self._replies)
        for test, lines in self._replies.items():
            for label, replies in lines.items():
                write_replies(folder / places_of(test), (reply.given for reply in replies), texts=False)
                if texts:
                    write_replies(folder / files[test][label], (reply.given for reply in replies))

    def _asked(self, test: str, texts: bool) -> dict[str, Any]:
        """Return what has to be known to score other replies in the same places."""
        places = places_of(test) if self._replies[test] else None
        files = files_of(self._replies)[test] if texts else {}
        about = {**self._tests[test].about(), "nli_model": self._scale.nli_model}
        return {**about, "places": places, "replies": files}

    def _model(self, name: str) -> MeasuredModel:
        template = self._scale.chat_template
        if is_baseline(name):
            return MeasuredBaseline(name, self._cache, self._scale.batch_size)
        if self._engine is None:
            return MeasuredModel(name, self._cache, self._scale.batch_size, template)
        endpoint = Endpoint(self._engine, name)
        return MeasuredEndpoint(endpoint, self._scale.model_name_or_path, self._cache, template)

    def _line(self, line: Line, condition: Condition, test: str, variation: Variation) -> Line:
        """Return a line of figures as the experiment shows it."""
        paper = self._experiment.paper.get(test, {}).get(line.name, {})
        x = condition.x if variation.x is None else variation.x
        curve = (condition.curve or condition.name) if x is not None else ""
        group = curve or (variation.name if len(self._experiment.conditions) > 1 else "")
        role = variation.role or condition.role
        return replace(line, role=role, paper=paper, x=x, group=group)

    def _joined(self, measured: tuple[_Place, dict[int, Line]]) -> Line:
        """Return the line of all seeds so far. An experiment of one seed says nothing of it."""
        place, of_seeds = measured
        several = len(self._scale.seeds) > 1 and self._experiment.conditions[place.condition].is_trained
        return over_seeds(of_seeds) if several else of_seeds[self._scale.seeds[0]]

    def _keep_texts(self, measured: MeasuredLine, test: str) -> None:
        """For the report: replies, and a dialogue with its attention, where they were measured."""
        if "replies" in vars(measured):
            self._replies[test][measured.label] = measured.replies
        for dialogue, attention in list(vars(measured).get("attention", {}).items())[:1]:
            self._highlighted.append(Highlighted(f"{measured.label}, {dialogue.person_id}", attention.spans))


def _label(condition: Condition, variation: Variation) -> str:
    return ", ".join(filter(None, (condition.name, variation.name)))


def _row_options(condition: Condition, variation: Variation) -> dict[str, Any]:
    both = condition.prompt.keys() & variation.options.keys()
    if both:
        raise ValueError(
            f"The condition '{condition.name}' and the variation '{variation.name}' both set "
            f"{', '.join(sorted(both))}. Leave the condition out of this experiment (--conditions)."
        )
    return {"conditioning": "references", **condition.prompt, **variation.options}


def _title(test: str, lines: Sequence[Line]) -> str:
    people = {len(values) for line in lines for values in line.values.values()}
    seeds = max((len(line.by_seed) for line in lines), default=0)
    about = [test, f"{max(people)} people" if people else "", f"{seeds} seeds" if seeds > 1 else ""]
    return ", ".join(filter(None, about))
