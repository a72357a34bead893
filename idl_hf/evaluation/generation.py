"""Replies to held-out contexts."""

from collections.abc import Iterable
from typing import Any

import torch
from tqdm.auto import tqdm

from idl_hf import prompting
from idl_hf.schema import Message


def generate_replies(
    model: Any, tokenizer: Any, rows: Iterable[dict[str, Any]], max_new_tokens: int = 40, label: str = ""
) -> list[str]:
    """Greedy replies, one per row, in order."""
    return [
        generate_reply(model, tokenizer, row["prompt"], max_new_tokens=max_new_tokens)
        for row in tqdm(rows, desc=f"Generating {label}")
    ]


@torch.inference_mode()
def generate_reply(model: Any, tokenizer: Any, prompt: list[Message], **options: Any) -> str:
    ids = torch.tensor([prompting.prompt_ids(tokenizer, prompt)], device=model.device)
    options = {"do_sample": False, "pad_token_id": tokenizer.pad_token_id, **options}
    output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
    return tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip()
