"""Batches of three completions: each in a row of its own, or in a tree with all that begins as they do."""

from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor

from idl_hf.packing.attention import tree_mask
from idl_hf.packing.tree import Tree

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
class DataCollatorForTrees(DataCollatorForCriterion):
    """One row for all examples, each a tree of tokens (idl_hf.dpoc.trees) in which every distinct token is once.

    Of the tree of a single row the trunk is the prompt and its longest completion; the others branch off:

        [ prompt longest[:-1] | second[:-1] | third[:-1] ]

    `kept` are the positions that predict something, each once, though several completions may start there;
    `places` say which of those predicts which of the `labels`, (3K, N), K being the rows in all trees and N the tokens
    of the longest completion: all chosen first, then criterion, then rejected. -100 fills up. `attention_mask` is
    that of `idl_hf.packing.attention.tree_mask`, and `rows` says how many rows each tree has. Trees come cut to
    `max_length`.

    >>> from idl_hf.dpoc.collator import DataCollatorForTrees
    >>> from idl_hf.dpoc.trees import plant
    >>> row = {"prompt_ids": [1, 2, 3], "chosen_ids": [4, 5], "criterion_ids": [6, 7], "rejected_ids": [8]}
    >>> following = {"prompt_ids": [1, 2, 3, 4, 5, 9], "chosen_ids": [6], "criterion_ids": [4], "rejected_ids": [5]}
    >>> batch = DataCollatorForTrees(pad_token_id=0)([plant([row, following])])
    >>> batch["input_ids"]
    tensor([[1, 2, 3, 4, 5, 9, 6]])
    >>> batch["position_ids"]
    tensor([[0, 1, 2, 3, 4, 5, 3]])
    >>> batch["kept"]
    tensor([2, 3, 5, 6])
    >>> batch["places"]
    tensor([[0, 1],
            [2, 0],
            [0, 3],
            [2, 0],
            [0, 0],
            [2, 0]])
    >>> batch["labels"]
    tensor([[   4,    5],
            [   6, -100],
            [   6,    7],
            [   4, -100],
            [   8, -100],
            [   5, -100]])
    >>> batch["attention_mask"][0, 0]
    tensor([[ 3,  2,  1, -1, -1, -1,  0],
            [ 0,  1,  2,  3,  4,  5,  6]], dtype=torch.int32)
    """

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return the row of all trees, what its positions predict, and the reference's log-probs, (K,)."""
        trees = [Tree(row["input_ids"], row["position_ids"], row["ends"], row["trunk"]) for row in rows]
        starts = [0, *accumulate(len(tree.ids) for tree in trees)]
        predicting, labels = [], []
        for part in range(len(COMPLETIONS)):
            for start, row in zip(starts, rows, strict=False):
                own = slice(part * row["rows"], (part + 1) * row["rows"])
                predicting += [[start + slot for slot in slots] for slots in row["slots"][own]]
                labels += row["labels"][own]
        kept = sorted({slot for slots in predicting for slot in slots}) or [0]
        place_of = {slot: place for place, slot in enumerate(kept)}
        length = max(1, *map(len, labels))
        total = max(1, starts[-1])  # a model takes one token at least
        fill = total - starts[-1] + -total % (self.pad_to_multiple_of or 1)
        trees[-1] = _filled(trees[-1], fill, self.pad_token_id)
        batch = {
            "rows": torch.tensor([row["rows"] for row in rows]),
            "input_ids": torch.tensor([[token for tree in trees for token in tree.ids]]),
            "position_ids": torch.tensor([[position for tree in trees for position in tree.positions]]),
            "token_mask": torch.tensor([[1] * starts[-1] + [0] * fill]),
            "attention_mask": tree_mask(trees),
            "kept": torch.tensor(kept),
            "places": torch.tensor([_pad([place_of[slot] for slot in slots], length, 0) for slots in predicting]),
            "labels": torch.tensor([_pad(tokens, length, -100) for tokens in labels]),
        }
        return batch | _reference_columns(rows)


def _filled(tree: Tree, count: int, token: int) -> Tree:
    """Return a tree with `count` tokens more, which see nothing but themselves."""
    own = range(len(tree.ids) + 1, len(tree.ids) + 1 + count)
    return Tree([*tree.ids, *[token] * count], [*tree.positions, *[0] * count], [*tree.ends, *own], tree.trunk)


def _reference_columns(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Return `ref_<completion>_logps` of shape (K,), where they were computed before; a tree has a list of them."""
    columns = {}
    for column in (f"ref_{name}_logps" for name in COMPLETIONS):
        if column in rows[0]:
            values = [row[column] for row in rows]
            lists = [value if isinstance(value, list) else [value] for value in values]
            columns[column] = torch.tensor(list(chain.from_iterable(lists)))
    return columns


def _pad(values: list[int], length: int, value: int) -> list[int]:
    return values + [value] * (length - len(values))
