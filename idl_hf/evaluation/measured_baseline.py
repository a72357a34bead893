"""What is measured of one of the other systems: all that is of a model, but for its attention."""

from functools import cached_property

from idl_hf.baselines.responder import BaselineResponder
from idl_hf.cache import Cache, code_identity
from idl_hf.evaluation.measured_model import MeasuredModel


class MeasuredBaseline(MeasuredModel):
    """A system in a folder. It cuts prompts itself, and has no limit of positions."""

    def __init__(self, name: str, cache: Cache, batch_size: int = 8) -> None:
        """name: a folder that `train_baseline` saved."""
        super().__init__(name, cache, batch_size)
        self._identity = (*self._identity[:-1], code_identity("idl_hf.baselines.responder", "torch", "transformers"))
        self._folder, self._size = name, batch_size

    @cached_property
    def positions(self) -> None:
        """None: no prompt is too long."""
        return None

    @cached_property
    def _model(self) -> BaselineResponder:  # type: ignore[override]
        return BaselineResponder.from_pretrained(self._folder, self._size)
