"""Exact attention in tiles of queries, for packed rows in half precision on a CPU.

PyTorch's CPU kernel works head by head and is little faster in bfloat16 than in float32. A tile is a few matrix
products over all heads that share keys, reads only keys it can see, and the backward pass computes its probabilities
again, so memory stays linear in the length (the idea of Dao et al. 2022, arXiv 2205.14135).
benchmarks/packed_attention.py has time and error.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

TILE = 128  # queries; more waste products on masked keys, fewer make the products small


def tiled_attention(
    query: Tensor, key: Tensor, value: Tensor, distances: Tensor, scaling: float, window: int | None = None
) -> Tensor:
    """Return the attention of S positions: the first S - L causal, the last L to the keys that `distances` shows them.

    query: (B, heads, S, d); key, value: (B, key heads, S, d) and (B, key heads, S, e); distances: int32 (B, 1, L, S),
    how many tokens back a key lies, negative if out of sight. window: how many tokens a query sees, itself included.
    Returns (B, S, heads, e).
    """
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (tensor.to(torch.get_autocast_dtype("cpu")) for tensor in (query, key, value))
    with torch.autocast("cpu", enabled=False):
        return _TiledAttention.apply(query, key, value, distances, scaling, window)


class _TiledAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, distances: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        size, heads, length, _ = query.shape
        output = query.new_empty(size, length, heads, value.shape[-1])
        for queries, keys, hidden in _tiles(distances, length, window):
            probs = _probabilities(query[:, :, queries] * scaling, key[:, :, keys], hidden).to(value.dtype)
            attended = _grouped(probs, key) @ value[:, :, keys]
            output[:, queries] = attended.view(size, heads, -1, value.shape[-1]).transpose(1, 2)
        ctx.save_for_backward(query, key, value, distances)
        ctx.scaling, ctx.window = scaling, window
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, distances = ctx.saved_tensors
        accumulated = torch.promote_types(query.dtype, torch.float32)
        query_gradient = torch.empty_like(query)
        key_gradient = torch.zeros_like(key, dtype=accumulated)
        value_gradient = torch.zeros_like(value, dtype=accumulated)
        for queries, keys, hidden in _tiles(distances, query.shape[2], ctx.window):
            tile = query[:, :, queries] * ctx.scaling
            probs = _probabilities(tile, key[:, :, keys], hidden)
            upstream = _grouped(gradients[0][:, queries].transpose(1, 2), key)
            probs_gradient = (upstream @ value[:, :, keys].transpose(2, 3)).view(probs.shape)
            value_gradient[:, :, keys] += _grouped(probs.to(value.dtype), key).transpose(2, 3) @ upstream
            scores_gradient = torch._softmax_backward_data(probs_gradient.to(probs.dtype), probs, -1, probs.dtype)
            scores_gradient = _grouped(scores_gradient.to(query.dtype), key)
            query_gradient[:, :, queries] = (scores_gradient @ key[:, :, keys]).view(tile.shape) * ctx.scaling
            key_gradient[:, :, keys] += scores_gradient.transpose(2, 3) @ _grouped(tile, key)
        return query_gradient, key_gradient.to(key.dtype), value_gradient.to(value.dtype), None, None, None


def _tiles(distances: Tensor, length: int, window: int | None) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield queries, the keys they may see, and which of the last n they do not, which fits (B, heads, queries, n)."""
    beginning = length - distances.shape[2]
    for start in range(0, beginning, TILE):
        stop = min(beginning, start + TILE)
        first = 0 if window is None else max(0, start - window + 1)
        masked = start if window is None else first  # without a window all before the tile is seen
        back = torch.arange(start, stop)[:, None] - torch.arange(masked, stop)
        yield slice(start, stop), slice(first, stop), _hidden(back, window)
    for start in range(beginning, length, TILE):
        stop = min(length, start + TILE)
        back = distances[:, :, start - beginning : stop - beginning]
        yield slice(start, stop), slice(0, length), _hidden(back, window)


def _hidden(back: Tensor, window: int | None) -> Tensor:
    return back < 0 if window is None else (back < 0) | (back >= window)


def _probabilities(query: Tensor, key: Tensor, hidden: Tensor) -> Tensor:
    """Return (B, heads, queries, keys), at least float32; scores have the inputs' precision, as in eager attention."""
    size, heads, length, _ = query.shape
    scores = (_grouped(query, key) @ key.transpose(2, 3)).view(size, heads, length, -1)
    scores[..., -hidden.shape[-1] :].masked_fill_(hidden, -torch.inf)
    return scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))


def _grouped(per_head: Tensor, key: Tensor) -> Tensor:
    """Return (B, heads, n, d) as (B, key heads, heads / key heads * n, d): one product for heads that share keys."""
    return per_head.reshape(per_head.shape[0], key.shape[1], -1, per_head.shape[-1])
