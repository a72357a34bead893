"""What a step of DPOC logs beside TRL's metrics, and means over rows where batches hold different numbers of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor


def criterion_metrics(
    penalty: Tensor, factor: float, beta: float, logps: Tensor, ratios: tuple[Tensor, Tensor, Tensor]
) -> dict[str, Tensor]:
    """Return the metrics of the criterion, each of shape (K,). penalty: as added to the loss, for the penalty's
    `factor`. logps: of the criterion. ratios: the log-ratios of chosen, criterion, rejected."""
    chosen, criterion, rejected = ratios
    return {
        "logps/criterion": logps,
        "rewards/criterion": beta * criterion,
        "penalty/added_to_loss": penalty,
        "penalty/chosen_criterion": factor * torch.relu(criterion - chosen),
        "penalty/criterion_rejected": factor * torch.relu(rejected - criterion),
        "penalty/chosen_criterion_active": (criterion > chosen).float(),
        "penalty/criterion_rejected_active": (rejected > criterion).float(),
    }


def sums_by_example(values: dict[str, Tensor], rows: Tensor) -> Tensor:
    """Return the sums of values of shape (K,) over each example, and last its number of rows, (examples, values + 1).
    rows: how many of the K values are of which example."""
    stacked = torch.stack([value.detach() for value in values.values()])
    sums = torch.stack([part.sum(dim=1) for part in stacked.split(rows.tolist(), dim=1)])
    return torch.cat([sums, rows[:, None].to(sums.dtype)], dim=1)


def weighted_mean(values: list[float], rows: list[float]) -> float:
    """Return the mean over rows of the means over batches of so many."""
    return sum(value * count for value, count in zip(values, rows, strict=True)) / sum(rows)


@contextmanager
def gathering_means(accelerator: Accelerator) -> Iterator[None]:
    """Have `gather` return the mean of the values of all processes, (1,): processes may have different numbers of
    them, which gathered one by one are an error, or a process that waits for ever."""
    gather = accelerator.gather

    def gather_mean(values: Tensor) -> Tensor:
        if values.ndim == 0:  # a count, which is summed
            return gather(values)
        total, count = gather(torch.stack((values.sum(), torch.full_like(values[0], len(values))))[None]).sum(dim=0)
        return (total / count)[None]

    accelerator.gather = gather_mean
    try:
        yield
    finally:
        accelerator.gather = gather
