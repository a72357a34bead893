"""How much of each stage of a fit fits into its minutes."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STRANGERS = 7  # so that one of eight is picked
SECONDS_AROUND = 15.0  # of each stage: loading, saving
_MOST_HELD_OUT = 24  # dialogues measured
_MOST_EPOCHS = 3
_SHARES = {"likeness": 0.25, "msl": 0.45}  # of the time; DPOC has the rest


@dataclass(frozen=True)
class Plan:
    """How much fits into the minutes."""

    msl_steps: int
    dpoc_rows: int
    held_out: int
    minutes: dict[str, float]  # what each stage is expected to take

    @property
    def total(self) -> float:
        """Minutes in all."""
        return sum(self.minutes.values())


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not one."""
    return f"{number} {noun}{'s' * (number != 1)}"


def in_words(plan: Plan) -> str:
    """Return the stages of a plan with the minutes of each."""
    parts = {
        "msl": f"MSL in {counted(plan.msl_steps, 'step')}",
        "dpoc": f"DPOC on about {counted(plan.dpoc_rows, 'reply').replace('replys', 'replies')}",
        "likeness": f"likeness on {counted(plan.held_out, 'held-out dialogue')}",
    }
    return ", ".join(f"{text} ({plan.minutes[stage]:.1f})" for stage, text in parts.items())


def plan_for(
    left: float, seconds: float, tokens: float, spoken: float, dialogues: int, replies: float, held_out: int
) -> Plan:
    """Return what fits into the seconds that are `left`, at the least a step of each stage and one dialogue measured.

    seconds: that a token of a training step takes, a third of it forward. tokens, spoken, replies: of a dialogue with
    its references, on average: all, those of the person's replies, and how many these are.
    """
    measured = (1 + STRANGERS) * tokens * seconds / 3
    lesson = tokens * seconds
    aligned = (tokens + 2 * spoken) * seconds * 4 / 3  # the tree of three completions, and the reference once
    measuring = _affordable(_SHARES["likeness"] * left / measured, min(held_out, _MOST_HELD_OUT))
    msl = _affordable(_SHARES["msl"] * left / lesson, _MOST_EPOCHS * dialogues)
    rest = left - measuring * measured - msl * lesson
    dpoc = _affordable(rest / aligned, dialogues)
    parts = {"msl": msl * lesson, "dpoc": dpoc * aligned, "likeness": measuring * measured}
    minutes = {stage: (part + SECONDS_AROUND) / 60 for stage, part in parts.items()}
    return Plan(math.ceil(msl / 2), max(1, round(dpoc * replies)), measuring, minutes)


def _affordable(count: float, most: int) -> int:
    return max(1, min(most, int(count)))


def seconds_per_token(model_name: str, adapter: Mapping[str, Any], rows: Sequence[Sequence[int]]) -> float:
    """Return how long a training step takes for each token, from a step of the middle row after one to warm up.
    adapter: fields of ModelConfig. rows: the tokens of each."""
    import torch
    from peft import PeftModel, get_peft_model
    from trl import ModelConfig, get_peft_config

    from idl_hf.machine import default_device, fast_precision
    from idl_hf.models.loading import load_model

    device = default_device()
    model: Any = load_model(model_name, trainable=True).model
    config = get_peft_config(ModelConfig(**adapter))
    if config is not None and not isinstance(model, PeftModel):  # whose adapter goes on training
        model = get_peft_model(model, config)
    model.to(device)
    middle = sorted(rows, key=len)[len(rows) // 2]
    ids, dtype = torch.tensor([middle], device=device), fast_precision(device)
    for tokens in (ids[:, :64], ids):
        started = time.perf_counter()
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        loss.item()  # a GPU is asynchronous
        seconds = time.perf_counter() - started
    return seconds / len(middle)
