"""What a model gives to each completion token, in either layout of a batch."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

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


class Predictions(NamedTuple):
    """What a forward pass gives to the completions: logits of P positions, (P, V), and which of them predict what.

    places, labels: (3B, N), -100 where there is no token; a position may predict several. aux_loss: of a mixture of
    experts.
    """

    logits: Tensor
    places: Tensor
    labels: Tensor
    aux_loss: Tensor | None


def completion_labels(batch: dict[str, Tensor]) -> Tensor:
    """Return the completion tokens, (3B, N), -100 elsewhere; of rows, N reaches from the first of any to the end."""
    if "labels" in batch:
        return batch["labels"]
    mask = batch["completion_mask"].bool()
    first = max(1, int(mask.any(dim=0).int().argmax()))  # nothing predicts the very first token
    return batch["input_ids"].masked_fill(~mask, -100)[:, first:]


def real_tokens(batch: dict[str, Tensor]) -> Tensor:
    """Return 1 for what runs through the model and is not padding, in the shape of `input_ids`."""
    return batch["token_mask"] if "token_mask" in batch else batch["attention_mask"]


def model_inputs(batch: dict[str, Tensor]) -> dict[str, Any]:
    """Return the tokens, positions and masks of a batch in either layout, as arguments of a model."""
    names = [name for name in ("input_ids", "position_ids", "attention_mask") if name in batch]
    return {name: batch[name] for name in names} | {"use_cache": False}


def predict(model: Any, batch: dict[str, Tensor], **options: Any) -> Predictions:
    """Run one forward pass and return what predicts the completions.

    Of trees only those positions are projected to the vocabulary; of rows of their own, all from the first completion
    token of any.
    """
    labels = completion_labels(batch)
    if "kept" in batch:
        kept = batch["kept"]
        outputs = model(**model_inputs(batch), logits_to_keep=kept, **options)
        logits = outputs.logits[0]
        if len(logits) != len(kept):  # a model without logits_to_keep returns all
            logits = logits[kept]
        return Predictions(logits, batch["places"], labels, outputs.get("aux_loss"))
    # In a row of its own a completion token is predicted one position earlier
    length = labels.shape[1] + 1
    outputs = model(**model_inputs(batch), logits_to_keep=length, **options)
    logits = outputs.logits[:, -length:].flatten(0, 1)  # prompt tuning prepends some
    places = torch.arange(len(logits), device=logits.device).view(-1, length)[:, :-1]
    return Predictions(logits, places, labels, outputs.get("aux_loss"))


def token_log_probs(predictions: Predictions) -> Tensor:
    """Return each label's log-prob, (3B, N), at least float32, 0 where there is none."""
    logits, places, labels, _ = predictions
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return _label_log_probs(logits, logits.logsumexp(dim=-1), places, labels)


def token_scores(predictions: Predictions, weighting: bool) -> Scores:
    """Return the log-probs with their gradients, and TRL's statistics of each position, all at least float32.

    weighting: whether WPO's weights are asked for.
    """
    logits, places, labels, aux_loss = predictions
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    normalizer, mask = logits.logsumexp(dim=-1), labels != -100
    with torch.no_grad():  # each pass over the vocabulary of all positions counts
        log_probs = logits - normalizer[:, None]
        entropy = -torch.einsum("pv,pv->p", log_probs.exp(), log_probs)
        sum_sq = (2 * log_probs).logsumexp(dim=-1) if weighting else torch.zeros_like(entropy)
        is_top1 = logits.argmax(dim=-1)[places] == labels
        statistics = (entropy[places], logits.mean(dim=-1)[places], is_top1, sum_sq[places])
    masked = (value.masked_fill(~mask, 0) for value in statistics)
    names = ("entropy", "mean_logits", "is_top1", "log_sum_sq_probs")
    own = _label_log_probs(logits, normalizer, places, labels)
    return Scores(log_probs=own, **dict(zip(names, masked, strict=True)), mask=mask, aux_loss=aux_loss)


def _label_log_probs(logits: Tensor, normalizer: Tensor, places: Tensor, labels: Tensor) -> Tensor:
    return (logits[places, labels.clamp(min=0)] - normalizer[places]).masked_fill(labels == -100, 0)
