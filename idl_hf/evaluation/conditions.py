"""The lines of the paper's tables: what was trained, and what a prompt knows of the person (paper 4.2, 4.5.1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from idl_hf.report.results import Role


@dataclass(frozen=True)
class Condition:
    """A line of a table, named as the paper writes it. All conditions of an experiment answer for the same people and
    dialogues."""

    name: str
    role: Role
    msl: Mapping[str, Any] | None = None  # row options of the first stage; None: not trained
    contrast: Mapping[str, Any] | None = None  # fields of ContrastConfig, by which the first stage learns; None: MSL
    dpoc: Mapping[str, Any] | None = None  # fields of DPOCConfig for the second stage; None: none
    dpoc_options: Mapping[str, Any] = field(default_factory=dict)  # of its rows, over those of the first stage
    prompt: Mapping[str, Any] = field(default_factory=dict)  # row options when it is evaluated
    model: str | None = None  # instead of the experiment's
    optional: bool = False  # left out, with a note, where that model cannot be had
    dialogues: int | None = None  # that the first stage learns from, instead of the scale's
    training: Mapping[str, Any] = field(default_factory=dict)  # of the first stage, over the scale's
    baseline: str = ""  # which system of idl_hf.baselines learns those rows instead of the model, "" for none
    curve: str = ""  # which curve it is a point of, at x
    x: float | None = None

    @property
    def is_trained(self) -> bool:
        """Whether anything is trained for it, which another seed would make otherwise."""
        return any(stage is not None for stage in (self.msl, self.dpoc))


_NO_HISTORY = {"conditioning": "none"}
_PROFILE = {"conditioning": "profile"}
CONDITIONS = {
    "idl": Condition("IDL", "ours", msl={}, dpoc={}),
    "icl": Condition("ICL", "baseline"),
    "ft": Condition("FT", "baseline", msl=_NO_HISTORY, prompt=_NO_HISTORY),
    "system": Condition("System", "baseline", prompt=_PROFILE),
    "gold": Condition("gold", "bound", msl=_PROFILE, prompt=_PROFILE),
    "wo_criterion": Condition("w/o Criterion", "ablation", msl={}, dpoc={"penalty": 0.0}),  # which is DPO
    "wo_dpa": Condition("w/o DPA", "ablation", msl={}),
    # Of the rows that MSL trains on, as the paper says; all of them answer to the same prompts
    "wo_spi": Condition("w/o SPI", "ablation", msl={"spi": False}),
    "wo_dpi": Condition("w/o DPI", "ablation", msl={"spi": False, "dpi": False}),
    "frequency": Condition("frequency", "baseline", msl=_NO_HISTORY, prompt=_NO_HISTORY, baseline="frequency"),
    "percvae": Condition("PerCVAE", "baseline", msl=_PROFILE, prompt=_PROFILE, baseline="percvae"),
    "bob": Condition("BoB", "baseline", msl=_PROFILE, prompt=_PROFILE, baseline="bob"),
    "dhap": Condition("DHAP", "baseline", msl={}, baseline="dhap"),
    "msp": Condition("MSP", "baseline", msl={}, baseline="msp"),
    "clv": Condition("CLV", "baseline", msl=_PROFILE, prompt=_PROFILE, baseline="clv"),
    "gpt2": Condition("GPT-2, profile", "baseline", msl=_PROFILE, prompt=_PROFILE, model="openai-community/gpt2"),
    # Whom Table 2 compares with; docs/baselines.md says why these versions
    "vicuna": Condition("Vicuna", "baseline", model="lmsys/vicuna-7b-v1.3", optional=True),
    "wizardlm": Condition("WizardLM", "baseline", model="WizardLMTeam/WizardLM-13B-V1.2", optional=True),
    "llama2_chat": Condition("LLaMA-2-Chat", "baseline", model="meta-llama/Llama-2-7b-chat-hf", optional=True),
}


def condition(name: str) -> Condition:
    """Return a condition by name. Raises ValueError for an unknown one."""
    if name not in CONDITIONS:
        raise ValueError(f"The condition '{name}' is unknown. The conditions are: {', '.join(CONDITIONS)}.")
    return CONDITIONS[name]


def conditions_of_models(
    models: Mapping[str, str], prompts: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Condition]:
    """Return a condition for each model, by its label: the first is the baseline that the others are compared with.

    prompts: by label, the row options by which a model's prompts are made.
    """
    return {
        label: Condition(
            label,
            "ours" if place or len(models) == 1 else "baseline",
            model=name,
            prompt=(prompts or {}).get(label, {}),
        )
        for place, (label, name) in enumerate(models.items())
    }
