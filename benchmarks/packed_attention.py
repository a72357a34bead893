"""Attention of a tree of tokens on a CPU: tiles of queries against PyTorch's kernel, by time and by error.

    python benchmarks/packed_attention.py
    python benchmarks/packed_attention.py --quick     # short rows, for the test suite

Heads are those of SmolLM2-135M, values random. A tree is a prompt and three completions of 20 tokens. Both take turns;
the error is of outputs and of all gradients, against the same in float64, relative to their norm.
"""

import statistics
import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from unittest.mock import patch

import torch
from torch import Tensor

from common import Timed, head, ratios, row, spread, take_turns, timed
from idl_hf.packing import attention
from idl_hf.packing.tiled_attention import tiled_attention
from idl_hf.packing.tree import build_tree

HEADS, KEY_HEADS, WIDTH, COMPLETION = 9, 3, 64, 20
MODULE = SimpleNamespace(is_causal=True, num_key_value_groups=HEADS // KEY_HEADS)


def kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    with patch.object(attention, "_takes_tiles", lambda query: False):
        return attention.packed_attention(MODULE, query, key, value, mask, scaling=WIDTH**-0.5)[0]


def tiles(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    return tiled_attention(query, key, value, mask[:, :, :-1], scaling=WIDTH**-0.5)


def draw(prompt: int) -> list[Tensor]:
    """Return query, key, value and the upstream gradient in float64, and the mask of the tree."""
    beginning, ids = list(range(prompt)), range(prompt, prompt + 3 * COMPLETION)
    tree = build_tree([[*beginning, *ids[i : i + COMPLETION]] for i in range(0, 3 * COMPLETION, COMPLETION)])
    mask = attention.tree_mask([tree])
    generator = torch.Generator().manual_seed(prompt)
    length = mask.shape[3]
    shapes = [(1, heads, length, WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS)] + [(1, length, HEADS, WIDTH)]
    return [*(torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes), mask]


def run(attend: Callable[..., Tensor], case: list[Tensor], dtype: torch.dtype) -> Timed:
    """Run forward and backward once in this precision and return the output and the three gradients."""
    *tensors, mask = case
    *inputs, upstream = (tensor.to(dtype) for tensor in tensors)
    inputs = [tensor.requires_grad_() for tensor in inputs]

    def attend_both_ways() -> list[Tensor]:
        output = attend(*inputs, mask)
        return [output.detach(), *torch.autograd.grad(output, inputs, upstream)]

    return timed(attend_both_ways)


def error(results: list[Tensor], exact: list[Tensor]) -> float:
    return max(float((result - true).norm() / true.norm()) for result, true in zip(results, exact, strict=True))


def main(quick: bool) -> None:
    print(head("prompt", "dtype", "PyTorch, ms", "tiles, ms", "times faster", "error, PyTorch", "error, tiles"))
    for prompt in (64, 200) if quick else (256, 1024, 2048):
        case = draw(prompt)
        exact = run(kernel, case, torch.float64).result
        for dtype in (torch.float32, torch.bfloat16):
            ways = {"kernel": partial(run, kernel, case, dtype), "tiles": partial(run, tiles, case, dtype)}
            take_turns(ways, 1)  # to warm up
            seconds, results = take_turns(ways, 2 if quick else 12)
            medians = (f"{1e3 * statistics.median(taken):.1f}" for taken in seconds)
            errors = (f"{error(result, exact):.1e}" for result in results)
            print(row(prompt, str(dtype).removeprefix("torch."), *medians, spread(ratios(*seconds)), *errors))


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--quick"]):
        sys.exit(__doc__)
    main("--quick" in sys.argv)
