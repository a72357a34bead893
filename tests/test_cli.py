"""The commands, as a user types them."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import datasets
import pytest

from idl_hf.cli import VERBS, _named, main

ROOT = Path(__file__).parents[1]


def test_help_names_each_verb_in_a_line_of_its_own(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    verbs = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.startswith("  ")}
    assert verbs == {name: verb.line for name, verb in VERBS.items()}


def test_help_of_a_verb_tells_its_options_with_types_defaults_and_headings(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["build", "--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[lines.index("Which rows to make:") + 1].startswith("--output_dir TEXT")
    assert any(line.startswith("--configs TEXT ...") and line.endswith("(default: msl)") for line in lines)
    assert any(line.startswith("--num_proc INT") and "default" not in line for line in lines)
    assert any(line.startswith("--dataset_options JSON") for line in lines)
    assert main(["push-metric", "-h"]) == 0
    assert "--private [true|false]" in capsys.readouterr().out
    assert main(["dpoc", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--penalty_form {paper,released}" in text
    assert "Every field of TRL's DPOConfig and ModelConfig can be given too: `idl-hf dpoc --help all` lists" in text


@pytest.mark.parametrize(("verb", "config"), [("msl", "SFTConfig"), ("dpoc", "DPOCConfig")])
def test_all_that_a_training_takes_is_told_by_help_all(verb, config, capsys):
    import trl

    import idl_hf

    assert main([verb, "--help", "all"]) == 0
    text = capsys.readouterr().out
    for kind in (getattr(idl_hf, config, None) or getattr(trl, config), trl.ModelConfig):
        assert all(f"--{option.name}" in text for option in fields(kind))


def test_the_fields_that_help_tells_are_those_that_are_parsed():
    for verb in VERBS.values():
        told = {option.name for name in verb.arguments for option in fields(_named(name))}
        parsed = {option.name for name in verb.parsed or verb.arguments for option in fields(_named(name))}
        assert told <= parsed
        assert verb.word in {"", *told}


def test_an_unknown_verb_lists_the_known(capsys):
    assert main(["fly"]) == 2
    assert "build, extract, msl, dpoc, evaluate, chat, demo" in capsys.readouterr().err


def test_build_writes_parquet_that_datasets_reads(sample_data, tmp_path):
    options = ["--data_dir", str(sample_data), "--dataset_options", '{"encoder": "offline"}']
    target = ["--output_dir", str(tmp_path), "--dataset_name", "idl_hf/dialogues_idl", "--configs", "msl", "sessions"]
    assert main(["build", *target, *options]) == 0
    rows = datasets.load_dataset("parquet", data_files=str(tmp_path / "msl" / "train.parquet"), split="train")
    assert {"prompt", "completion", "reference_ids"} <= set(rows.column_names)
    assert (tmp_path / "sessions" / "validation.parquet").is_file()
    assert not list(tmp_path.rglob("*.partial"))


def test_a_wrong_folder_is_one_clear_line(capsys, tmp_path):
    arguments = ["--output_dir", str(tmp_path), "--data_dir", str(tmp_path / "nowhere")]
    assert main(["build", *arguments]) == 1
    error = capsys.readouterr().err
    assert "does not exist" in error
    assert "Traceback" not in error


def test_chat_in_the_terminal(tiny_llama, tokenizer, sample_data, tmp_path, monkeypatch, capsys):
    tiny_llama().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    lines = iter(["hello", "", "/reset", "do you have pets ?", "/quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    where = ["--model", str(tmp_path), "--dialogues", str(sample_data / "validation.jsonl"), "--encoder", "offline"]
    assert main(["chat", *where, "--person", "leroy", "--max_new_tokens", "4"]) == 0
    assert capsys.readouterr().out.count("leroy: ") == 2
    assert main(["chat", *where, "--person", "nobody"]) == 1
    assert "kit, leroy, meghna, tomasz" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["train_msl", "train_dpoc", "train_extractor", "evaluate_idl", "chat"])
def test_every_example_answers_help(script):
    command = [sys.executable, str(ROOT / "examples" / f"{script}.py"), "--help"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--encoder" in output or "--data_dir" in output


@pytest.mark.parametrize(
    "recipe", sorted((ROOT / "examples" / "recipes").glob("[md]*.yaml")), ids=lambda path: path.stem
)
def test_every_recipe_has_only_known_fields(recipe, tmp_path, monkeypatch):
    from trl import ModelConfig, SFTConfig, TrlParser

    from idl_hf import DPOCConfig
    from idl_hf.training.data import DataArguments

    config = DPOCConfig if recipe.stem.startswith("dpoc") else SFTConfig
    arguments = ["--config", str(recipe), "--use_cpu", "true", "--output_dir", str(tmp_path)]
    data, args, model = TrlParser((DataArguments, config, ModelConfig)).parse_args_and_config(arguments)
    assert model.model_name_or_path
    assert data.dataset_name == "idl_hf/convai2_idl"
    assert args.lr_scheduler_type == "cosine"
