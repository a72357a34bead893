"""The slow reference of trees: a packed row for each example, its prompt once and behind it a block per completion.

    [ prompt[:-1] | prompt[-1] chosen[:-1] | prompt[-1] criterion[:-1] | prompt[-1] rejected[:-1] ]

As it was before there were trees; nothing outside the tests uses it.
"""

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from idl_hf.dpoc.collator import COMPLETIONS

ATTENTION = "packed_rows_reference"


def packed_log_probs(model, rows):
    """Return the summed log-probs of (chosen, criterion, rejected), (3, rows), with gradients."""
    model.set_attn_implementation(ATTENTION)
    return torch.stack([_row_log_probs(model, row) for row in rows], dim=1)


def _row_log_probs(model, row):
    prompt = row["prompt_ids"]
    blocks = [[*prompt[-1:], *row[f"{name}_ids"]] for name in COMPLETIONS]
    length = max(1, *(len(block) - 1 for block in blocks))
    ids, segments = list(prompt[:-1]), [0] * len(prompt[:-1])
    positions, labels = list(range(len(ids))), []
    for segment, block in enumerate(blocks, start=1):
        padding = length - len(block[:-1])
        ids += block[:-1] + [0] * padding
        segments += [segment] * len(block[:-1]) + [-1] * padding
        positions += list(range(len(prompt[:-1]), len(prompt[:-1]) + len(block[:-1]))) + [0] * padding
        labels += block[1:] + [-100] * padding
    ids, segments, positions, labels = (torch.tensor([values]) for values in (ids, segments, positions, labels))
    mask = block_distances(segments, positions, 3 * length)
    logits = model(input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False).logits
    logits = logits[:, -3 * length :]
    log_probs = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return log_probs.masked_fill(labels == -100, 0).view(3, length).sum(dim=1)


def block_distances(segment_ids, position_ids, length):
    """Return how many tokens back each key lies from each of the last `length` queries, -1 if out of its sight."""
    keys, queries = segment_ids[:, None, :], segment_ids[:, -length:, None]
    distances = position_ids[:, -length:, None] - position_ids[:, None, :]
    seen = ((keys == 0) | (keys == queries)) & (distances >= 0)
    return torch.where(seen, distances, -1).to(torch.int32)[:, None]


def attention(module, query, key, value, attention_mask, sliding_window=None, **options):
    if attention_mask is None or attention_mask.dtype != torch.int32:
        window = {"sliding_window": sliding_window}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **window, **options)
    beginning = query.shape[2] - attention_mask.shape[2]
    seen = attention_mask >= 0
    if sliding_window is not None:
        seen &= attention_mask < sliding_window
    following, _ = sdpa_attention_forward(module, query[:, :, beginning:], key, value, seen, **options)
    if beginning == 0:
        return following, None
    query, key, value = query[:, :, :beginning], key[:, :, :beginning], value[:, :, :beginning]
    mask = None
    if sliding_window is not None and beginning > sliding_window:
        mask = torch.ones(beginning, beginning, dtype=torch.bool).tril().triu(1 - sliding_window)
    return torch.cat((sdpa_attention_forward(module, query, key, value, mask, **options)[0], following), dim=1), None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
