"""Batches of three completions: each in a row of its own, or packed behind the one prompt they share."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from idl_hf.packing.attention import BEGINNING, PADDING

COMPLETIONS = ("chosen", "criterion", "rejected")


@dataclass
class DataCollatorForCriterion:
    """One row per completion, prompt + completion padded to the longest: all chosen, then criterion, then rejected.

    Examples have `prompt_ids`, `chosen_ids`, `criterion_ids`, `rejected_ids`, and `ref_<completion>_logps` where the
    reference was computed before.

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

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return `input_ids`, `attention_mask`, `completion_mask` of shape (3B, S), and the reference's log-probs."""
        pairs = [(row["prompt_ids"], row[f"{name}_ids"]) for name in COMPLETIONS for row in rows]
        ids = [[*prompt, *completion][: self.max_length] for prompt, completion in pairs]
        masks = [([0] * len(prompt) + [1] * len(completion))[: self.max_length] for prompt, completion in pairs]
        length = max(map(len, ids))
        if self.pad_to_multiple_of is not None:
            length += -length % self.pad_to_multiple_of
        batch = {
            "input_ids": torch.tensor([_pad(row, length, self.pad_token_id) for row in ids]),
            "attention_mask": torch.tensor([_pad([1] * len(row), length, 0) for row in ids]),
            "completion_mask": torch.tensor([_pad(row, length, 0) for row in masks]),
        }
        return batch | _reference_columns(rows)


@dataclass
class DataCollatorForPrefixSharing(DataCollatorForCriterion):
    """One packed row per example: the prompt, and behind it a block for each completion.

        [ prompt[:-1] | prompt[-1] chosen[:-1] | prompt[-1] criterion[:-1] | prompt[-1] rejected[:-1] ]

    A block attends to the prompt and to itself, and its positions go on where the prompt ends, so that each token sees
    exactly what it sees in a row of its own (idl_hf.packing.attention, which explains `segment_ids`). Only the last 3N
    positions predict a completion token, N being the longest completion: `completion_labels` are theirs, -100 for
    padding.

    Examples are those of DataCollatorForCriterion.

    >>> from idl_hf.dpoc.collator import DataCollatorForPrefixSharing
    >>> collator = DataCollatorForPrefixSharing(pad_token_id=0)
    >>> rows = [
    ...     {"prompt_ids": [1, 2, 3], "chosen_ids": [4, 5], "criterion_ids": [6, 7], "rejected_ids": [8]},
    ...     {"prompt_ids": [1, 2], "chosen_ids": [4], "criterion_ids": [6], "rejected_ids": [8, 9]},
    ... ]
    >>> batch = collator(rows)
    >>> batch["input_ids"]
    tensor([[1, 2, 3, 4, 3, 6, 3, 0],
            [1, 0, 2, 0, 2, 0, 2, 8]])
    >>> batch["position_ids"]
    tensor([[0, 1, 2, 3, 2, 3, 2, 0],
            [0, 0, 1, 0, 1, 0, 1, 2]])
    >>> batch["segment_ids"]
    tensor([[ 0,  0,  1,  1,  2,  2,  3, -1],
            [ 0, -1,  1, -1,  2, -1,  3,  3]])
    >>> batch["completion_labels"]
    tensor([[   4,    5,    6,    7,    8, -100],
            [   4, -100,    6, -100,    8,    9]])
    """

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return ids, positions and segments of shape (B, S), labels (B, 3N), and the reference's log-probs."""
        prompts, blocks = [], []
        for row in rows:
            prompt = row["prompt_ids"]
            prompts.append(prompt[:-1])
            room = None if self.max_length is None else max(0, self.max_length - len(prompt))
            # Without a prompt the first token of a completion is not predicted, as in a row of its own
            blocks.append([[*prompt[-1:], *row[f"{name}_ids"][:room]] for name in COMPLETIONS])
        width = max(len(prompt) for prompt in prompts)
        length = max(1, *(len(block) - 1 for row_blocks in blocks for block in row_blocks))
        if self.pad_to_multiple_of is not None:
            width += -(width + 3 * length) % self.pad_to_multiple_of
        packed = [self._pack(*pair, width, length) for pair in zip(prompts, blocks, strict=True)]
        names = ("input_ids", "position_ids", "segment_ids", "completion_labels")
        batch = dict(zip(names, map(torch.tensor, zip(*packed, strict=True)), strict=True))
        return batch | _reference_columns(rows)

    def _pack(self, prompt: list[int], blocks: list[list[int]], width: int, length: int) -> tuple[list[int], ...]:
        ids, segments = _pad(prompt, width, self.pad_token_id), _pad([BEGINNING] * len(prompt), width, PADDING)
        positions, labels = _pad(list(range(len(prompt))), width, 0), []
        for segment, block in enumerate(blocks, start=1):
            inputs = block[:-1]
            ids += _pad(inputs, length, self.pad_token_id)
            segments += _pad([segment] * len(inputs), length, PADDING)
            positions += _pad(list(range(len(prompt), len(prompt) + len(inputs))), length, 0)
            labels += _pad(block[1:], length, -100)
        return ids, positions, segments, labels


def _reference_columns(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Return `ref_<completion>_logps` of shape (rows,), where they were computed before."""
    columns = [f"ref_{name}_logps" for name in COMPLETIONS]
    return {column: torch.tensor([row[column] for row in rows]) for column in columns if column in rows[0]}


def _pad(values: list[int], length: int, value: int) -> list[int]:
    return values + [value] * (length - len(values))
