"""Tiled attention is attention: values and gradients against the plain formula in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idl_hf.packing import tiled_attention as module
from idl_hf.packing.tiled_attention import tiled_attention


def inputs(size, heads, key_heads, prompt, length, width=4, value_width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()

    total = prompt + length
    query, key = draw(size, heads, total, width), draw(size, key_heads, total, width)
    value = draw(size, key_heads, total, value_width)
    distances = torch.randint(-2, 5, (size, 1, length, total), generator=generator, dtype=torch.int32)
    itself = torch.arange(length)
    distances[:, :, itself, prompt + itself] = 0
    return query, key, value, distances


def plain(query, key, value, distances, scaling, window):
    size, heads, total, _ = query.shape
    prompt = total - distances.shape[2]
    back = torch.arange(total)[:, None] - torch.arange(total)
    back = back.expand(size, 1, total, total).clone()
    back[:, :, prompt:] = distances
    hidden = (back < 0) | (back >= (total + 9 if window is None else window))
    groups = heads // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = (query @ key.transpose(2, 3) * scaling).masked_fill(hidden, -torch.inf)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2)


@settings(max_examples=60)
@given(
    st.integers(1, 2), st.sampled_from([(1, 1), (4, 2), (6, 1)]), st.integers(0, 9), st.integers(1, 7),
    st.none() | st.integers(1, 12), st.integers(1, 5),
)  # fmt: skip
def test_values_and_gradients(size, heads, prompt, length, window, tile):
    original, module.TILE = module.TILE, tile
    try:
        tensors = inputs(size, *heads, prompt, length)
        found = tiled_attention(*tensors, 0.3, window)
        expected = plain(*tensors, 0.3, window)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        upstream = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(1))
        gradients = torch.autograd.grad(found, tensors[:3], upstream)
        for one, other in zip(gradients, torch.autograd.grad(expected, tensors[:3], upstream), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)
    finally:
        module.TILE = original


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_keeps_sums_in_float32(autocast):
    tensors = inputs(1, 4, 2, 300, 20)
    expected = plain(*tensors, 0.5, None)
    dtype = torch.float32 if autocast else torch.bfloat16
    halves = [tensor.detach().to(dtype).requires_grad_() for tensor in tensors[:3]]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = tiled_attention(*halves, tensors[3], 0.5)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=0.03, atol=0.03)
    found.sum().backward()
    assert all(half.grad.dtype == dtype for half in halves)
