"""What this package relies on in others that they promise to nobody: private names, and methods that it overrides.

A new release that renames one of them fails here, by name, rather than somewhere in a training. The scheduled job of
.github/workflows/upstream.yml runs this against the libraries' main.
"""

import argparse
import ast
import inspect
from pathlib import Path

import datasets
import evaluate.loading
import peft.tuners.lora
import pytest
import torch
import transformers
import trl
from datasets.load import DatasetModule

from idl_hf.contrast.trainer import ContrastTrainer
from idl_hf.dpoc.trainer import DPOCTrainer
from idl_hf.rows.builder import IDLBuilder

ROOT = Path(__file__).parents[1]
_OF_NAMED_TUPLES = {"_asdict", "_make", "_replace"}


def names_in_source(*kinds: type) -> str:
    return "".join(inspect.getsource(kind) for kind in kinds)


# Private names of others that our code reads, each with whether it is there
READ = {
    "_actions": lambda: hasattr(argparse.ArgumentParser(), "_actions"),
    "_attn_implementation": lambda: transformers.LlamaConfig()._attn_implementation is None,
    "_backward_hooks": lambda: torch.nn.Module()._backward_hooks == {},
    "_backward_pre_hooks": lambda: torch.nn.Module()._backward_pre_hooks == {},
    "_forward_hooks": lambda: torch.nn.Module()._forward_hooks == {},
    "_forward_pre_hooks": lambda: torch.nn.Module()._forward_pre_hooks == {},
    "_fingerprint": lambda: isinstance(datasets.Dataset.from_dict({"a": [1]})._fingerprint, str),
    "_is_amx_tile_supported": lambda: isinstance(torch.cpu._is_amx_tile_supported(), bool),
    "_is_avx512_bf16_supported": lambda: isinstance(torch.cpu._is_avx512_bf16_supported(), bool),
    "_is_stateful": lambda: transformers.LlamaForCausalLM._is_stateful is False,
    "_load_from_checkpoint": lambda: "model" in inspect.signature(trl.SFTTrainer._load_from_checkpoint).parameters,
    "_metrics": lambda: all("self._metrics" in names_in_source(kind) for kind in (trl.DPOTrainer, trl.SFTTrainer)),
    "_name_or_path": lambda: hasattr(transformers.LlamaConfig(), "_name_or_path"),
    "_precompute_model_hash": lambda: "self._precompute_model_hash" in names_in_source(trl.DPOTrainer),
    "_softmax_backward_data": lambda: callable(torch._softmax_backward_data),
    "_supports_attention_backend": lambda: transformers.LlamaForCausalLM._supports_attention_backend is True,
    "_total_train_tokens": lambda: "self._total_train_tokens" in names_in_source(trl.DPOTrainer),
}

# Methods of others that ours replace
OVERRIDDEN = {
    (DPOCTrainer, trl.DPOTrainer): [
        "_compute_loss",
        "_get_num_items_in_batch",
        "_precompute_ref_logps",
        "_prepare_dataset",
        "_prepare_inputs",
        "_set_signature_columns_if_needed",
        "compute_loss",
        "compute_ref_log_probs",
        "create_model_card",
        "evaluation_loop",
        "log",
        "training_step",
    ],
    (ContrastTrainer, trl.SFTTrainer): [
        "_get_num_items_in_batch",
        "_prepare_dataset",
        "_set_signature_columns_if_needed",
        "compute_loss",
        "create_model_card",
    ],
    (IDLBuilder, datasets.GeneratorBasedBuilder): [
        "_generate_examples",
        "_info",
        "_prepare_split",
        "_split_generators",
        "as_dataset",
    ],
}


def code() -> list[ast.AST]:
    files = [*ROOT.glob("idl_hf/**/*.py"), *ROOT.glob("dataset_scripts/*.py")]
    return [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]


def test_the_list_of_private_names_is_whole():
    nodes = code()
    ours = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    ours |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    ours |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    read = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
    }
    assert read - ours - _OF_NAMED_TUPLES == set(READ)


def test_no_private_name_is_imported():
    private = [
        f"{node.module}.{alias.name}"
        for node in code()
        if isinstance(node, ast.ImportFrom) and not node.level and not str(node.module).startswith("idl_hf")
        for alias in node.names
        if f".{node.module}.{alias.name}".count("._") and node.module != "__future__"
    ]
    assert not private


@pytest.mark.parametrize("name", READ)
def test_private_names_are_there(name):
    assert READ[name]()


@pytest.mark.parametrize(("ours", "theirs"), OVERRIDDEN)
def test_methods_that_are_replaced_are_there_and_take_what_they_are_given(ours, theirs):
    replaced = {
        name for name in vars(ours) if not name.startswith("__") and inspect.isfunction(getattr(theirs, name, None))
    }
    assert replaced == set(OVERRIDDEN[ours, theirs])
    for name in replaced:
        mine, given = (inspect.signature(getattr(kind, name)).parameters.values() for kind in (ours, theirs))
        if not any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in mine):
            assert len(mine) >= len([one for one in given if one.kind is not inspect.Parameter.VAR_KEYWORD]), name


def test_what_finds_datasets_and_metrics_can_be_wrapped():
    assert list(inspect.signature(datasets.load.dataset_module_factory).parameters)[:1] == ["path"]
    assert list(inspect.signature(evaluate.loading.evaluation_module_factory).parameters)[:1] == ["path"]
    assert list(inspect.signature(DatasetModule).parameters)[:3] == ["module_path", "hash", "builder_kwargs"]


def test_lora_layers_are_built_as_they_are_fused():
    layer = peft.tuners.lora.Linear(torch.nn.Linear(4, 4), "default", config=peft.LoraConfig(r=2, lora_alpha=4), r=2)
    assert {"lora_A", "lora_B", "scaling", "lora_dropout", "lora_variant", "base_layer"} <= set(dir(layer))
