"""A training that ends when its time is up, with the step that it is in."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Deadline(TrainerCallback):
    """Ends a training after the step in which its time ran out, as if that had been the last."""

    def __init__(self, name: str, seconds: float) -> None:
        """name: of the stage, for what is printed."""
        self._name, self._end = name, time.monotonic() + seconds

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Stop where the time is up and steps are left."""
        if state.global_step < state.max_steps and time.monotonic() > self._end:
            print(f"{self._name}: the minutes are up after step {state.global_step} of {state.max_steps}", flush=True)
            control.should_training_stop = True


_CURRENT: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def within(name: str, seconds: float) -> Iterator[None]:
    """Have the trainings of this block end so many seconds from now."""
    token = _CURRENT.set(Deadline(name, seconds))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_deadline() -> list[TrainerCallback]:
    """Return the callbacks that a training needs to keep to its time: none where nothing was said."""
    deadline = _CURRENT.get()
    return [] if deadline is None else [deadline]
