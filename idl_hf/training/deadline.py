"""A training that ends when its time is up, and what it says meanwhile."""

import time

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Deadline(TrainerCallback):
    """Ends a training after the step in which its seconds ran out, as if that had been the last."""

    def __init__(self, name: str, seconds: float) -> None:
        """name: of the stage, for what is printed."""
        self.name, self._end = name, time.monotonic() + seconds

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Stop where the time is up and steps are left."""
        left = state.max_steps - state.global_step
        if left > 0 and time.monotonic() > self._end:
            print(f"{self.name}: the minutes are up after step {state.global_step} of {state.max_steps}", flush=True)
            control.should_training_stop = True
