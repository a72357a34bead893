"""An adapter added into the weights of its base."""

import warnings
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

if TYPE_CHECKING:
    from peft import PeftModel


def merge_adapter(model: "PeftModel") -> PreTrainedModel:
    """Return the base model with the adapter in its weights; the adapter is gone. Raises ValueError for an adapter
    that is no change of weights, or one that PEFT does not merge."""
    from peft.tuners.tuners_utils import BaseTuner

    kind = str(getattr(model.active_peft_config.peft_type, "value", model.active_peft_config.peft_type))
    if not isinstance(model.base_model, BaseTuner):
        raise ValueError(
            f"An adapter of type {kind} is no change of weights, so that it cannot be merged into its base. Use it "
            "as it is, or train one with LoRA."
        )
    base: Any = model.get_base_model()
    tied = bool(base.config.tie_word_embeddings)
    _part_shared_weights(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of tied weights, which are parted
            merged = model.merge_and_unload(safe_merge=True)
    except (ValueError, NotImplementedError) as error:
        raise ValueError(
            f"This adapter of type {kind} cannot be merged into its base: {error}. Use it as it is."
        ) from error
    if tied:
        _tie_what_is_equal(merged)
    return merged


def _part_shared_weights(model: torch.nn.Module) -> None:
    """Give each module weights of its own: an adapter of the one changes nothing in the other."""
    seen: set[int] = set()
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if id(weight) in seen:
                setattr(module, name, torch.nn.Parameter(weight.detach().clone(), requires_grad=False))
            seen.add(id(weight))


def _tie_what_is_equal(model: PreTrainedModel) -> None:
    """Let input and output embeddings be one again, unless the adapter made them differ."""
    into, out = model.get_input_embeddings(), model.get_output_embeddings()
    equal = out is None or torch.equal(into.weight, out.weight)  # type: ignore[arg-type]
    model.config.tie_word_embeddings = equal
    if equal:
        model.tie_weights()
