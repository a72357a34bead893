"""Attention of packed rows: a beginning that several texts share, and behind it the rest of each of them.

`segment_ids` say what a token belongs to: 0 the beginning, 1, 2, ... the rest of a text, -1 padding; `position_ids`
are those it has in a row of its own text. A token sees the beginning and the rest of its own text, each as far as
itself: exactly what it sees in that row.

This needs no mask of the square of the row: the beginning runs through the ordinary causal kernel (in half precision
on a CPU through idl_hf.packing.tiled_attention; with a window shorter than itself it needs a mask), the few queries
behind it through one small attention of their own. The mask of that one travels as the model's `attention_mask`:
transformers hands a 4-D mask to the layers as it is, and gradient checkpointing sees it again in the backward pass.
It holds distances in tokens rather than booleans, for a layer with a sliding window cannot read a distance off the
indices of a packed row.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from idl_hf.packing.tiled_attention import tiled_attention

ATTENTION = "idl_hf_prefix_sharing"
BEGINNING, PADDING = 0, -1  # segments; the rest of each text has a positive one
HIDDEN = -1  # the "distance" to a key that a query does not attend to
_LAYERS = {"full_attention", "sliding_attention"}
_WINDOW_IN_MASK = {"doge", "phimoe", "qwen2_moe"}  # no sliding_window reaches their attention function


def block_distances(segment_ids: Tensor, position_ids: Tensor, length: int) -> Tensor:
    """Return how many tokens back each key lies from each of the last `length` queries, HIDDEN if out of its sight.

    segment_ids, position_ids: (B, S). Returns int32 (B, 1, length, S). A query attends to itself at least, padding
    too: one without keys would be NaN. Two texts of three and two tokens, which share the first:

    >>> block_distances(torch.tensor([[0, 1, 1, 2]]), torch.tensor([[0, 1, 2, 1]]), length=3)[0, 0]
    tensor([[ 1,  0, -1, -1],
            [ 2,  1,  0, -1],
            [ 1, -1, -1,  0]], dtype=torch.int32)
    """
    keys, queries = segment_ids[:, None, :], segment_ids[:, -length:, None]
    distances = position_ids[:, -length:, None] - position_ids[:, None, :]
    seen = ((keys == BEGINNING) | (keys == queries)) & (distances >= 0)
    return torch.where(seen, distances, HIDDEN).to(torch.int32)[:, None]


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return the attention of packed rows where `attention_mask` holds distances, else that of transformers.

    So the model generates and scores anything else as before.
    query, key, value: (B, heads, S, d). Returns (B, S, heads, d), and None for the weights.
    Raises ValueError where the model passes what packed rows lack, such as softcap.
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
    # The beginning through the causal kernel, FlashAttention on CUDA, and what follows with its mask
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
        mask = torch.ones(beginning, beginning, dtype=torch.bool, device=query.device).tril().triu(1 - sliding_window)
    return torch.cat((sdpa_attention_forward(module, query, key, value, mask, **options)[0], following), dim=1), None


def _takes_tiles(query: Tensor) -> bool:
    """Return whether tiles are faster than PyTorch's kernel: in half precision on a CPU (benchmarks/)."""
    half = query.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cpu")
    return query.device.type == "cpu" and half


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)  # of anything that is not a packed row


def obstacle(model: PreTrainedModel) -> str | None:
    """Return why `model` cannot run packed rows, None if it can."""
    name, config = type(model).__name__, model.config
    if not model._supports_attention_backend:
        return f"{name} does not take an attention function"
    if config._attn_implementation not in ("sdpa", ATTENTION):
        return (
            f"{name} runs with attn_implementation='{config._attn_implementation}', and prefix sharing with 'sdpa' "
            "only (on CUDA its causal kernel is FlashAttention)"
        )
    if model._is_stateful:
        return f"{name} has layers that carry a state from token to token"
    if config.model_type in _WINDOW_IN_MASK:
        return f"{name} tells its attention by a mask alone what to see"
    if other := set(getattr(config, "layer_types", None) or ()) - _LAYERS:
        return f"{name} has layers of the type {', '.join(sorted(other))}"
    return None
