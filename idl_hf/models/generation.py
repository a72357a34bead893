"""How a chat writes its replies: settings that can be shown, changed and saved. Imports nothing heavy."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from transformers import GenerationConfig

logger = logging.getLogger(__name__)


class _Range(NamedTuple):
    """What a setting may be."""

    low: float
    high: float
    whole: bool = False

    def holds(self, value: object) -> bool:
        kinds = (int,) if self.whole else (int, float)
        return isinstance(value, kinds) and type(value) is not bool and self.low <= value <= self.high

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}" if self.high < 2**31 else f"{kind}, {self.low:g} or more"


_COLDEST = 1e-4  # a colder one draws the likeliest token too, until logits divided by it are infinite
_RANGES = {
    "max_new_tokens": _Range(1, math.inf, whole=True),
    "temperature": _Range(0, 100),
    "top_p": _Range(1e-6, 1),
    "top_k": _Range(0, math.inf, whole=True),
    "min_p": _Range(0, 1),
    "repetition_penalty": _Range(0.01, 100),
    "seed": _Range(0, 2**32 - 1, whole=True),
}


@dataclass(frozen=True)
class GenerationSettings:
    """Settings of `generate`, greedy unless the temperature is above 0.

    repetition_penalty is of the tokens of the replies of a conversation, not of the past dialogues: those are the
    person's own words. With a seed a conversation is the same again. A temperature below 1e-4 counts as 0. Raises
    ValueError for a value that is none of its setting.
    """

    max_new_tokens: int = 60
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 50
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, valid in _RANGES.items():
            value = getattr(self, name)
            if not (valid.holds(value) or (name == "seed" and value is None)):
                none = ", or none" if name == "seed" else ""
                raise ValueError(f"The setting {name} must be {valid}{none}, found {value!r}.")
        if 0 < self.temperature < _COLDEST:
            object.__setattr__(self, "temperature", 0.0)

    def sampling_options(self) -> dict[str, float | bool]:
        """Return the options of `generate` that draw words; {} where the likeliest is taken."""
        if self.temperature == 0:
            return {}
        drawn = {name: float(getattr(self, name)) for name in ("temperature", "top_p", "min_p")}
        return {"do_sample": True, "top_k": self.top_k, **drawn}


# Greedy decoding of a small model repeats itself within a few turns
SAMPLED = GenerationSettings(temperature=0.7, top_p=0.9, min_p=0.05, repetition_penalty=1.1)


def as_in_chat(saved: GenerationSettings) -> GenerationSettings:
    """Return what a chat begins with: settings that were saved with a model, sampling ones where they are greedy."""
    return saved if saved.temperature > 0 else SAMPLED


def with_ends(config: "GenerationConfig", ends: int | list[int], padding: int | None) -> "GenerationConfig":
    """Return a model's generation config that stops at these ends; without all else, and a warning, where it could not
    be saved, such as one with a temperature that greedy decoding has no use for."""
    config.update(eos_token_id=ends, pad_token_id=padding)
    try:
        config.validate(strict=True)
    except ValueError as error:
        logger.warning(f"The base model's generation settings are left out of what is saved, as invalid: {error}")
        return type(config)(eos_token_id=ends, pad_token_id=padding)
    return config


def setting_names() -> list[str]:
    """Return the names of all settings."""
    return [setting.name for setting in fields(GenerationSettings)]


def settings_of(saved: Mapping[str, object], where: str) -> GenerationSettings:
    """Return the settings that a generation config, as it was saved with an adapter, stands for.

    What else it says is none of a chat's. Raises ValueError, with `where`, for values of other types.
    """
    known = {name: saved[name] for name in setting_names() if saved.get(name) is not None}
    known.pop("seed", None)
    if not saved.get("do_sample"):
        for name in ("temperature", "top_p", "top_k", "min_p"):
            known.pop(name, None)
    elif "temperature" not in known:
        known["temperature"] = 1.0
    return checked_settings(known, where)


def checked_settings(values: Mapping[str, object], where: str) -> GenerationSettings:
    """Return settings from what a file holds. Raises ValueError, with `where`, for unknown ones and wrong values."""
    unknown = sorted(set(values) - set(setting_names()))
    if unknown:
        raise ValueError(
            f"{where} has unknown settings: {', '.join(unknown)}. Expected some of: {', '.join(setting_names())}."
        )
    try:
        return GenerationSettings(**values)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def parsed_setting(name: str, text: str) -> float | int | None:
    """Return the value of a setting as somebody types it. Raises ValueError where it is none."""
    if name == "seed" and text.lower() in ("none", "random"):
        return None
    try:
        return int(text) if _RANGES[name].whole else float(text)
    except ValueError as error:
        raise ValueError(f"The setting {name} must be {_RANGES[name]}, found '{text}'.") from error
