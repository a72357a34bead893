"""The commands, as a user types them."""

import errno
import json
import os
import sqlite3
import subprocess
import sys
import uuid
from dataclasses import fields
from pathlib import Path

import datasets
import pytest

import idl_hf
from idl_hf import cli
from idl_hf.cli import VERBS, _what_can_be_mended, main
from idl_hf.command_line import parse

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


@pytest.mark.parametrize(("verb", "config"), [("msl", "SFTConfig"), ("contrast", "SFTConfig"), ("dpoc", "DPOCConfig")])
def test_all_that_a_training_takes_is_told_by_help_all(verb, config, capsys):
    import trl

    assert main([verb, "--help", "all"]) == 0
    text = capsys.readouterr().out
    for kind in (getattr(idl_hf, config, None) or getattr(trl, config), trl.ModelConfig):
        assert all(f"--{option.name}" in text for option in fields(kind))


def test_the_fields_that_help_tells_are_those_that_are_parsed():
    for verb in VERBS.values():
        told = {option.name for kind in verb.kinds(whole=False) for option in fields(kind)}
        parsed = {option.name for kind in verb.kinds(whole=True) for option in fields(kind)}
        assert told <= parsed
        assert set(verb.word.split()) <= told


def test_an_unknown_verb_lists_the_known(capsys):
    assert main(["fly"]) == 2
    assert "build, extract, msl, contrast, dpoc, evaluate, score, chat, app, serve, demo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"), [("bild", "build"), ("evalute", "evaluate"), ("push_dataset", "push-dataset")]
)
def test_a_mistyped_verb_is_asked_after(typed, meant, capsys):
    assert main([typed]) == 2
    assert f"unknown verb '{typed}'. Did you mean {meant}?" in capsys.readouterr().err


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"idl-hf {idl_hf.__version__}\n"


def said(capsys, *words):
    """What a verb that fails says, which is a line or two."""
    assert main(list(words)) == 1
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1, error
    assert len(error[0]) < 500
    assert error[0].startswith(f"idl-hf {words[0]}: ")
    return error[0]


def test_a_verb_without_options_takes_none(capsys):
    assert "The option --nonsense is unknown." in said(capsys, "env", "--nonsense", "3")
    assert "'stray'" in said(capsys, "env", "stray")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "env"])
def test_each_verb_says_in_a_line_what_is_wrong_with_its_options(verb, capsys, tmp_path):
    kinds = VERBS[verb].kinds(whole=True)
    option = next(
        option
        for kind in kinds
        for option in fields(kind)
        if option.name in {"dataset_name", "name", "data_dir", "file", "repo_id", "model"}
    )
    mistyped = option.name[:-1] + "x"
    assert f"The option --{mistyped} is unknown. Did you mean --{option.name}?" in said(
        capsys, verb, f"--{mistyped}", "1"
    )
    assert f"argument --{option.name}" in said(capsys, verb, f"--{option.name}")
    assert "'stray'" in said(capsys, verb, f"--{option.name}", "1", "stray")
    file = tmp_path / "options.yaml"
    for text, told in {
        f"{option.name}: 1\n{mistyped}: 1\n": f"line 2: The option --{mistyped} is unknown. Did you mean",
        f"# a comment\n{option.name}: [1, 2]\n": f"line 2: '{option.name}' must be text, found [1, 2].",
        f"{option.name}: {{a\n": "line 2, is no valid YAML",
        f"{option.name}: {{b: 1}}\n": f"line 1: '{option.name}' must be text",
        f"{option.name}\n": f"must hold names, each with a value, found '{option.name}'",
        "": "found None",
        "env: 3\n": "line 1: 'env' must be a map of variables, found 3.",
    }.items():
        file.write_text(text)
        assert told in said(capsys, verb, "--config", str(file))
        assert str(file) in said(capsys, verb, f"--config={file}")
    assert "No such file" in said(capsys, verb, "--config", str(tmp_path / "nope.yaml"))
    assert "Is a directory" in said(capsys, verb, "--config", str(tmp_path))
    assert "expected one argument" in said(capsys, verb, "--config")
    assert "takes one file" in said(capsys, verb, "--config", "a", "--config", "b")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("max_rows: many", "must be a whole number, found 'many'"),
        ("max_rows: 2.5", "must be a whole number, found 2.5"),
        ("max_rows: [3]", "must be a whole number, found [3]"),
        ("learning_rate: fast", "must be a number, found 'fast'"),
        ("learning_rate:", "must be a number, found None"),
        ("push_to_hub: perhaps", "must be true or false, found 'perhaps'"),
        ("push_to_hub: 3", "must be true or false, found 3"),
        ("output_dir: {a: b}", "must be text, found {'a': 'b'}"),
        ("eval_strategy: sometimes", "must be one of no, steps, epoch, found 'sometimes'"),
        ("lora_target_modules: {a: b}", "must be a list, found {'a': 'b'}"),
    ],
)
def test_a_value_of_a_wrong_type_in_a_file_is_told_with_its_place(line, told, capsys, tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text(f"seed: 1\n{line}\n")
    assert f"'{file}', line 2: '{line.partition(':')[0]}' {told}" in said(capsys, "msl", "--config", str(file))
    launched = ["msl", "--accelerate_config", "cpu_ddp", "--config", str(file)]
    assert told in said(capsys, *launched), "before any process is launched"


def test_values_of_a_file_are_those_of_the_command_line(tmp_path, monkeypatch):
    from trl import TrlParser

    from idl_hf.rows.parquet import BuildArguments

    file = tmp_path / "options.yaml"
    file.write_text(
        "env: {IDL_HF_TRIAL: 1}\nconfigs: sessions\ndata_dir: 7\nnum_proc: '2'\ndataset_options: {targets: all}\n"
    )
    monkeypatch.setenv("IDL_HF_TRIAL", "0")
    (given,) = parse(TrlParser([BuildArguments]), ["--config", str(file), "--output_dir", "out"])
    assert given == BuildArguments(
        configs=["sessions"], data_dir="7", num_proc=2, dataset_options={"targets": "all"}, output_dir="out"
    )
    assert os.environ["IDL_HF_TRIAL"] == "1"


@pytest.mark.parametrize("words", [["show"], ["evaluate", "--models", "{model}"]], ids=["show", "evaluate"])
def test_a_split_that_is_not_there_is_answered_with_those_that_are(
    words, tiny_llama, tokenizer, sample_data, tmp_path, capsys
):
    tiny_llama().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "train.jsonl").write_text((sample_data / "train.jsonl").read_text())
    words = [word.format(model=tmp_path / "model") for word in words]
    where = ["--dataset_name", "idl_hf/dialogues_idl", "--data_dir", str(tmp_path), "--encoder", "offline"]
    main([*words, *where])
    error = capsys.readouterr().err.splitlines()[-1]
    assert "'idl_hf/dialogues_idl' has no split 'validation', only: train. Pass --split with one of these" in error


@pytest.mark.parametrize(("verb", "how"), [("msl", " with --resume_from_checkpoint last"), ("fit", "")])
def test_after_ctrl_c_it_is_said_what_goes_on(verb, how, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    assert main([verb]) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"idl-hf {verb}: interrupted. Run the same command again{how} to continue."


@pytest.mark.parametrize("stage", ["msl", "dpoc"])
def test_an_adapter_of_rows_of_a_folder_is_asked_as_they_were_made(
    stage, sample_data, tiny_llama, tokenizer, tmp_path
):
    rows, model, adapter = (str(tmp_path / name) for name in ("rows", "model", "adapter"))
    tiny_llama().save_pretrained(model)
    tokenizer.save_pretrained(model)
    made = {"encoder": "offline", "reference_turns": "self"}
    where = ["--data_dir", str(sample_data), "--dataset_options", json.dumps(made)]
    assert (
        main(["build", "--dataset_name", "idl_hf/dialogues_idl", *where, "--configs", stage, "--output_dir", rows])
        == 0
    )
    how = ["--use_peft", "--lora_target_modules", "all-linear", "--max_steps", "1", "--use_cpu", "true"]
    assert main([stage, "--dataset_name", rows, "--model_name_or_path", model, *how, "--output_dir", adapter]) == 0
    assert json.loads(Path(adapter, "idl_config.json").read_text())["options"] == made


@pytest.mark.parametrize("name", ["runs/nope", "./runs/nope", "/nowhere/at/all", "~/nope"])
def test_a_model_that_is_nowhere_is_told_in_a_line(name, sample_data, capsys):
    talk = ["--dialogues", str(sample_data / "validation.jsonl"), "--person", "leroy", "--encoder", "offline"]
    assert f"'{name}'" in said(capsys, "chat", "--model", name, *talk)


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


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The rows could not be made: [Errno 28] No space left"),
        (sqlite3.DatabaseError("database disk image is malformed"), "could not be made: A cache in "),
        (KeyError("turns"), None),
    ],
    ids=["full", "broken", "bug"],
)
def test_only_what_the_user_can_mend_loses_its_traceback(cause, told, monkeypatch, tmp_path, capsys):
    def generate(*_, **__):
        raise cause
        yield

    monkeypatch.setattr("idl_hf.rows.builder.IDLBuilder._generate_examples", generate)
    turns = [{"role": role, "text": "hi"} for role in ("partner", "self")]
    dialogue = {"person_id": uuid.uuid4().hex, "dialogue_id": "1", "turns": turns}  # which no cache holds rows of
    (tmp_path / "train.jsonl").write_text(json.dumps(dialogue))
    words = ["build", "--dataset_name", "idl_hf/dialogues_idl", "--data_dir", str(tmp_path)]
    words += ["--output_dir", str(tmp_path / "rows"), "--configs", "sessions"]
    if told is None:
        with pytest.raises(datasets.exceptions.DatasetGenerationError):
            main(words)
    else:
        assert main(words) == 1
        assert told in capsys.readouterr().err.splitlines()[-1]


def test_the_cause_is_told_of_what_another_process_raised():
    from multiprocess.pool import ExceptionWithTraceback

    def raised(cause):
        try:
            raise datasets.exceptions.DatasetGenerationError("An error occurred") from cause
        except datasets.exceptions.DatasetGenerationError as error:
            rebuild, parts = ExceptionWithTraceback(error, error.__traceback__).__reduce__()
            return rebuild(*parts)

    full = raised(OSError(errno.ENOSPC, "No space left on device"))
    assert _what_can_be_mended(full) == "The rows could not be made: [Errno 28] No space left on device"
    assert _what_can_be_mended(raised(KeyError("turns"))) is None


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


@pytest.mark.parametrize(
    "script", ["train_msl", "train_contrast", "train_dpoc", "train_extractor", "evaluate_idl", "chat"]
)
def test_every_example_answers_help(script):
    command = [sys.executable, str(ROOT / "examples" / f"{script}.py"), "--help"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--encoder" in output or "--data_dir" in output


@pytest.mark.parametrize(
    "recipe", sorted((ROOT / "examples" / "recipes").glob("[cmd]*.yaml")), ids=lambda path: path.stem
)
def test_every_recipe_has_only_known_fields(recipe, tmp_path, monkeypatch):
    from trl import ModelConfig, SFTConfig, TrlParser

    from idl_hf import DPOCConfig
    from idl_hf.contrast import ContrastConfig
    from idl_hf.training.data import DataArguments

    kinds = {"dpoc": DPOCConfig, "contrast": ContrastConfig, "msl": SFTConfig}
    config = kinds[recipe.stem.partition("_")[0]]
    arguments = ["--config", str(recipe), "--use_cpu", "true", "--output_dir", str(tmp_path)]
    data, args, model = parse(TrlParser((DataArguments, config, ModelConfig)), arguments)
    assert model.model_name_or_path
    assert data.dataset_name == "idl_hf/convai2_idl"
    assert args.lr_scheduler_type == "cosine"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["env"], ["stats", "--help"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_error(words):
    code = f"import sys; from idl_hf.cli import main; sys.exit(main({words}))"
    for unbuffered in ([], ["-u"]):  # found at a print, or at the end alone
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, *unbuffered, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True
        )
        os.close(writer)
        assert done.returncode == 141
        assert "pipe" not in done.stderr.lower()


def test_a_verb_of_two_words_says_which_is_missing(capsys):
    assert main(["import", "chat.zip", "--person", "mia", "--output_dir", "logs"]) == 1
    assert "Expected FORMAT FILE, found no FILE after 'chat.zip'." in capsys.readouterr().err
