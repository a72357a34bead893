"""Batches of dialogues: each completion after the person's own prompt, and after those of its strangers."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass
class DataCollatorForContrast:
    """One row for each prompt of a dialogue, the own one first, padded to the longest.

    Examples have `input_ids` and `labels` of the own prompt with its completion, -100 where nothing is learnt, and
    `strangers`, the tokens of each stranger's prompt. Rows that a dialogue lacks are padding alone.

    >>> collator = DataCollatorForContrast(pad_token_id=0)
    >>> row = {"input_ids": [1, 2, 5, 6], "labels": [-100, -100, 5, 6], "strangers": [[3], [4, 4, 4]]}
    >>> batch = collator([row])
    >>> batch["input_ids"]
    tensor([[[1, 2, 5, 6, 0],
             [3, 5, 6, 0, 0],
             [4, 4, 4, 5, 6]]])
    >>> batch["labels"]
    tensor([[[-100, -100,    5,    6, -100],
             [-100,    5,    6, -100, -100],
             [-100, -100, -100,    5,    6]]])
    """

    pad_token_id: int
    pad_to_multiple_of: Any = None  # None or int; typed as in SFTConfig

    def __call__(self, rows: list[dict[str, list]]) -> dict[str, Tensor]:
        """Return `input_ids`, `attention_mask` and `labels`, (B, K, S)."""
        most = max(len(row["strangers"]) for row in rows)
        ids, labels = [], []
        for row in rows:
            first = next(place for place, label in enumerate(row["labels"]) if label != -100)
            completion, learnt = row["input_ids"][first:], row["labels"][first:]
            for prompt in (row["input_ids"][:first], *row["strangers"]):
                ids.append(torch.tensor([*prompt, *completion]))
                labels.append(torch.tensor([-100] * len(prompt) + learnt))
            lacking = [torch.tensor([], dtype=torch.long)] * (most - len(row["strangers"]))
            ids += lacking
            labels += lacking
        length = max(map(len, ids))
        length += -length % (self.pad_to_multiple_of or 1)
        masks = [torch.ones_like(row) for row in ids]

        def stacked(parts: list[Tensor], fill: int) -> Tensor:
            padded = pad_sequence([*parts, torch.zeros(length)], batch_first=True, padding_value=fill)[:-1]
            return padded.long().view(len(rows), most + 1, length)

        return {
            "input_ids": stacked(ids, self.pad_token_id),
            "attention_mask": stacked(masks, 0),
            "labels": stacked(labels, -100),
        }
