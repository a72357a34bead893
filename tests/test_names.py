"""The names and calls that others rely on, imported from exactly where they are promised."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

NAMES = {
    "idl_hf": ["DPOCConfig", "DPOCTrainer", "PersonaChat", "PersonaExtractor", "__version__"],
    "idl_hf.conved": ["conved", "pairwise_conved"],
    "idl_hf.dpi": ["order_references"],
    "idl_hf.spi": ["cluster_dialogues"],
    "idl_hf.dpoc": ["dpoc_penalty", "DPOCConfig", "DPOCTrainer"],
    "idl_hf.contrast": ["contrast_loss", "ContrastConfig", "ContrastTrainer"],
    "idl_hf.persona.triples": ["parse_triples"],
    "idl_hf.prompting": ["prompt_ids", "encode"],
    "idl_hf.encoding": ["SentenceEncoder"],
    "idl_hf.models.loading": ["load_model", "load_tokenizer", "PLAIN_TEMPLATE"],
    "idl_hf.models.responder": ["Responder"],
    "idl_hf.rows.options": ["RowOptions"],
    "idl_hf.training.data": ["DataArguments"],
    "idl_hf.training.stages": [
        "train_msl",
        "train_contrast",
        "train_dpoc",
        "MSLConfig",
        "ContrastConfig",
        "DPOCConfig",
    ],
    "idl_hf.evaluation.run": ["evaluate"],
    "idl_hf.evaluation.arguments": ["EvaluateArguments"],
    "idl_hf.hub.push": ["push_adapter", "PushAdapterArguments", "push_dataset", "PushDatasetArguments"],
    "idl_hf.cache": ["code_identity"],
    "idl_hf.evaluation.conditions": ["CONDITIONS"],
}
PARAMETERS = {
    "idl_hf.conved.conved": ["roles_a", "vectors_a", "roles_b", "vectors_b", "scale"],
    "idl_hf.conved.pairwise_conved": ["dialogues", "scale"],
    "idl_hf.dpi.order_references": ["distances", "to_target", "mode"],
    "idl_hf.spi.cluster_dialogues": ["embeddings", "max_clusters", "seed"],
    "idl_hf.dpoc.dpoc_penalty": ["chosen", "criterion", "rejected", "penalty"],
    "idl_hf.prompting.prompt_ids": ["tokenizer", "messages", "options"],
    "idl_hf.prompting.encode": ["tokenizer", "prompt", "completion"],
    "idl_hf.training.stages.train_msl": ["data", "args", "model_args"],
    "idl_hf.training.stages.train_contrast": ["data", "args", "model_args"],
    "idl_hf.training.stages.train_dpoc": ["data", "args", "model_args"],
    "idl_hf.cache.code_identity": ["module", "libraries"],
}
METHODS = {
    "idl_hf.PersonaChat": [
        "from_pretrained",
        "add_dialogue",
        "forget",
        "reply",
        "stream",
        "why",
        "reset",
        "save",
        "load",
    ],
    "idl_hf.PersonaExtractor": ["from_pretrained", "extract"],
    "idl_hf.models.responder.Responder": ["replies", "logprobs"],
}
VERBS = [
    "import", "fit", "build", "show", "stats", "extract", "msl", "contrast", "dpoc", "evaluate", "score", "chat",
    "app", "serve", "demo", "export", "push-dataset", "push-metric", "push-adapter", "accelerate-config", "env",
]  # fmt: skip
DATASETS = ["convai2_idl", "dialogues_idl", "light_idl", "movie_idl", "msc_idl"]
METRICS = [
    "coh_con", "distinct", "hits_at_k", "identification", "idl_bleu", "idl_rouge_l", "p_co", "p_f1", "parlai_f1",
    "persona_gain", "persona_triples",
]  # fmt: skip


def named(path: str):
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NAMES.items() for name in names])
def test_a_promised_name_is_where_it_was_promised(module, name):
    code = f"from {module} import {name}"
    subprocess.run([sys.executable, "-c", code], check=True) if module == "idl_hf.dpoc" else exec(code, {})


@pytest.mark.parametrize("path", PARAMETERS)
def test_a_promised_function_takes_what_was_promised(path):
    assert list(inspect.signature(named(path)).parameters) == PARAMETERS[path]


@pytest.mark.parametrize("path", METHODS)
def test_a_promised_class_has_its_methods(path):
    assert all(callable(getattr(named(path), method)) for method in METHODS[path])


def test_the_penalty_is_the_papers():
    import torch

    from idl_hf.dpoc import dpoc_penalty

    ratios = (torch.tensor([-1.0]), torch.tensor([0.0]), torch.tensor([1.0]))
    assert dpoc_penalty(*ratios).tolist() == [4.0]


def test_the_built_in_datasets_and_metrics_are_all_there():
    from idl_hf.registration import dataset_names, metric_names

    assert dataset_names() == DATASETS
    assert metric_names() == METRICS


def test_help_lists_one_verb_a_line(capsys):
    from idl_hf.cli import main

    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ") and not line.startswith("   ")]
    assert set(VERBS) <= set(listed)
    assert len(listed) == len(set(listed))


def test_the_version_is_that_of_the_changelog_and_of_the_citation():
    import yaml

    from idl_hf import __version__

    root = Path(__file__).parents[1]
    newest = re.search(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == __version__ == yaml.safe_load((root / "CITATION.cff").read_text())["version"]
