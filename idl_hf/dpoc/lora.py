"""A linear layer with LoRA in fewer passes over memory than PEFT's forward, while a step is trained.

PEFT computes W x, B A x, its product with the scaling and the sum each into memory of its own, and autograd sums two
gradients of x. On a CPU, where a layer of a small model is bound by memory, that is a tenth of a step.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from accelerate.utils import is_peft_model
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


def trained_weights(model: Any) -> dict[str, Tensor]:
    """Return copies of the weights that an adapter on a quantized model trains, {} of any other model."""
    if not (is_peft_model(model) and _is_quantized(model)):
        return {}
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def restore_weights(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Put the adapter of a quantized model back into float32, with its `weights` where there are some.

    TRL rounds it to bfloat16, in which an update by a small learning rate is none: 1e-5 is below half a step of a
    weight of 0.005. Nor would DPOC begin with policy and reference alike, which is a copy of the adapter as it was.
    """
    for name, weight in model.named_parameters() if _is_quantized(model) else ():
        if weight.requires_grad:
            weight.data = weights.get(name, weight.data).to(torch.float32)


def keep_trainable(model: nn.Module) -> None:
    """Have layers in 4 bits compute in evaluations as in training.

    On a CPU with instructions for bfloat16 bitsandbytes packs their weights anew at the first forward in eval mode. It
    rounds to bfloat16 from then on, and what a later training step computes has no gradient, or a wrong one.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def _is_quantized(model: Any) -> bool:
    return bool(getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False))


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
