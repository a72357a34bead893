"""A row of texts or messages to token ids."""

import json
from typing import Any

from datasets import Dataset, IterableDataset
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import get_logger
from trl.data_utils import common_prefix_length, is_conversational

from idl_hf.dpoc.collator import COMPLETIONS
from idl_hf.dpoc.config import DPOCConfig

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

    As in TRL, a completion starts where prompt and prompt + completion diverge, plain text gets an end-of-sequence
    token, and the columns `tools` (a list, or JSON) and `chat_template_kwargs` go to the chat template.
    """
    if conversational:
        # One template over the whole conversation: a template over a part of it may add a system message
        tools = row.get("tools")
        tools = json.loads(tools) if isinstance(tools, str) else tools
        options = {"tools": tools, **(row.get("chat_template_kwargs") or {})}
        prompt = _chat_ids(tokenizer, row["prompt"], add_generation_prompt=True, **options)
        whole = {name: _chat_ids(tokenizer, row["prompt"] + row[name], **options) for name in COMPLETIONS}
    else:
        prompt = tokenizer(row["prompt"])["input_ids"]
        whole = {name: tokenizer(row["prompt"] + _ended(row[name], tokenizer))["input_ids"] for name in COMPLETIONS}
    length = min(common_prefix_length(prompt, ids) for ids in whole.values())
    if length < len(prompt):
        logger.warning_once(
            "The tokens of a prompt do not begin those of prompt + completion, because the chat template renders them "
            f"differently or tokens merge at the border. {tokenizer.decode(prompt[length:])!r} at the end of the "
            "prompt is left out of the training, so the model sees another context than in use. Shown once."
        )
    first = 0 if max_prompt_length is None else max(0, length - max_prompt_length)
    completions = {f"{name}_ids": ids[length:] for name, ids in whole.items()}
    return {"prompt_ids": prompt[first:length], **completions, "prompt_cut": first > 0}


def _chat_ids(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> list[int]:
    return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"]


def _ended(text: str, tokenizer: Any) -> str:
    return text if text.endswith(tokenizer.eos_token) else text + tokenizer.eos_token
