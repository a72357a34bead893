"""One person in one command: rows, MSL, DPOC, and how well the person is told from strangers on held-out dialogues.

Others are trained on too, with about half as many dialogues as the person has: whoever else is in the folder, or the
package's sample people. A model that sees one person only learns their manner by heart and need not look at the
dialogues in the prompt; with several it has to, and the adapter can forget a dialogue, or take on somebody else. They
are also whom rejected replies come from, and the strangers of the measurement; the folder's own are the harder test.
"""

import json
import math
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idl_hf.arguments import option, refuse_less_than_one, required
from idl_hf.cache import digest, write_whole
from idl_hf.fitting.cast import Cast, Line, read_cast, trained_on
from idl_hf.fitting.plan import SECONDS_AROUND, STRANGERS, Plan, counted, in_words, plan_for, seconds_per_token
from idl_hf.shown import visible

if TYPE_CHECKING:
    from idl_hf.evaluation.likeness import Likeness
    from idl_hf.schema import Person
    from idl_hf.training.data import DataArguments

STATE, LIKENESS = "fit.json", "likeness.json"
_MODEL: dict[str, Any] = {
    "use_peft": True,
    "lora_r": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "lora_target_modules": ["all-linear"],
}
_TRAINING: dict[str, Any] = {  # of both stages
    "per_device_train_batch_size": 1,
    "lr_scheduler_type": "cosine",
    "gradient_checkpointing": False,
    "logging_steps": 4,
    "save_total_limit": 1,
    "resume_from_checkpoint": "last",
    "report_to": "none",
}


@dataclass
class FitSettings:
    """Whom to fit, from what, and for how long."""

    data_dir: str = required("Folder with train.jsonl and maybe validation.jsonl, as `idl-hf import` writes it.")
    person: str | None = option(None, "person_id; may be left out if train.jsonl has one person.")
    minutes: float = option(10.0, "How long it may take on this machine; more is better.")
    output_dir: str = option("runs/fit", "The adapter, likeness.json and what was trained on go here.")
    model_name_or_path: str = option("offline", "Base model: a Hub id, a folder, or 'offline', which is SmolLM2-135M.")
    encoder: str = option("offline", "Sentence encoder, by name; 'offline' is all-MiniLM-L6-v2.")
    max_prompt_tokens: int = option(768, "Longer prompts lose whole reference dialogues.")
    seed: int = option(0, "Of training, and of who else is trained on.")

    def __post_init__(self) -> None:
        if not self.minutes > 0 or math.isinf(self.minutes):
            raise ValueError(f"--minutes must be a number of minutes above 0, found {self.minutes}.")
        refuse_less_than_one(max_prompt_tokens=self.max_prompt_tokens)


def fit_person(settings: FitSettings) -> Path:
    """Fit an adapter to a person, measure it, and return its folder. What was interrupted goes on where it stopped.

    Raises ValueError for a person with too few dialogues, and for a folder that holds a fit of something else.
    """
    end = time.monotonic() + 60 * settings.minutes
    cast = read_cast(settings.data_dir, settings.person)
    folder = Path(settings.output_dir)
    state = _open_state(folder, settings, cast)
    name = visible(cast.past[0].dialogue.person_id)
    if not (folder / LIKENESS).is_file():
        others = "the package's sample people" if cast.are_samples else "others of the folder"
        print(f"{name}: {len(cast.past)} dialogues to learn from, {len(cast.held_out)} held out, with {others}")
        plan = state.plan(lambda: _make_plan(settings, folder, cast, end))
        least = f". Less than that cannot be done in {settings.minutes:g}" if plan.total > settings.minutes + 1 else ""
        print(f"About {plan.total:.0f} minutes: {in_words(plan)}{least}", flush=True)
        state.once("msl", lambda: _train_msl(settings, folder, plan, end))
        state.once("dpoc", lambda: _train_dpoc(settings, folder, plan, end))
        _measure(settings, folder, cast, plan)
    likeness = json.loads((folder / LIKENESS).read_text())
    dialogues = json.loads((folder / STATE).read_text())["measured"]
    print(visible(f"\n{in_a_sentence(name, likeness, dialogues, cast.are_samples)}"))
    chat = ["idl-hf", "chat", "--model", str(folder), "--dialogues", str(Path(settings.data_dir, "train.jsonl"))]
    person = shlex.quote(cast.past[0].dialogue.person_id)  # after =, since a name may begin with a dash
    print(visible(f"\nTo chat: {shlex.join(chat)} --person={person}"))
    return folder


def in_a_sentence(name: str, likeness: dict[str, Any], dialogues: int, sample_people: bool) -> str:
    """Return what likeness.json says, with what it does not show."""
    gain, people = likeness["gain"], likeness["people"]
    interval = "" if gain["low"] is None else f" [{gain['low']:.2f}, {gain['high']:.2f}]"
    text = (
        f"On {counted(dialogues, 'dialogue')} it never saw, {name}'s own past dialogues are worth {gain['mean']:.2f} "
        f"nats a token{interval} over those of strangers; picked out of {people} people in {likeness['hits@1']:.0%} "
        f"(chance {1 / people:.0%})."
    )
    if gain["low"] is None or gain["low"] <= 0:
        text += " That is too little to tell from nothing: more dialogues or more --minutes may help."
    return f"{text} The strangers are the package's sample people, an easy test." if sample_people else text


# What was done before


class State:
    """What a folder's fit was asked for and has done, kept in it, so that the same command goes on."""

    def __init__(self, file: Path, content: dict[str, Any]) -> None:
        self._file, self._content = file, content

    def plan(self, make: Callable[[], Plan]) -> Plan:
        """Return the plan, made the first time."""
        if "plan" not in self._content:
            plan = make()
            self.keep(plan=asdict(plan), measured=plan.held_out)
        return Plan(**self._content["plan"])

    def once(self, stage: str, run: Callable[[], None]) -> None:
        """Run a stage unless it was run to its end before."""
        if stage not in self._content["done"]:
            run()
            self.keep(done=[*self._content["done"], stage])

    def keep(self, **values: object) -> None:
        """Write the state with these values added."""
        self._content |= values
        _write(self._file, json.dumps(self._content, indent=2))


def _open_state(folder: Path, settings: FitSettings, cast: Cast) -> State:
    """Return the state of the folder's fit, begun where there is none, with the files of dialogues written."""
    file = folder / STATE
    train = trained_on(cast, settings.seed)
    dialogues = digest([line.text for line in train], [line.text for line in cast.held_out]).hex()[:16]
    asked = {**asdict(settings), "output_dir": None, "data_dir": None, "dialogues": dialogues}
    if file.is_file():
        content = json.loads(file.read_text())
        differing = sorted(name for name in asked if content["asked"].get(name) != asked[name])
        if differing:
            raise ValueError(
                f"'{folder}' holds a fit that was asked for with other {', '.join(differing)}. Pass another "
                "--output_dir, or delete the folder."
            )
        state = State(file, content)
    elif folder.exists() and any(folder.iterdir()):
        raise ValueError(f"'{folder}' holds files that are no fit's and would be lost. Pass another --output_dir.")
    else:
        state = State(file, {"asked": asked, "done": []})
        state.keep()  # first, so that a folder with anything in it is known as a fit's
    for name, lines in {"train": train, "validation": cast.held_out}.items():
        if not (copy := folder / "dialogues" / f"{name}.jsonl").is_file():
            _write(copy, "".join(f"{line.text.strip()}\n" for line in lines))
    return state


def _write(file: Path, text: str) -> None:
    with write_whole(file, private=True) as partial:
        partial.write_text(text, encoding="utf-8")


# How much, and for how long


def _data(settings: FitSettings, folder: Path, rows: int | None = None) -> "DataArguments":
    from idl_hf.training.data import DataArguments

    return DataArguments(
        dataset_name="idl_hf/dialogues_idl",
        data_dir=str(folder / "dialogues"),
        dataset_options={"encoder": settings.encoder, "preset": "small_logs"},
        max_rows=rows,
        max_prompt_tokens=settings.max_prompt_tokens,
    )


def _make_plan(settings: FitSettings, folder: Path, cast: Cast, end: float) -> Plan:
    """Return what fits into the time that is left, from the time that one step takes here."""
    from idl_hf import prompting
    from idl_hf.models.loading import load_tokenizer
    from idl_hf.training.data import fit_rows

    tokenizer = load_tokenizer(settings.model_name_or_path, plain=True)  # as it is trained
    fitted = fit_rows(_data(settings, folder).load("msl", "train"), tokenizer, settings.max_prompt_tokens)
    encoded = [prompting.encode(tokenizer, row["prompt"], row["completion"]) for row in fitted]
    lengths = sorted((len(row["input_ids"]), sum(row["completion_mask"])) for row in encoded)
    seconds = seconds_per_token(settings.model_name_or_path, _MODEL, [row["input_ids"] for row in encoded])
    replies = sum(message["role"] == "assistant" for row in fitted for message in row["completion"])
    tokens, spoken = (sum(column) / len(lengths) for column in zip(*lengths, strict=True))
    left = end - time.monotonic() - 3 * SECONDS_AROUND
    return plan_for(left, seconds, tokens, spoken, len(lengths), replies / len(lengths), len(cast.held_out))


# The stages


def _train_msl(settings: FitSettings, folder: Path, plan: Plan, end: float) -> None:
    from trl import ModelConfig

    from idl_hf.training.deadline import within
    from idl_hf.training.stages import MSLConfig, train_msl

    print(f"\nFirst stage, MSL: {plan.minutes['msl']:.1f} minutes", flush=True)
    args = MSLConfig(
        output_dir=str(folder / "msl"),
        max_steps=plan.msl_steps,
        gradient_accumulation_steps=2,
        save_steps=max(1, min(8, plan.msl_steps // 4)),
        learning_rate=2e-3,
        warmup_steps=min(2, plan.msl_steps // 4),
        seed=settings.seed,
        **_TRAINING,
    )
    model = ModelConfig(model_name_or_path=settings.model_name_or_path, **_MODEL)
    with within("MSL", _seconds_left(end, plan, "dpoc", "likeness")):
        train_msl(_data(settings, folder), args, model)


def _train_dpoc(settings: FitSettings, folder: Path, plan: Plan, end: float) -> None:
    from trl import ModelConfig

    from idl_hf.dpoc.config import DPOCConfig
    from idl_hf.training.deadline import within
    from idl_hf.training.stages import train_dpoc

    print(f"\nSecond stage, DPOC: {plan.minutes['dpoc']:.1f} minutes", flush=True)
    config = DPOCConfig(
        output_dir=str(folder),
        num_train_epochs=1,
        gradient_accumulation_steps=1,  # a step is all replies of a dialogue
        prefix_sharing="dialogue" if _shares_prefixes(settings.model_name_or_path) else "false",
        precompute_ref_log_probs=True,
        save_steps=2,
        learning_rate=1e-4,
        seed=settings.seed,
        **_TRAINING,
    )
    data = _data(settings, folder, plan.dpoc_rows)
    with within("DPOC", _seconds_left(end, plan, "likeness")):
        train_dpoc(data, config, ModelConfig(model_name_or_path=str(folder / "msl")))


def _shares_prefixes(model_name: str) -> bool:
    """Tell whether a model can learn from a tree, without loading its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    from idl_hf.models.loading import load_config
    from idl_hf.packing.attention import obstacle

    with torch.device("meta"):
        return obstacle(AutoModelForCausalLM.from_config(load_config(model_name), trust_remote_code=False)) is None


def _seconds_left(end: float, plan: Plan, *later: str) -> float:
    """Return how long a stage may take, for the later ones to have what they need."""
    return end - time.monotonic() - 60 * sum(plan.minutes[stage] for stage in later)


def _measure(settings: FitSettings, folder: Path, cast: Cast, plan: Plan) -> None:
    from idl_hf.cache import Cache
    from idl_hf.encoding import SentenceEncoder
    from idl_hf.evaluation.data import spread
    from idl_hf.evaluation.likeness import lineup_rows, measure_likeness
    from idl_hf.evaluation.measured_model import MeasuredModel
    from idl_hf.rows.options import RowOptions
    from idl_hf.rows.people import People, usable_dialogues
    from idl_hf.rows.strangers import nearest_people

    print(f"\nLikeness: {plan.minutes['likeness']:.1f} minutes", flush=True)
    held_out = [cast.held_out[place].dialogue for place in spread(len(cast.held_out), plan.held_out)]
    person, *others = [_person(lines) for lines in [cast.past, *cast.others.values()]]
    people, options = (
        People([person, *others], SentenceEncoder(settings.encoder)),
        RowOptions(encoder=settings.encoder),
    )
    able = [other for other in others if len(usable_dialogues(other)) > 1]
    candidates = [person, *nearest_people(person, able, STRANGERS, people)]
    rows = lineup_rows(held_out, candidates, people, options)
    model = MeasuredModel(str(folder), Cache(folder / "measured.sqlite"))
    likeness = measure_likeness(model, rows, settings.max_prompt_tokens, len(candidates))
    _write(folder / LIKENESS, json.dumps(as_json(likeness), indent=2) + "\n")


def _person(lines: Sequence[Line]) -> "Person":
    from idl_hf.schema import Person

    return Person(lines[0].dialogue.person_id, tuple(line.dialogue for line in lines))


def as_json(likeness: "Likeness") -> dict[str, Any]:
    """Return what likeness.json holds; the bounds are null where one dialogue was measured."""
    gain = likeness.gain
    bounds = {"mean": gain.mean, "low": gain.low, "high": gain.high}
    return {
        "own_nll": likeness.own_nll,
        "other_nll": likeness.other_nll,
        "gain": {name: None if math.isnan(value) else value for name, value in bounds.items()},
        "hits@1": likeness.hits,
        "people": likeness.people,
    }
