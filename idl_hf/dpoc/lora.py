"""A linear layer with LoRA in fewer passes over memory than PEFT's forward, while a step is trained.

PEFT computes W x, B A x, its product with the scaling and the sum each into memory of its own, and autograd sums two
gradients of x. On a CPU, where a layer of a small model is bound by memory, that is a tenth of a step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear
from torch import Tensor, nn


@contextmanager
def fused_lora(model: nn.Module) -> Iterator[None]:
    """Have the linear layers of a model that train one plain LoRA adapter compute as one operation in a block.

    Layers stay as they are where something else acts on them: dropout, biases of the adapter, DoRA and other variants,
    weights that are trained or quantized, precisions that differ, hooks (as of ZeRO-3), a forward that was replaced.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, Linear) and _is_plain(layer)]
    for layer in layers:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


class _LoraLinear(torch.autograd.Function):
    """x W^T + bias + scaling x A^T B^T, for x (..., in), W (out, in), A (r, in), B (out, r)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        hidden = F.linear(x, down)
        ctx.save_for_backward(x, hidden, weight, down, up)
        ctx.scaling = scaling
        result = F.linear(x, weight, bias)
        result.flatten(0, -2).addmm_(hidden.flatten(0, -2), up.t(), alpha=scaling)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, weight, down, up = ctx.saved_tensors
        gradient = gradients[0].flatten(0, -2)
        of_hidden = (gradient @ up).mul_(ctx.scaling)
        of_down = of_hidden.t() @ x.flatten(0, -2) if ctx.needs_input_grad[3] else None
        of_up = (gradient.t() @ hidden.flatten(0, -2)).mul_(ctx.scaling) if ctx.needs_input_grad[4] else None
        of_x = (gradient @ weight).addmm_(of_hidden, down).view_as(x) if ctx.needs_input_grad[0] else None
        return of_x, None, None, of_down, of_up, None


def _forward(layer: Linear, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return what a layer's own forward would, up to rounding."""
    adapters = [name for name in layer.active_adapters if name in layer.lora_A]
    if args or kwargs or layer.disable_adapters or layer.merged or len(adapters) != 1:
        return type(layer).forward(layer, x, *args, **kwargs)
    base, (adapter,) = layer.base_layer, adapters
    autocast, device = torch.is_autocast_enabled(x.device.type), x.device.type
    dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
    down, up = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    if not autocast and {base.weight.dtype, down.dtype, up.dtype} != {dtype}:
        return type(layer).forward(layer, x)
    bias = None if base.bias is None else base.bias.to(dtype)
    weights = (base.weight.to(dtype), bias, down.to(dtype), up.to(dtype))
    return _LoraLinear.apply(x.to(dtype), *weights, layer.scaling[adapter])


def _is_plain(layer: Linear) -> bool:
    if type(layer) is not Linear or type(layer.base_layer) is not nn.Linear or "forward" in vars(layer):
        return False
    parts: list[Any] = [layer.base_layer, *layer.lora_A.values(), *layer.lora_B.values()]
    return (
        not layer.lora_variant
        and all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())
        and all(type(part) is nn.Linear and not _is_watched(part) for part in parts)
        and not any(part.bias is not None for part in parts[1:])
        and not any(weight.requires_grad for weight in layer.base_layer.parameters())
        and all(part.weight.is_floating_point() for part in parts)
    )


def _is_watched(layer: nn.Module) -> bool:
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return any(hooks) or "forward" in vars(layer)
