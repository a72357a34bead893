"""Attention of a packed row on a CPU: tiles of queries against PyTorch's kernel, by time and by error.

    python benchmarks/packed_attention.py
    python benchmarks/packed_attention.py --quick     # short rows, for the test suite

Heads are those of SmolLM2-135M, values random. A row is a prompt and three completions of 20 tokens. Both take turns;
the error is of outputs and of all gradients, against the same in float64, relative to their norm.
"""

import statistics
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor

from idl_hf.dpoc.collator import DataCollatorForPrefixSharing
from idl_hf.packing.attention import _two_part_attention, block_distances
from idl_hf.packing.tiled_attention import tiled_attention

HEADS, KEY_HEADS, WIDTH, COMPLETION = 9, 3, 64, 20
MODULE = SimpleNamespace(is_causal=True, num_key_value_groups=HEADS // KEY_HEADS)


class Case(NamedTuple):
    """What is attended: query, key, value and the upstream gradient in float64, and the distances of the row."""

    tensors: list[Tensor]
    distances: Tensor


class Pass(NamedTuple):
    """Seconds of forward and backward, and what came out: the output and the three gradients."""

    seconds: float
    results: list[Tensor]


def kernel(query: Tensor, key: Tensor, value: Tensor, distances: Tensor) -> Tensor:
    """Return the attention by PyTorch's kernel."""
    return _two_part_attention(MODULE, query, key, value, distances, None, {"scaling": WIDTH**-0.5})


def tiles(query: Tensor, key: Tensor, value: Tensor, distances: Tensor) -> Tensor:
    """Return the attention by tiles of queries."""
    return tiled_attention(query, key, value, distances, WIDTH**-0.5)


def draw(prompt: int) -> Case:
    """Return random values for one row with a prompt of this length."""
    ids = list(range(COMPLETION))
    row = {"prompt_ids": list(range(prompt)), "chosen_ids": ids, "criterion_ids": ids, "rejected_ids": ids}
    batch = DataCollatorForPrefixSharing(0)([row])
    distances = block_distances(batch["segment_ids"], batch["position_ids"], 3 * COMPLETION)
    generator = torch.Generator().manual_seed(prompt)
    length = distances.shape[3]
    shapes = [(1, heads, length, WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS)] + [(1, length, HEADS, WIDTH)]
    return Case([torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes], distances)


def run(attend: Callable[..., Tensor], case: Case, dtype: torch.dtype) -> Pass:
    """Run forward and backward once in this precision."""
    *inputs, upstream = (tensor.to(dtype) for tensor in case.tensors)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    start = time.perf_counter()
    output = attend(*inputs, case.distances)
    gradients = torch.autograd.grad(output, inputs, upstream)
    return Pass(time.perf_counter() - start, [output.detach(), *gradients])


def error(results: list[Tensor], exact: list[Tensor]) -> float:
    """Return the largest norm of a difference, relative to the exact norm."""
    return max(float((result - true).norm() / true.norm()) for result, true in zip(results, exact, strict=True))


def main(quick: bool) -> None:
    """Print a line for each length of the prompt and each precision."""
    print("| prompt | dtype | PyTorch, ms | tiles, ms | times faster | error, PyTorch | error, tiles |")
    print("|---|---|---|---|---|---|---|")
    for prompt in (64, 200) if quick else (256, 1024, 2048):
        case = draw(prompt)
        exact = run(kernel, case, torch.float64).results
        for dtype in (torch.float32, torch.bfloat16):
            run(kernel, case, dtype), run(tiles, case, dtype)
            turns = [
                (run(kernel, case, dtype).seconds, run(tiles, case, dtype).seconds) for _ in range(2 if quick else 12)
            ]
            theirs, ours = (1e3 * statistics.median(column) for column in zip(*turns, strict=True))
            ratios = [of_kernel / of_tiles for of_kernel, of_tiles in turns]
            errors = [error(run(attend, case, dtype).results, exact) for attend in (kernel, tiles)]
            print(
                f"| {prompt} | {str(dtype).removeprefix('torch.')} | {theirs:.1f} | {ours:.1f} | "
                f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}] | "
                f"{errors[0]:.1e} | {errors[1]:.1e} |"
            )


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--quick"]):
        sys.exit(__doc__)
    main("--quick" in sys.argv)
