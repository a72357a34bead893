"""Attention of trees of tokens (idl_hf.packing.tree): each token sees exactly what it sees in a text of its own.

A batch is one row that holds its trees one behind the other, so nothing is padded. The trunk of a tree runs through
the ordinary causal kernel (in half precision on a CPU through idl_hf.packing.tiled_attention; with a window shorter
than itself it needs a mask), the few queries of its branches through one small attention of their own. The mask of
that one travels as the model's `attention_mask`: transformers hands a 4-D mask to the layers as it is, and gradient
checkpointing sees it again in the backward pass. It holds distances in tokens rather than booleans, for a layer with a
sliding window cannot read a distance off the indices of a packed row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from idl_hf.packing.tiled_attention import tiled_attention
from idl_hf.packing.tree import Tree

ATTENTION = "idl_hf_prefix_sharing"
HIDDEN = -1  # the "distance" to a key that a query does not attend to
_LAYERS = {"full_attention", "sliding_attention"}
_WINDOW_IN_MASK = {"doge", "phimoe", "qwen2_moe"}  # no sliding_window reaches their attention function


def tree_mask(trees: Sequence[Tree]) -> Tensor:
    """Return the attention mask of a row of trees, int32 (trees, 1, L + 1, W + L), and what it takes to tell them.

    W is the length of the longest trunk, L that of the most tokens in branches; shorter ones are filled up. The first
    L lines say how many tokens back each key lies from a query of a branch, HIDDEN if out of its sight; a query that
    only fills up sees itself. The last line has the place of each key in the row, its length for those that fill up.

    >>> from idl_hf.packing.tree import build_tree
    >>> tree_mask([build_tree([[1, 2, 3], [1, 9]])])[0, 0]
    tensor([[ 1, -1, -1,  0],
            [ 0,  1,  2,  3]], dtype=torch.int32)
    """
    width = max(tree.trunk for tree in trees)
    length = max(len(tree.ids) - tree.trunk for tree in trees)
    total = sum(len(tree.ids) for tree in trees)
    mask = torch.full((len(trees), 1, length + 1, width + length), HIDDEN, dtype=torch.int32)
    first = 0
    for (lines,), tree in zip(mask, trees, strict=True):
        filled = [*range(tree.trunk), *range(width, width + len(tree.ids) - tree.trunk)]
        positions, ends = torch.tensor([tree.positions, tree.ends], dtype=torch.int32)
        slots = torch.arange(len(tree.ids))
        queries = slots[tree.trunk :, None]
        seen = (slots <= queries) & (queries < ends)
        distances = torch.where(seen, positions[tree.trunk :, None] - positions, HIDDEN)
        lines[: len(queries), filled] = distances.to(torch.int32)
        lines[range(length), range(width, width + length)] = 0
        lines[length] = total
        lines[length, filled] = torch.arange(first, first + len(tree.ids), dtype=torch.int32)
        first += len(tree.ids)
    return mask


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return the attention of trees where `attention_mask` is that of `tree_mask`, else that of transformers.

    So the model generates and scores anything else as before.
    query, key, value: (1, heads, S, d), of trees. Returns (1, S, heads, d), and None for the weights.
    Raises ValueError where the model passes what trees lack, such as softcap.
    """
    if attention_mask is None or attention_mask.dtype != torch.int32:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, sliding_window=sliding_window, **options
        )
    refuse_extras(module, options, "prefix sharing")
    distances, places = attention_mask[:, :, :-1], attention_mask[:, 0, -1]
    if len(distances) == 1:  # one tree, nothing is filled up
        return _tree_attention(module, query, key, value, distances, sliding_window, **options), None
    length = query.shape[2]
    query, key, value = (_by_tree(states, places.clamp(max=length - 1)) for states in (query, key, value))
    attended = _tree_attention(module, query, key, value, distances, sliding_window, **options)
    row = attended.new_zeros(length + 1, *attended.shape[2:])  # the last place takes what fills up
    return row.index_put((places.flatten(),), attended.flatten(0, 1))[None, :length], None


def refuse_extras(module: torch.nn.Module, options: Mapping[str, Any], what: str) -> None:
    """Raise ValueError where a model passes to its attention what ours have not."""
    for name in ("softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise ValueError(f"{type(module).__name__} passes {name} to its attention, which {what} lacks.")


def _by_tree(states: Tensor, places: Tensor) -> Tensor:
    """Return (1, heads, S, d) as (trees, heads, places, d)."""
    return states[0][:, places].transpose(0, 1)


def _tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    distances: Tensor,
    sliding_window: int | None,
    **options: Any,
) -> Tensor:
    """Return the attention of trees that lie one beside the other, (B, S, heads, d); distances: (B, 1, L, S)."""
    if _takes_tiles(query) and not options.get("dropout"):
        scaling = query.shape[-1] ** -0.5 if options.get("scaling") is None else options["scaling"]
        return tiled_attention(query, key, value, distances, scaling, sliding_window)
    # The trunk through the causal kernel, FlashAttention on CUDA, and the branches with their mask
    trunk, parts = query.shape[2] - distances.shape[2], []
    if trunk:
        mask = None
        if sliding_window is not None and trunk > sliding_window:
            mask = torch.ones(trunk, trunk, dtype=torch.bool, device=query.device).tril().triu(1 - sliding_window)
        states = (query[:, :, :trunk], key[:, :, :trunk], value[:, :, :trunk])
        parts.append(sdpa_attention_forward(module, *states, mask, **options)[0])
    if distances.shape[2]:
        seen = distances >= 0
        if sliding_window is not None:
            seen &= distances < sliding_window
        parts.append(sdpa_attention_forward(module, query[:, :, trunk:], key, value, seen, **options)[0])
    return torch.cat(parts, dim=1)


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
