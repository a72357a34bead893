"""Which rows become one tree of tokens, and the tree as an example of a dataset.

The rows of one dialogue begin alike: the prompt of a reply is the prompt of the reply before it, that reply as it was
chosen, and what the partner said to it. So the chosen replies lie on one path, and all that is left beside it are the
criterion and the rejected replies. Grouped before the training, such rows are an example like any other: samplers,
shuffling and resuming need to know nothing of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate.logging import get_logger
from datasets import Dataset, IterableDataset
from datasets.fingerprint import Hasher

from idl_hf.cache import code_identity
from idl_hf.dpoc.collator import COMPLETIONS
from idl_hf.packing.tree import build_tree, shared_length

logger = get_logger(__name__)
IDS = ("person_id", "dialogue_id")  # the two together: both characters of a conversation have its id
LARGEST = 3  # times the tokens of the longest row in it: bounds the memory, and what a long system prompt draws in
STREAMED = 1000  # rows of a stream that are looked at together; a dialogue across two of these is two trees
_TOKENS = ["prompt_ids", *(f"{name}_ids" for name in COMPLETIONS)]
_REFERENCES = [f"ref_{name}_logps" for name in COMPLETIONS]
TREE_COLUMNS = ["input_ids", "position_ids", "ends", "trunk", "rows", "slots", "labels"]
Row = Mapping[str, Any]

if TYPE_CHECKING:
    from idl_hf.dpoc.config import DPOCConfig


def plant(rows: Sequence[Row], max_length: int | None = None) -> dict[str, Any]:
    """Return some tokenized rows as one example: their tree, and which slot predicts which token of a completion.

    `slots` and `labels` are lists of lists, first of each row's chosen completion, then of the criterion, then of the
    rejected one. max_length: of prompt and completion together. Log-probs of a reference, where rows have them, become
    lists.
    """
    pairs = [(list(row["prompt_ids"]), list(row[f"{name}_ids"])) for name in COMPLETIONS for row in rows]
    if max_length is not None:
        cut = [(prompt[:max_length], max(0, max_length - len(prompt))) for prompt, _ in pairs]
        pairs = [(prompt, completion[:room]) for (prompt, room), (_, completion) in zip(cut, pairs, strict=True)]
    # Nothing follows the last token of a completion that no longer one goes on from: it is predicted and not read
    tree = build_tree([[*prompt, *completion][:-1] for prompt, completion in pairs])
    # Without a prompt nothing predicts the first token
    firsts = [max(0, len(prompt) - 1) for prompt, _ in pairs]
    return {
        "input_ids": tree.ids,
        "position_ids": tree.positions,
        "ends": tree.ends,
        "trunk": tree.trunk,
        "rows": len(rows),
        "slots": [slots[first:] for slots, first in zip(tree.slots, firsts, strict=True)],
        "labels": [completion[0 if prompt else 1 :] for prompt, completion in pairs],
        **{column: [row[column] for row in rows] for column in _REFERENCES if column in rows[0]},
    }


def plant_dataset(
    dataset: Dataset | IterableDataset, together: bool, args: "DPOCConfig", name: str
) -> Dataset | IterableDataset:
    """Return tokenized rows as trees: those of a dialogue `together`, or each row as a tree of its own.

    Where the columns person_id and dialogue_id are missing, neighbours that begin alike are taken for a dialogue. A
    dialogue whose prompts share less than half is several trees. Of a stream only neighbours can be one tree.
    """
    columns = dataset.column_names or list(next(iter(dataset)))
    settings: dict[str, Any] = {"max_length": args.max_length}
    if isinstance(dataset, IterableDataset):
        size = STREAMED if together else 1
        options = {"batch_size": size, "remove_columns": columns, "fn_kwargs": settings}
        return dataset.map(_plant_batch, batched=True, **options)
    with args.main_process_first(desc=f"planting {name}"):
        kept = _cache_file(dataset, together, args.max_length)
        if kept is not None and kept.exists():
            return Dataset.from_file(str(kept))
        members = _members(dataset) if together else [[i] for i in range(len(dataset))]
        if together:
            logger.info(f"{len(dataset)} {name} rows are {len(members)} trees.")
        if together and 2 * len(members) > len(dataset) > 1:
            logger.warning(
                f"The {len(dataset)} {name} rows are {len(members)} trees: most prompts begin like no other. Rows of "
                "a dialogue need the same references (budget_per), and the columns person_id and dialogue_id."
            )
        tokens = dataset.select_columns([column for column in columns if column in (*_TOKENS, *_REFERENCES)])
        return Dataset.from_dict({"members": members}).map(
            _plant_members,
            remove_columns=["members"],
            fn_kwargs={"dataset": tokens, **settings},
            cache_file_name=None if kept is None else str(kept),
            desc=f"Making trees of the {name} dataset",
        )


def _cache_file(dataset: Dataset, together: bool, max_length: int | None) -> Path | None:
    """Return where the trees of a dataset are kept, beside its own file; None for one in memory."""
    if not dataset.cache_files:
        return None
    key = Hasher.hash([dataset, together, max_length, code_identity("idl_hf.dpoc.trees")])
    return Path(dataset.cache_files[0]["filename"]).with_name(f"trees-{key}.arrow")


def _members(dataset: Dataset) -> list[list[int]]:
    """Return the rows of each tree, in the order in which the dialogues begin."""
    there = [column for column in IDS if column in dataset.column_names]
    tokens = dataset.select_columns([*_TOKENS, *there])
    order = list(range(len(dataset)))
    if len(there) == len(IDS):
        first: dict[tuple[Any, ...], int] = {}
        dialogues = zip(*(dataset[column] for column in IDS), strict=True)
        starts = [first.setdefault(ids, i) for i, ids in enumerate(dialogues)]
        order.sort(key=starts.__getitem__)
    members: list[list[int]] = []
    for i, begins in zip(order, _begin_trees(tokens.select(order)), strict=True):
        if begins:
            members.append([])
        members[-1].append(i)
    return members


def _begin_trees(rows: Iterable[Row]) -> Iterator[bool]:
    """Yield of each row whether it begins another tree than the one before it."""
    before: Row | None = None
    tokens = longest = 0  # of the tree so far, at most
    for row in rows:
        prompt, replies = row["prompt_ids"], [len(row[f"{name}_ids"]) for name in COMPLETIONS]
        shared = known = 0
        if before is not None:
            shared = shared_length(before["prompt_ids"], prompt)
            known = shared_length([*before["prompt_ids"], *before["chosen_ids"]], prompt)
        tokens += len(prompt) - known + sum(replies)
        longest = max(longest, len(prompt) + max(replies))
        begins = before is None or any(row.get(column) != before.get(column) for column in IDS)
        shortest = min(len(prompt), len(before["prompt_ids"])) if before is not None else 0
        if begins or 2 * shared < shortest or tokens > LARGEST * longest:
            begins, tokens, longest = True, len(prompt) + sum(replies), len(prompt) + max(replies)
        yield begins
        before = row


def _plant_members(group: dict[str, list[int]], dataset: Dataset, max_length: int | None) -> dict[str, Any]:
    return plant(_rows(dataset[group["members"]]), max_length)


def _plant_batch(batch: dict[str, list[Any]], max_length: int | None) -> dict[str, list[Any]]:
    rows = _rows(batch)
    trees: list[list[Row]] = []
    for row, begins in zip(rows, _begin_trees(rows), strict=True):
        if begins:
            trees.append([])
        trees[-1].append(row)
    examples = [plant(tree, max_length) for tree in trees]
    return {name: [example[name] for example in examples] for name in examples[0]}


def _rows(columns: Mapping[str, Sequence[Any]]) -> list[Row]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
