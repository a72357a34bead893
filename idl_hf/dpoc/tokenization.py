"""A row of texts or messages to token ids."""

import json
from typing import Any

from datasets import Dataset, IterableDataset
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import get_logger
from trl.data_utils import is_conversational

from idl_hf.dpoc.collator import COMPLETIONS
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.token_ids import continue_prompt, continue_text

logger = get_logger(__name__)
_COLUMNS = ("prompt", *COMPLETIONS)


def tokenize_dataset(
    dataset: Dataset | IterableDataset, tokenizer: PreTrainedTokenizerBase, args: DPOCConfig, name: str
) -> Dataset | IterableDataset:
    """Return the dataset with `prompt_ids` and `<completion>_ids`; one that has them stays as it is.

    Raises ValueError for an empty dataset and where a column is missing. What is cut or left out is logged.
    """
    first = next(iter(dataset), None)
    if first is None:
        raise ValueError(f"The {name} dataset is empty.")
    if "criterion_ids" in first:
        return dataset
    missing = [column for column in _COLUMNS if column not in first]
    if missing:
        raise ValueError(
            f"The {name} dataset lacks the columns {', '.join(missing)}. DPOC needs {', '.join(_COLUMNS)}; found: "
            f"{', '.join(first)}."
        )
    options: dict[str, Any] = {}
    if isinstance(dataset, Dataset):
        options = {"num_proc": args.dataset_num_proc, "desc": f"Tokenizing {name} dataset"}
    settings = {
        "tokenizer": tokenizer,
        "conversational": is_conversational(first),
        "max_prompt_length": args.max_prompt_length,
    }
    with args.main_process_first(desc=f"tokenizing {name}"):
        dataset = dataset.map(tokenize_row, fn_kwargs=settings, **options)
    if args.max_length is not None:
        # Of the others no completion would be left to learn from
        fitting = dataset.filter(lambda row, most: len(row["prompt_ids"]) < most, fn_kwargs={"most": args.max_length})
        if isinstance(dataset, Dataset) and (full := len(dataset) - len(fitting)):
            logger.warning(f"{full} of {len(dataset)} {name} prompts fill max_length and were left out.")
        dataset = fitting
    if isinstance(dataset, Dataset) and (cut := sum(dataset["prompt_cut"])):
        logger.warning(f"{cut} of {len(dataset)} {name} prompts exceeded max_prompt_length and were cut.")
    return dataset


def pad_token(args: DPOCConfig, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the token to pad with; ValueError where the vocabulary lacks the one that was asked for."""
    token = args.pad_token or tokenizer.pad_token or tokenizer.eos_token
    if token not in tokenizer.get_vocab():
        raise ValueError(f"The pad token {token!r} is not in the vocabulary of the tokenizer. Pass another pad_token.")
    return token


def tokenize_row(
    row: dict[str, Any], tokenizer: Any, conversational: bool, max_prompt_length: int | None = None
) -> dict[str, Any]:
    """Return `prompt_ids`, `<completion>_ids` and `prompt_cut`, whether the prompt was cut.

    As in TRL, plain text gets an end-of-sequence token, and the columns `tools` (a list, or JSON) and
    `chat_template_kwargs` go to the chat template. Unlike there, the prompt's tokens are those of the prompt alone, as
    it is sent in use, and no content of a message becomes a control token.
    """
    if conversational:
        tools = row.get("tools")
        tools = json.loads(tools) if isinstance(tools, str) else tools
        options = {"tools": tools, **(row.get("chat_template_kwargs") or {})}
        continued = continue_prompt(tokenizer, row["prompt"], [row[name] for name in COMPLETIONS], **options)
        prompt, after = continued.prompt.ids, [tokens.ids for tokens in continued.after]
    else:
        prompt = tokenizer(row["prompt"])["input_ids"]
        after = [continue_text(tokenizer, _ended(row[name], tokenizer)).ids for name in COMPLETIONS]
    first = 0 if max_prompt_length is None else max(0, len(prompt) - max_prompt_length)
    completions = {f"{name}_ids": ids for name, ids in zip(COMPLETIONS, after, strict=True)}
    return {"prompt_ids": prompt[first:], **completions, "prompt_cut": first > 0}


def _ended(text: str, tokenizer: Any) -> str:
    return text if text.endswith(tokenizer.eos_token) else text + tokenizer.eos_token
