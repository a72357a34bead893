"""Rows with strangers as tokens."""

from typing import Any

from datasets import Dataset, IterableDataset
from transformers import PreTrainedTokenizerBase

from idl_hf import token_ids

COLUMNS = ("prompt", "completion", "strangers")
TOKENS = ("input_ids", "labels", "strangers")


def tokenize_dataset(
    dataset: Dataset | IterableDataset, tokenizer: PreTrainedTokenizerBase
) -> Dataset | IterableDataset:
    """Return rows of input_ids, labels and, as `strangers`, the tokens of each stranger's prompt; the completion's
    tokens are the same after each. Raises ValueError where a column is missing."""
    names = dataset.column_names or list(next(iter(dataset)))
    if missing := [name for name in COLUMNS if name not in names]:
        raise ValueError(
            f"The contrast trains on the columns {', '.join(COLUMNS)} (a list of other people's prompts), found no "
            f"{' and no '.join(missing)} among: {', '.join(names)}."
        )

    def tokenize(row: dict[str, Any]) -> dict[str, list]:
        encoded = token_ids.encode(tokenizer, row["prompt"], row["completion"])
        learnt = zip(encoded["input_ids"], encoded["completion_mask"], strict=True)
        labels = [token if mask else -100 for token, mask in learnt]
        strangers = [token_ids.prompt_ids(tokenizer, prompt) for prompt in row["strangers"]]
        return {"input_ids": encoded["input_ids"], "labels": labels, "strangers": strangers}

    options: Any = {"desc": "Tokenizing"} if isinstance(dataset, Dataset) else {}
    return dataset.map(tokenize, remove_columns=names, **options)
