"""The prompt once per row instead of once per completion: one packed row of prompt and three blocks.

    [ prompt[:-1] | prompt[-1] chosen[:-1] | prompt[-1] criterion[:-1] | prompt[-1] rejected[:-1] ]

A block attends to the prompt and to itself, and its positions go on where the prompt ends, so that each token sees exactly
what it sees in a row of its own. Only the last 3N positions predict a completion token, N being the longest completion.

Attention needs no mask of the square of the row: the prompt runs through the ordinary causal kernel (in half precision on a
CPU through idl_hf.packing.tiled_attention; with a window shorter than itself it needs a mask), the few queries of the blocks through
one small attention of their own. The mask of that one travels as the model's `attention_mask`: transformers
hands a 4-D mask to the layers as it is, and gradient checkpointing sees it again in the backward pass. It holds distances
in tokens rather than booleans, for a layer with a sliding window cannot read a distance off the indices of a packed row.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from idl_hf.dpoc.collator import COMPLETIONS, pad, reference_columns
from idl_hf.packing.tiled_attention import tiled_attention

ATTENTION = "idl_hf_prefix_sharing"
PROMPT, PADDING = 0, -1
HIDDEN = -1  # the "distance" to a key that a query does not attend to
_LAYERS = {"full_attention", "sliding_attention"}
_WINDOW_IN_MASK = {"doge", "phimoe", "qwen2_moe"}  # no sliding_window reaches their attention function


@dataclass
class DataCollatorForPrefixSharing:
    """One row per example, in segments: 0 the prompt, 1 to 3 the completions, -1 padding.

    Rows are those of DataCollatorForCriterion. `completion_labels` are of the last 3N positions, -100 for padding.

    >>> from idl_hf.packing.attention import DataCollatorForPrefixSharing
    >>> collator = DataCollatorForPrefixSharing(pad_token_id=0)
    >>> rows = [
    ...     {"prompt_ids": [1, 2, 3], "chosen_ids": [4, 5], "criterion_ids": [6, 7], "rejected_ids": [8]},
    ...     {"prompt_ids": [1, 2], "chosen_ids": [4], "criterion_ids": [6], "rejected_ids": [8, 9]},
    ... ]
    >>> batch = collator(rows)
    >>> batch["input_ids"]
    tensor([[1, 2, 3, 4, 3, 6, 3, 0],
            [1, 0, 2, 0, 2, 0, 2, 8]])
    >>> batch["position_ids"]
    tensor([[0, 1, 2, 3, 2, 3, 2, 0],
            [0, 0, 1, 0, 1, 0, 1, 2]])
    >>> batch["segment_ids"]
    tensor([[ 0,  0,  1,  1,  2,  2,  3, -1],
            [ 0, -1,  1, -1,  2, -1,  3,  3]])
    >>> batch["completion_labels"]
    tensor([[   4,    5,    6,    7,    8, -100],
            [   4, -100,    6, -100,    8,    9]])
    """

    pad_token_id: int
    max_length: int | None = None
    pad_to_multiple_of: Any = None  # None or int; typed as in DPOConfig, where a string is resolved

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        prompts, blocks = [], []
        for row in rows:
            prompt = row["prompt_ids"]
            prompts.append(prompt[:-1])
            # Without a prompt the first token of a completion is not predicted, as in a row of its own
            blocks.append([[*prompt[-1:], *row[f"{name}_ids"][: self._room(prompt)]] for name in COMPLETIONS])
        width = max(len(prompt) for prompt in prompts)
        length = max(1, *(len(block) - 1 for row_blocks in blocks for block in row_blocks))
        if self.pad_to_multiple_of is not None:
            width += -(width + 3 * length) % self.pad_to_multiple_of
        packed = [self._pack(*pair, width, length) for pair in zip(prompts, blocks, strict=True)]
        names = ("input_ids", "position_ids", "segment_ids", "completion_labels")
        batch = dict(zip(names, map(torch.tensor, zip(*packed, strict=True)), strict=True))
        return batch | reference_columns(rows)

    def _room(self, prompt: list[int]) -> int | None:
        return None if self.max_length is None else max(0, self.max_length - len(prompt))

    def _pack(self, prompt: list[int], blocks: list[list[int]], width: int, length: int) -> tuple[list[int], ...]:
        ids, segments = pad(prompt, width, self.pad_token_id), pad([PROMPT] * len(prompt), width, PADDING)
        positions, labels = pad(list(range(len(prompt))), width, 0), []
        for segment, block in enumerate(blocks, start=1):
            inputs = block[:-1]
            ids += pad(inputs, length, self.pad_token_id)
            segments += pad([segment] * len(inputs), length, PADDING)
            positions += pad(list(range(len(prompt), len(prompt) + len(inputs))), length, 0)
            labels += pad(block[1:], length, -100)
        return ids, positions, segments, labels


def block_distances(segment_ids: Tensor, position_ids: Tensor, length: int) -> Tensor:
    """How many tokens back each key lies from each of the last `length` queries, HIDDEN for keys it does not attend to.

    segment_ids, position_ids: (B, S). Returns int32 (B, 1, length, S). A query attends to itself at least, padding too:
    one without keys would be NaN.
    """
    keys, queries = segment_ids[:, None, :], segment_ids[:, -length:, None]
    distances = position_ids[:, -length:, None] - position_ids[:, None, :]
    seen = ((keys == PROMPT) | (keys == queries)) & (distances >= 0)
    return torch.where(seen, distances, HIDDEN).to(torch.int32)[:, None]


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention of packed rows if `attention_mask` holds block distances; else that of transformers,
    so that the model generates and scores anything else as before.

    query, key, value: (B, heads, S, d). Returns (B, S, heads, d).
    """
    if attention_mask is None or attention_mask.dtype != torch.int32:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, sliding_window=sliding_window, **options
        )
    for name in ("softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise ValueError(f"{type(module).__name__} passes {name} to its attention, which prefix sharing lacks.")
    if _takes_tiles(query) and not options.get("dropout"):
        scaling = query.shape[-1] ** -0.5 if options.get("scaling") is None else options["scaling"]
        return tiled_attention(query, key, value, attention_mask, scaling, sliding_window), None
    return _two_part_attention(module, query, key, value, attention_mask, sliding_window, options), None


def _takes_tiles(query: Tensor) -> bool:
    """In half precision on a CPU; in float32 PyTorch's kernel is the faster one (benchmarks/packed_attention.py)."""
    half = query.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cpu")
    return query.device.type == "cpu" and half


def _two_part_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    distances: Tensor,
    window: int | None,
    options: dict[str, Any],
) -> Tensor:
    """The prompt through the causal kernel, FlashAttention on CUDA, which takes no mask; the blocks with theirs."""
    prompt = query.shape[2] - distances.shape[2]
    seen = distances >= 0
    if window is not None:
        seen &= distances < window
    blocks, _ = sdpa_attention_forward(module, query[:, :, prompt:], key, value, seen, **options)
    if prompt == 0:
        return blocks
    query, key, value = query[:, :, :prompt], key[:, :, :prompt], value[:, :, :prompt]
    mask = None
    if window is not None and prompt > window:
        mask = torch.ones(prompt, prompt, dtype=torch.bool, device=query.device).tril().triu(1 - window)
    return torch.cat((sdpa_attention_forward(module, query, key, value, mask, **options)[0], blocks), dim=1)


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)  # of anything that is not a packed row


def obstacle(model: PreTrainedModel) -> str | None:
    """Why `model` cannot run packed rows; None if it can."""
    name, config = type(model).__name__, model.config
    if not model._supports_attention_backend:
        return f"{name} does not take an attention function"
    if config._attn_implementation not in ("sdpa", ATTENTION):
        return (
            f"{name} runs with attn_implementation='{config._attn_implementation}', and prefix sharing with 'sdpa' only "
            "(on CUDA its causal kernel is FlashAttention)"
        )
    if model._is_stateful:
        return f"{name} has layers that carry a state from token to token"
    if config.model_type in _WINDOW_IN_MASK:
        return f"{name} tells its attention by a mask alone what to see"
    if other := set(getattr(config, "layer_types", None) or ()) - _LAYERS:
        return f"{name} has layers of the type {', '.join(sorted(other))}"
    return None
