"""What an experiment of the paper compares, and at what size: the YAML files of examples/experiments as
dataclasses."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from idl_hf.evaluation.conditions import CONDITIONS, Condition, condition
from idl_hf.evaluation.scores import SCORES
from idl_hf.evaluation.yaml_fields import checked, filled, refuse_unknown
from idl_hf.registration import dataset_names, folder
from idl_hf.report.results import Role
from idl_hf.yaml_file import read_yaml

# What makes a condition another one, which has its name for a key
_RECIPE = {"msl", "contrast", "dpoc", "dpoc_options", "prompt", "dialogues", "training", "baseline", "model"}

_COUNTS = (  # fields of a scale
    "max_prompt_tokens", "max_new_tokens", "msl_rows", "dpoc_rows", "people", "dialogues_per_person", "generated",
    "batch_size",
)  # fmt: skip


@dataclass(frozen=True)
class Variation:
    """One way to change what all prompts know of the person. x: its place on a curve."""

    name: str = ""
    options: dict[str, Any] = field(default_factory=dict)  # of the rows
    role: Role | None = None  # instead of the condition's
    x: float | None = None


@dataclass(frozen=True)
class Experiment:
    """Conditions, each under all variations, on each test corpus."""

    title: str
    about: str
    trained_on: str  # a built-in dataset, without idl_hf/
    tests: list[str]
    conditions: dict[str, Condition]
    columns: list[str]
    variations: list[Variation] = field(default_factory=lambda: [Variation()])
    x_label: str = ""  # what the x of variations or conditions counts
    min_dialogues: int = 2  # of a person, so that there is something to refer to
    attention_rows: int = 0  # dialogues whose attention is read (Figure 5)
    paper: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)  # its figures by test, line, column
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.conditions:
            raise ValueError(f"'{self.title}' has no conditions. Expected some of: {', '.join(CONDITIONS)}.")
        refuse_unknown("column", self.columns, SCORES)
        for key, one in self.conditions.items():
            if one.dialogues is not None and one.dialogues < 1:
                raise ValueError(f"dialogues of the condition '{key}' must be 1 or more, found {one.dialogues}.")
            if one.model == "":
                raise ValueError(f"model of the condition '{key}' must be a name or a folder, found ''.")
            if one.model is not None and one.baseline:
                raise ValueError(
                    f"The condition '{key}' is a system of its own, which takes no model. What it begins with is "
                    "training: {backbone: NAME}."
                )
        roles: list[Role] = [condition.role for condition in self.conditions.values()]
        roles += [variation.role for variation in self.variations if variation.role]
        for test, lines in self.paper.items():
            refuse_unknown("test of the paper's figures", [test], self.tests)
            for figures in lines.values():
                refuse_unknown("column of the paper's figures", figures, self.columns)
        refuse_unknown("role", roles, get_args(Role))


@dataclass(frozen=True)
class Scale:
    """Which models, and how much of everything."""

    model_name_or_path: str
    encoder: str
    max_prompt_tokens: int
    max_new_tokens: int
    model: dict[str, Any] = field(default_factory=dict)  # fields of ModelConfig, for the first stage
    training: dict[str, Any] = field(default_factory=dict)  # fields of both stages' training arguments
    msl: dict[str, Any] = field(default_factory=dict)  # fields of SFTConfig
    contrast: dict[str, Any] = field(default_factory=dict)  # fields of ContrastConfig; its rows are those of MSL
    dpoc: dict[str, Any] = field(default_factory=dict)  # fields of DPOCConfig
    baseline: dict[str, Any] = field(default_factory=dict)  # fields of BaselineArguments
    msl_options: dict[str, Any] = field(default_factory=dict)  # of the rows
    dpoc_options: dict[str, Any] = field(default_factory=dict)
    msl_rows: int | None = None  # None: all
    dpoc_rows: int | None = None
    people: int | None = None
    dialogues_per_person: int | None = None
    generated: int | None = None  # replies of each line, spread over the dialogues; None: all
    batch_size: int = 8  # of generation
    nli_model: str | None = None
    chat_template: str | None = None  # of models that have none and are measured as they are: see `load_tokenizer`
    sample_data: bool = False  # train and test on the package's own dialogues, whatever the experiment says
    seeds: list[int] = field(default_factory=lambda: [0])  # trains what is trained once with each

    def __post_init__(self) -> None:
        seeds = self.seeds
        if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise ValueError(
                f"The seeds of a scale must be different whole numbers from 0, such as [0, 1, 2]; found {seeds}."
            )
        for name in _COUNTS:
            if (count := getattr(self, name)) is not None and count < 1:
                raise ValueError(f"{name} of a scale must be a whole number from 1, found {count}.")


def experiment_names() -> list[str]:
    """Return the names of the experiments that the package holds."""
    return sorted(file.stem for file in folder("experiments").glob("*.yaml"))


def load_experiment(name: str) -> Experiment:
    """Read an experiment by name, or from a YAML file. Raises ValueError for an unknown name or word."""
    found = _read(name, folder("experiments"), "experiment", experiment_names())
    found["conditions"] = _conditions(found.get("conditions", []), name)
    if "variations" in found:
        entries = _list_of("variations", found["variations"], name)
        found["variations"] = [filled(Variation, entry, f"a variation of '{name}'") for entry in entries]
    experiment = filled(Experiment, found, f"the experiment '{name}'")
    refuse_unknown("dataset", [experiment.trained_on, *experiment.tests], dataset_names())
    return experiment


def _conditions(entries: object, name: str) -> dict[str, Condition]:
    """Return the conditions that an experiment lists, by name or by what makes them others, by their keys."""
    conditions: dict[str, Condition] = {}
    for entry in _list_of("conditions", entries, name):
        changes = dict(entry) if isinstance(entry, dict) else {"condition": entry}
        key, where = str(changes.pop("condition", None)), f"a condition of '{name}'"
        refuse_unknown(f"field of {where}", changes, ["name", "role", "curve", "x", *sorted(_RECIPE)])
        made = replace(condition(key), **checked(Condition, changes, where))  # as it is called, taken for or made here
        if not _RECIPE.isdisjoint(changes):
            key = made.name
        if key in conditions:
            raise ValueError(f"'{name}' names the condition '{key}' twice.")
        conditions[key] = made
    return conditions


def _list_of(what: str, entries: object, name: str) -> list[Any]:
    if not isinstance(entries, list):
        raise ValueError(f"{what} of the experiment '{name}' must be a list, found {entries!r:.80}.")
    return entries


def load_scale(name: str) -> Scale:
    """Read a scale by name, or from a YAML file. What a file does not say is as in the scale that it names with
    `like`, or as `Scale` has it. Raises ValueError for an unknown name or word."""
    return filled(Scale, _fields_of_scale(name), f"the scale '{name}'")


def _fields_of_scale(name: str, *like_it: str) -> dict[str, Any]:
    scales = folder("experiments") / "scales"
    found = _read(name, scales, "scale", sorted(file.stem for file in scales.glob("*.yaml")))
    like = found.pop("like", None)
    if like is None:
        return found
    if like in (name, *like_it):
        raise ValueError(f"The scale '{name}' is like '{like}', which is itself like '{name}'. Take one `like` out.")
    return _fields_of_scale(str(like), name, *like_it) | found


def _read(name: str, place: Path, kind: str, known: list[str]) -> dict[str, Any]:
    file = Path(name) if name.endswith((".yaml", ".yml")) else place / f"{name}.yaml"
    if not file.is_file():
        raise ValueError(f"There is no {kind} '{name}'. There are: {', '.join(known)}; or pass a .yaml file.")
    return read_yaml(file).values
