"""What an experiment of the paper compares, and at what size: the YAML files of examples/experiments as
dataclasses."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml

from idl_hf.evaluation.conditions import CONDITIONS, Condition, condition
from idl_hf.evaluation.scores import SCORES
from idl_hf.registration import dataset_names, folder
from idl_hf.report.results import Role

T = TypeVar("T")
# What makes a condition another one, which has its name for a key
_RECIPE = {"msl", "contrast", "dpoc", "dpoc_options", "prompt", "dialogues", "training", "baseline", "model"}


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
        _refuse_unknown("column", self.columns, SCORES)
        for key, one in self.conditions.items():
            few = one.dialogues
            if few is not None and (type(few) is not int or few < 1):
                raise ValueError(f"dialogues of the condition '{key}' must be a whole number from 1, found {few!r}.")
            if one.model is not None and (not isinstance(one.model, str) or not one.model):
                raise ValueError(f"model of the condition '{key}' must be a name or a folder, found {one.model!r}.")
            if one.model is not None and one.baseline:
                raise ValueError(
                    f"The condition '{key}' is a system of its own, which takes no model. What it begins with is "
                    "training: {backbone: NAME}."
                )
        roles: list[Role] = [condition.role for condition in self.conditions.values()]
        roles += [variation.role for variation in self.variations if variation.role]
        for test, lines in self.paper.items():
            _refuse_unknown("test of the paper's figures", [test], self.tests)
            for figures in lines.values():
                _refuse_unknown("column of the paper's figures", figures, self.columns)
        _refuse_unknown("role", roles, get_args(Role))


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
        sound = isinstance(seeds, list) and all(type(seed) is int and seed >= 0 for seed in seeds)
        if not sound or not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(
                "The seeds of a scale are a list of different whole numbers from 0, such as [0, 1, 2]; found "
                f"{seeds!r}."
            )


def experiment_names() -> list[str]:
    """Return the names of the experiments that the package holds."""
    return sorted(file.stem for file in folder("experiments").glob("*.yaml"))


def load_experiment(name: str) -> Experiment:
    """Read an experiment by name, or from a YAML file. Raises ValueError for an unknown name or word."""
    found = _read(name, folder("experiments"), "experiment", experiment_names())
    entries, found["conditions"] = found.get("conditions", []), {}
    for entry in entries:
        changes = dict(entry) if isinstance(entry, dict) else {"condition": entry}
        _refuse_unknown(
            f"field of a condition of '{name}'", changes, ["condition", "name", "role", "curve", "x", *sorted(_RECIPE)]
        )
        key = str(changes.pop("condition", None))
        made = replace(condition(key), **changes)  # as it is called, taken for or made here
        if not _RECIPE.isdisjoint(changes):
            key = made.name
        if key in found["conditions"]:
            raise ValueError(f"'{name}' names the condition '{key}' twice.")
        found["conditions"][key] = made
    if "variations" in found:
        found["variations"] = [_filled(Variation, entry, name) for entry in found["variations"]]
    experiment = _filled(Experiment, found, name)
    _refuse_unknown("dataset", [experiment.trained_on, *experiment.tests], dataset_names())
    return experiment


def load_scale(name: str) -> Scale:
    """Read a scale by name, or from a YAML file. What a file does not say is as in the scale that it names with
    `like`, or as `Scale` has it. Raises ValueError for an unknown name or word."""
    return _filled(Scale, _fields_of_scale(name), name)


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
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"'{file}' must hold a mapping, found {type(found).__name__}.")
    return found


def _filled(kind: type[T], values: dict[str, Any], source: str) -> T:
    _refuse_unknown(f"{kind.__name__.lower()} field of '{source}'", values, [f.name for f in fields(kind)])  # type: ignore[arg-type]
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"'{source}' lacks something: {error}.") from error


def _refuse_unknown(kind: str, names: Any, known: Any) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"Unknown {kind}: {', '.join(unknown)}. Known are: {', '.join(known)}.")
