"""What a model gives to each completion token, in either layout of a batch."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from idl_hf.packing.attention import PADDING, block_distances

PER_TOKEN = ("log_probs", "entropy", "mean_logits", "is_top1", "log_sum_sq_probs")


@dataclass
class Scores:
    """Per completion token, shape (3B, N), the B chosen first, then criterion, then rejected; 0 where `mask` is 0.

    log_probs carries gradients. The others are what TRL's metrics and WPO weights are made of.
    """

    log_probs: Tensor
    entropy: Tensor
    mean_logits: Tensor
    is_top1: Tensor
    log_sum_sq_probs: Tensor
    mask: Tensor
    aux_loss: Tensor | None = None


def completion_labels(batch: dict[str, Tensor]) -> Tensor:
    """The completion tokens, (3B, N), -100 elsewhere; N reaches from the first of any row to the end."""
    if "completion_labels" in batch:
        return _by_completion(batch["completion_labels"])
    mask = batch["completion_mask"].bool()
    first = max(1, int(mask.any(dim=0).int().argmax()))  # nothing predicts the very first token
    return batch["input_ids"].masked_fill(~mask, -100)[:, first:]


def real_tokens(batch: dict[str, Tensor]) -> Tensor:
    """1 for what runs through the model and is not padding, in the shape of `input_ids`."""
    if "segment_ids" in batch:
        return (batch["segment_ids"] != PADDING).int()
    return batch["attention_mask"]


def model_inputs(batch: dict[str, Tensor]) -> dict[str, Any]:
    """Tokens, positions and masks of a batch in either layout."""
    if "segment_ids" not in batch:
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "use_cache": False}
    positions = batch["position_ids"]
    distances = block_distances(batch["segment_ids"], positions, batch["completion_labels"].shape[1])
    return {
        "input_ids": batch["input_ids"],
        "position_ids": positions,
        "attention_mask": distances,
        "use_cache": False,
    }


def completion_logits(
    model: Any, batch: dict[str, Tensor], labels: Tensor, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """One forward pass: the logits that predict `labels`, (3B, N, V), and the loss of a mixture of experts if it has one.

    Of packed rows only those positions are projected to the vocabulary; of rows of their own, all from the first
    completion token of any.
    """
    packed = "segment_ids" in batch
    # In a row of its own a completion token is predicted one position earlier
    kept = batch["completion_labels"].shape[1] if packed else labels.shape[1] + 1
    outputs = model(**model_inputs(batch), logits_to_keep=kept, **options)
    logits = outputs.logits[:, -kept:]  # a model without logits_to_keep returns all, prompt tuning prepends some
    return _by_completion(logits) if packed else logits[:, :-1], outputs.get("aux_loss")


def _by_completion(packed: Tensor) -> Tensor:
    """(B, 3N, ...) -> (3B, N, ...)"""
    return packed.unflatten(1, (3, -1)).transpose(0, 1).flatten(0, 1)


def token_log_probs(logits: Tensor, labels: Tensor) -> Tensor:
    """logits: (3B, N, V), in any precision; labels: (3B, N), -100 where there is none, as is the log-prob 0 there."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    chosen = logits.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return (chosen - logits.logsumexp(dim=-1)).masked_fill(labels == -100, 0)


def token_scores(logits: Tensor, labels: Tensor, aux_loss: Tensor | None = None) -> Scores:
    """The log-probs with their gradients, and TRL's statistics of each position. At least float32 throughout."""
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
