"""Attention of a packed row on a CPU: tiles of queries against PyTorch's kernel, by time and by error.

    python benchmarks/packed_attention.py
    python benchmarks/packed_attention.py --quick     # short rows, for the test suite

Heads are those of SmolLM2-135M, values random. A row is a prompt and three completions of 20 tokens. Both take turns; the
error is of outputs and of all gradients, against the same in float64, relative to their norm.
"""

import statistics
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor

from idl_hf.packing.attention import DataCollatorForPrefixSharing, _two_part_attention, block_distances
from idl_hf.packing.tiled_attention import tiled_attention

HEADS, KEY_HEADS, WIDTH, COMPLETION = 9, 3, 64, 20
MODULE = SimpleNamespace(is_causal=True, num_key_value_groups=HEADS // KEY_HEADS)


def kernel(query: Tensor, key: Tensor, value: Tensor, distances: Tensor) -> Tensor:
    return _two_part_attention(MODULE, query, key, value, distances, None, {"scaling": WIDTH**-0.5})


def tiles(query: Tensor, key: Tensor, value: Tensor, distances: Tensor) -> Tensor:
    return tiled_attention(query, key, value, distances, WIDTH**-0.5)


def draw(prompt: int) -> tuple[list[Tensor], Tensor]:
    """Query, key, value and the upstream gradient in float64, and the distances of one row."""
    ids = list(range(COMPLETION))
    row = {"prompt_ids": list(range(prompt)), "chosen_ids": ids, "criterion_ids": ids, "rejected_ids": ids}
    batch = DataCollatorForPrefixSharing(0)([row])
    distances = block_distances(batch["segment_ids"], batch["position_ids"], 3 * COMPLETION)
    generator = torch.Generator().manual_seed(prompt)
    length = distances.shape[3]
    shapes = [(1, heads, length, WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS)] + [(1, length, HEADS, WIDTH)]
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes], distances


def run(attend: Callable, tensors: list[Tensor], distances: Tensor, dtype: torch.dtype) -> tuple[float, list[Tensor]]:
    """Seconds of forward and backward, and output with gradients."""
    *inputs, upstream = (tensor.to(dtype) for tensor in tensors)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    start = time.perf_counter()
    output = attend(*inputs, distances)
    gradients = torch.autograd.grad(output, inputs, upstream)
    return time.perf_counter() - start, [output.detach(), *gradients]


def error(found: list[Tensor], exact: list[Tensor]) -> float:
    return max(float((one - other).norm() / other.norm()) for one, other in zip(found, exact, strict=True))


def main(quick: bool) -> None:
    print("| prompt | dtype | PyTorch, ms | tiles, ms | times faster | error, PyTorch | error, tiles |")
    print("|---|---|---|---|---|---|---|")
    for prompt in (64, 200) if quick else (256, 1024, 2048):
        tensors, distances = draw(prompt)
        exact = run(kernel, tensors, distances, torch.float64)[1]
        for dtype in (torch.float32, torch.bfloat16):
            run(kernel, tensors, distances, dtype), run(tiles, tensors, distances, dtype)
            turns = [
                (run(kernel, tensors, distances, dtype)[0], run(tiles, tensors, distances, dtype)[0])
                for _ in range(2 if quick else 12)
            ]
            theirs, ours = (1e3 * statistics.median(column) for column in zip(*turns, strict=True))
            ratios = [one / other for one, other in turns]
            errors = [error(run(attend, tensors, distances, dtype)[1], exact) for attend in (kernel, tiles)]
            print(
                f"| {prompt} | {str(dtype).removeprefix('torch.')} | {theirs:.1f} | {ours:.1f} | "
                f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}] | {errors[0]:.1e} | {errors[1]:.1e} |"
            )


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--quick"]):
        sys.exit(__doc__)
    main("--quick" in sys.argv)
