"""Batches of three completions."""

from dataclasses import dataclass
from typing import Any

import torch
from trl.trainer.utils import pad

COMPLETIONS = ("chosen", "criterion", "rejected")


@dataclass
class DataCollatorForCriterion:
    """Pads prompt + completion of all rows to the longest; the batch holds all chosen, then criterion, then rejected.

    Rows have `prompt_ids`, `chosen_ids`, `criterion_ids`, `rejected_ids`, and `ref_<completion>_logps` if the reference
    was computed before.

    >>> from idl_hf.dpoc.collator import DataCollatorForCriterion
    >>> collator = DataCollatorForCriterion(pad_token_id=0)
    >>> rows = [
    ...     {"prompt_ids": [1, 2, 3], "chosen_ids": [4, 5], "criterion_ids": [6, 7], "rejected_ids": [8]},
    ...     {"prompt_ids": [1, 2], "chosen_ids": [4], "criterion_ids": [6], "rejected_ids": [8, 9]},
    ... ]
    >>> batch = collator(rows)
    >>> batch["input_ids"]
    tensor([[1, 2, 3, 4, 5],
            [1, 2, 4, 0, 0],
            [1, 2, 3, 6, 7],
            [1, 2, 6, 0, 0],
            [1, 2, 3, 8, 0],
            [1, 2, 8, 9, 0]])
    >>> batch["completion_mask"]
    tensor([[0, 0, 0, 1, 1],
            [0, 0, 1, 0, 0],
            [0, 0, 0, 1, 1],
            [0, 0, 1, 0, 0],
            [0, 0, 0, 1, 0],
            [0, 0, 1, 1, 0]])
    """

    pad_token_id: int
    max_length: int | None = None
    pad_to_multiple_of: Any = None  # None or int; typed as in DPOConfig, where a string is resolved

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        pairs = [(row["prompt_ids"], row[f"{name}_ids"]) for name in COMPLETIONS for row in rows]
        input_ids = [torch.tensor([*prompt, *completion][: self.max_length]) for prompt, completion in pairs]
        masks = [torch.tensor([0] * len(p) + [1] * len(c))[: self.max_length] for p, c in pairs]
        batch = {
            "input_ids": self._pad(input_ids, self.pad_token_id),
            "attention_mask": self._pad([torch.ones_like(ids) for ids in input_ids], 0),
            "completion_mask": self._pad(masks, 0),
        }
        for name in COMPLETIONS:
            column = f"ref_{name}_logps"
            if column in rows[0]:
                batch[column] = torch.tensor([row[column] for row in rows])
        return batch

    def _pad(self, tensors: list[torch.Tensor], value: int) -> torch.Tensor:
        return pad(tensors, padding_value=value, padding_side="right", pad_to_multiple_of=self.pad_to_multiple_of)
