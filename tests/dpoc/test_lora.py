"""LoRA layers as one operation: the numbers of PEFT's own forward, and its own forward wherever more is going on."""

from contextlib import nullcontext

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from idl_hf.dpoc.lora import fused_lora

IDS = torch.randint(0, 64, (2, 20), generator=torch.Generator().manual_seed(0))


def adapted(dtype=torch.float64, model=None, **options):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_bias=True,
    )
    settings = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False} | options
    base = model or LlamaForCausalLM(config).to(dtype)
    return get_peft_model(base, LoraConfig(**settings), autocast_adapter_dtype=False)


def learnt(model, context):
    """Return the loss, and the gradients by name."""
    model.zero_grad()
    with context:
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
    return loss.item(), {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


def fused_layers(model):
    with fused_lora(model):
        return [name for name, layer in model.named_modules() if "forward" in vars(layer)]


@pytest.mark.parametrize("checkpointing", [None, {"use_reentrant": False}, {"use_reentrant": True}])
@pytest.mark.parametrize("options", [{}, {"use_rslora": True, "lora_alpha": 3}], ids=["LoRA", "rsLoRA"])
def test_loss_and_gradients_are_those_of_peft(options, checkpointing):
    model = adapted(**options).train()
    expected_loss, expected = learnt(model, nullcontext())
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(checkpointing)
    assert len(fused_layers(model)) == 14
    loss, gradients = learnt(model, fused_lora(model))
    assert loss == pytest.approx(expected_loss, abs=1e-12)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-12)


def test_in_half_precision_it_is_no_further_from_the_exact_numbers_than_peft():
    model = adapted()
    _, exact = learnt(model, nullcontext())
    model.float()

    def distance(context):
        with torch.autocast("cpu", torch.bfloat16):
            _, gradients = learnt(model, context)
        return sum((gradients[name].double() - exact[name]).norm() / exact[name].norm() for name in exact)

    assert distance(fused_lora(model)) < 1.1 * distance(nullcontext())


def test_a_frozen_reference_is_computed_by_its_own_adapter():
    model = adapted()
    model.add_adapter("ref", model.peft_config["default"])
    torch.manual_seed(1)
    for name, part in model.named_parameters():
        if ".ref." in name:
            part.data.normal_(std=0.1)
    results = []
    for context in (nullcontext(), fused_lora(model)):
        with context, torch.no_grad():
            model.set_adapter("ref")
            reference = model(input_ids=IDS).logits
            model.set_adapter("default")
            with model.disable_adapter():
                results.append((reference, model(input_ids=IDS).logits))
    assert not torch.allclose(*results[0])
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-12)


def hooked(model):
    layer = next(layer for layer in model.modules() if isinstance(layer, nn.Linear))
    layer.register_forward_pre_hook(lambda *_: None)
    return model


def trained_base(model):
    next(layer for layer in model.modules() if isinstance(layer, nn.Linear)).weight.requires_grad_()
    return model


@pytest.mark.parametrize(
    ("options", "change", "fused"),
    [
        ({"lora_dropout": 0.1}, None, 0),
        ({"use_dora": True}, None, 0),
        ({"lora_bias": True}, None, 0),
        ({}, hooked, 13),
        ({}, trained_base, 13),
    ],
    ids=["dropout", "DoRA", "bias", "hook", "base weights"],
)
def test_layers_on_which_more_acts_compute_as_before(options, change, fused):
    model = adapted(**options)
    model = change(model) if change else model
    assert len(fused_layers(model)) == fused
    assert fused_layers(model) == fused_layers(model)
    assert not [name for name, layer in model.named_modules() if "forward" in vars(layer)]
    torch.manual_seed(2)
    expected = learnt(model, nullcontext())
    torch.manual_seed(2)
    found = learnt(model, fused_lora(model))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_weights_of_another_precision_than_the_input_compute_as_before():
    model = adapted(torch.bfloat16)
    for name, part in model.named_parameters():
        if "lora_" in name:
            part.data = part.data.float()
    torch.testing.assert_close(learnt(model, fused_lora(model)), learnt(model, nullcontext()), rtol=0, atol=0)
