"""What a causal LM writes after prompts, so many lines of it, in batches."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_NEW_TOKENS = 64  # of a line; PersonaExt's longest take 18


def generate_lines(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    lines: Sequence[int],
    batch_size: int,
    ends: Collection[int],
) -> Iterator[dict[int, str]]:
    """Yield {index: what follows a prompt greedily} of each batch, until so many lines or a token that ends a reply.

    prompts: token ids; those of similar length go together.
    """
    order = sorted(range(len(prompts)), key=lambda i: (lines[i], len(prompts[i])), reverse=True)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        written = _write(model, tokenizer, [prompts[i] for i in batch], [lines[i] for i in batch], ends)
        yield dict(zip(batch, tokenizer.batch_decode(written, skip_special_tokens=True), strict=True))


@torch.inference_mode()
def _write(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], lines: Sequence[int], ends: Collection[int]
) -> list[list[int]]:
    """Greedy decoding in which a row leaves the batch once it is done. Lines have 2 to 20 tokens, and `generate` would
    compute all rows until the longest is written."""
    ids, mask = _padded(prompts, tokenizer.pad_token_id, model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = None
    missing = list(lines)
    written: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    while rows:
        state = {"attention_mask": mask, "position_ids": positions, "past_key_values": cache, "use_cache": True}
        output = model(input_ids=ids, **state, logits_to_keep=1)
        cache, tokens = output.past_key_values, output.logits[:, -1].argmax(-1)
        going = []
        for place, token in enumerate(tokens.tolist()):
            row = rows[place]
            written[row].append(token)
            missing[row] -= tokenizer.decode([token]).count("\n")
            ended = token in ends or len(written[row]) >= MAX_NEW_TOKENS * lines[row]
            if missing[row] > 0 and not ended:
                going.append(place)
        if going and len(going) < len(rows):
            cache.batch_select_indices(torch.tensor(going, device=model.device))
        rows = [rows[place] for place in going]
        ids, positions = tokens[going, None], positions[going, -1:] + 1
        mask = torch.cat([mask[going], mask.new_ones(len(going), 1)], dim=1)
    return written


def _padded(prompts: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, padded on the left."""
    width = max(map(len, prompts))
    pads = [width - len(prompt) for prompt in prompts]
    ids = [[pad] * missing + list(prompt) for missing, prompt in zip(pads, prompts, strict=True)]
    mask = [[0] * missing + [1] * (width - missing) for missing in pads]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
