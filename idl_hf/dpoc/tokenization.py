"""A row of texts or messages to token ids."""

from typing import Any

from trl.data_utils import common_prefix_length

from idl_hf.dpoc.collator import COMPLETIONS


def tokenize_row(
    row: dict[str, Any], tokenizer: Any, conversational: bool, max_prompt_length: int | None = None
) -> dict[str, Any]:
    """`prompt_ids`, `<completion>_ids` and whether the prompt was cut.

    As in TRL, a completion starts where prompt and prompt + completion diverge. Plain text gets an end-of-sequence token.
    """
    if conversational:
        # One template over the whole conversation: a template over a part of it may add a system message
        prompt = _chat_ids(tokenizer, row["prompt"], add_generation_prompt=True)
        whole = {name: _chat_ids(tokenizer, row["prompt"] + row[name]) for name in COMPLETIONS}
    else:
        prompt = tokenizer(row["prompt"])["input_ids"]
        whole = {name: tokenizer(row["prompt"] + _ended(row[name], tokenizer))["input_ids"] for name in COMPLETIONS}
    length = min(common_prefix_length(prompt, ids) for ids in whole.values())
    first = 0 if max_prompt_length is None else max(0, length - max_prompt_length)
    completions = {f"{name}_ids": ids[length:] for name, ids in whole.items()}
    return {"prompt_ids": prompt[first:length], **completions, "prompt_cut": first > 0}


def _chat_ids(tokenizer: Any, messages: list[dict[str, str]], **options: bool) -> list[int]:
    return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"]


def _ended(text: str, tokenizer: Any) -> str:
    return text if text.endswith(tokenizer.eos_token) else text + tokenizer.eos_token
