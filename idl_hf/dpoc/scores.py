"""What a model gives to each completion token, in either layout of a batch."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from idl_hf.packing.attention import PADDING, block_distances

PER_TOKEN = ("log_probs", "entropy", "mean_logits", "is_top1", "log_sum_sq_probs")


@dataclass
class Scores:
    """What each completion token gets, (3B, N): the B chosen first, then criterion, rejected; 0 where `mask` is 0.

    log_probs carries gradients. The others are what TRL's metrics and WPO weights are made of.
    """

    log_probs: Tensor
    entropy: Tensor
    mean_logits: Tensor
    is_top1: Tensor
    log_sum_sq_probs: Tensor
    mask: Tensor
    aux_loss: Tensor | None = None


class CompletionLogits(NamedTuple):
    """The logits that predict completion tokens, (3B, N, V), and the loss of a mixture of experts if it has one."""

    logits: Tensor
    aux_loss: Tensor | None


def completion_labels(batch: dict[str, Tensor]) -> Tensor:
    """Return the completion tokens, (3B, N), -100 elsewhere; N reaches from the first of any row to the end."""
    if "completion_labels" in batch:
        return _by_completion(batch["completion_labels"])
    mask = batch["completion_mask"].bool()
    first = max(1, int(mask.any(dim=0).int().argmax()))  # nothing predicts the very first token
    return batch["input_ids"].masked_fill(~mask, -100)[:, first:]


def real_tokens(batch: dict[str, Tensor]) -> Tensor:
    """Return 1 for what runs through the model and is not padding, in the shape of `input_ids`."""
    return (batch["segment_ids"] != PADDING).int() if "segment_ids" in batch else batch["attention_mask"]


def model_inputs(batch: dict[str, Tensor]) -> dict[str, Any]:
    """Return the tokens, positions and masks of a batch in either layout, as arguments of a model."""
    if "segment_ids" not in batch:
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "use_cache": False}
    positions = batch["position_ids"]
    mask = block_distances(batch["segment_ids"], positions, batch["completion_labels"].shape[1])
    return {"input_ids": batch["input_ids"], "position_ids": positions, "attention_mask": mask, "use_cache": False}


def completion_logits(model: Any, batch: dict[str, Tensor], labels: Tensor, **options: Any) -> CompletionLogits:
    """Run one forward pass and return the logits that predict `labels`.

    Of packed rows only those positions are projected to the vocabulary; of rows of their own, all from the first
    completion token of any.
    """
    packed = "segment_ids" in batch
    # In a row of its own a completion token is predicted one position earlier
    kept = batch["completion_labels"].shape[1] if packed else labels.shape[1] + 1
    outputs = model(**model_inputs(batch), logits_to_keep=kept, **options)
    logits = outputs.logits[:, -kept:]  # a model without logits_to_keep returns all, prompt tuning prepends some
    return CompletionLogits(_by_completion(logits) if packed else logits[:, :-1], outputs.get("aux_loss"))


def _by_completion(packed: Tensor) -> Tensor:
    """Return (B, 3N, ...) as (3B, N, ...)."""
    return packed.unflatten(1, (3, -1)).transpose(0, 1).flatten(0, 1)


def token_log_probs(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each label's log-prob, at least float32, 0 where it is -100; logits: (3B, N, V), labels: (3B, N)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    chosen = logits.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return (chosen - logits.logsumexp(dim=-1)).masked_fill(labels == -100, 0)


def token_scores(logits: Tensor, labels: Tensor, aux_loss: Tensor | None = None) -> Scores:
    """Return the log-probs with their gradients, and TRL's statistics of each position, all at least float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    mask = labels != -100
    with torch.no_grad():
        log_probs = logits.log_softmax(dim=-1)
        probs = log_probs.exp()
        statistics = {
            "entropy": -(probs * log_probs).sum(dim=-1),
            "mean_logits": logits.mean(dim=-1),
            "is_top1": logits.argmax(dim=-1) == labels,
            "log_sum_sq_probs": probs.square().sum(dim=-1).log(),
        }
    masked = {name: value.masked_fill(~mask, 0) for name, value in statistics.items()}
    return Scores(log_probs=token_log_probs(logits, labels), **masked, mask=mask, aux_loss=aux_loss)
