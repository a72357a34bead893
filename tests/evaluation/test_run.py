"""A table of the paper by one command: what is missing is trained and measured, once."""

import copy
import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForSequenceClassification

from idl_hf import registration
from idl_hf.cli import main
from idl_hf.evaluation.arguments import EvaluateArguments
from idl_hf.evaluation.conditions import CONDITIONS
from idl_hf.evaluation.experiment import load_experiment, load_scale
from idl_hf.evaluation.measuring import ExperimentRun
from idl_hf.evaluation.prompts import prompt_options
from idl_hf.evaluation.provenance import NO_RESULT
from idl_hf.evaluation.run import evaluate
from idl_hf.models.identity import save_recipe
from idl_hf.rows.options import PRESETS
from idl_hf.training.data import DataArguments


@pytest.fixture(scope="module")
def tiny(tiny_llama, tokenizer, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    tiny_llama(seed=1, tie_word_embeddings=False).save_pretrained(folder)  # tied, it only repeats what it reads last
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def table3(tiny, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("experiments")
    assert main(quick("table3", tiny, output)) == 0
    return output


def quick(experiment: str, model: str, output: Path, *more: str) -> list[str]:
    options = ["--quick", "--model_name_or_path", model, "--output_dir", str(output), "--runs_dir", str(output)]
    return ["evaluate", "--experiment", experiment, *options, *more]


def report(output: Path, name: str) -> dict:
    (file,) = output.glob(f"{name}-*/report.json")
    return json.loads(file.read_text(encoding="utf-8"))


def files(folder: Path) -> dict[str, float]:
    return {str(file): os.stat(file).st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_table_3_has_all_ablations_on_the_same_people(table3):
    (table,) = report(table3, "table3-quick-model")["tables"]
    lines = {line["name"]: line for line in table["lines"]}
    assert list(lines) == ["IDL", "w/o Criterion", "w/o DPA", "w/o SPI", "w/o DPI"]
    people = {tuple(sorted(line["values"][key])) for line in lines.values() for key in ("nll", "gain", "bleu_1")}
    assert len(people) == 1
    assert len(people.pop()) == 4
    assert {line["rows"]["nll"] for line in lines.values()} == {4}
    examples = report(table3, "table3-quick-model")["examples"]
    assert all(example[name] for example in examples for name in lines)  # replies, if senseless ones


def test_how_many_past_dialogues_prompts_show_is_noted_once_for_all_lines_that_show_as_many(table3):
    found = report(table3, "table3-quick-model")
    notes = [note.partition(": ") for note in found["notes"] if "past dialogues a prompt" in note]
    assert all(float(re.match(r"dialogues_idl, ([\d.]+) past", note[0])[1]) > 0 for note in notes)
    assert len({note[0] for note in notes}) == len(notes)
    names = [line["name"] for line in found["tables"][0]["lines"]]
    noted = [name for note in notes for name in note[2].rstrip(".").split("; ")]
    assert sorted(noted) == sorted([*names, *(f"{name}, among strangers" for name in names)])


def test_each_adapter_is_trained_once_and_shared(table3):
    names = sorted(folder.name.partition("-")[0] for folder in (table3 / "adapters").iterdir())
    assert names == ["dpoc", "dpoc", "msl", "msl", "msl"]  # with and without criterion; all, w/o SPI, w/o DPI


def kept(output: Path) -> int:
    """How many measurements are on disk."""
    with closing(sqlite3.connect(output / "measured.sqlite")) as connection:
        return connection.execute("SELECT COUNT(*) FROM entries").fetchone()[0]


def test_persona_gain_is_the_difference_of_two_likelihoods(table3):
    (table,) = report(table3, "table3-quick-model")["tables"]
    replies = sum(line["rows"]["bleu_1"] for line in table["lines"])
    # Five lines, four dialogues, own references and three strangers'; prompts without room for any are the same
    assert 5 * 4 * 2 + replies <= kept(table3) <= 5 * 4 * 4 + replies
    assert all(abs(value) < 20 for line in table["lines"] for value in line["values"]["gain"].values())


def test_a_second_run_trains_and_measures_nothing(table3, tiny, capsys):
    before, first = files(table3 / "adapters"), report(table3, "table3-quick-model")
    measured = kept(table3)
    assert main(quick("table3", tiny, table3)) == 0
    assert files(table3 / "adapters") == before
    assert kept(table3) == measured
    assert report(table3, "table3-quick-model")["tables"] == first["tables"]
    printed = capsys.readouterr()
    assert "Training" not in printed.out
    assert "Scoring" not in printed.err


def test_what_a_crash_left_out_is_made_up_for(table3, tiny):
    first, measured = report(table3, "table3-quick-model"), kept(table3)
    with closing(sqlite3.connect(table3 / "measured.sqlite")) as connection, connection:
        connection.execute("DELETE FROM entries WHERE hex(key) > '8'")
    assert 0 < kept(table3) < measured
    next(table3.glob("table3-quick-model-*/report.json")).unlink()
    assert main(quick("table3", tiny, table3)) == 0
    assert kept(table3) == measured
    assert report(table3, "table3-quick-model")["tables"] == first["tables"]


def test_models_are_compared_side_by_side(tiny, tiny_llama, tokenizer, sample_data, tmp_path):
    other = tmp_path / "other"
    tiny_llama(seed=2, tie_word_embeddings=False).save_pretrained(other)
    tokenizer.save_pretrained(other)
    where = ["--dataset_name", "idl_hf/dialogues_idl", "--data_dir", str(sample_data), "--encoder", "offline"]
    sizes = ["--dialogues_per_person", "1", "--generated_replies", "5", "--max_prompt_tokens", "256"]
    command = ["evaluate", "--models", tiny, str(other), *where, *sizes, "--output_dir", str(tmp_path / "report")]
    assert main(command) == 0
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    (table,) = found["tables"]
    assert [(line["name"], line["role"]) for line in table["lines"]] == [(tiny, "baseline"), (str(other), "ours")]
    assert {line["rows"]["bleu_1"] for line in table["lines"]} == {5}
    assert len(found["examples"]) == 5
    files = found["settings"]["tests"]["dialogues_idl"]["replies"]
    assert [len((tmp_path / "report" / files[model]).read_text().splitlines()) for model in (tiny, str(other))] == [
        5,
        5,
    ]
    for line in table["lines"]:
        gain, own, others = (line["values"][key] for key in ("gain", "nll", "nll_other"))
        assert gain == pytest.approx({person: others[person] - own[person] for person in own})
    assert not list((tmp_path / "report").glob("so_far*"))


def test_prompts_are_made_as_each_model_was_trained_unless_said_otherwise():
    listed = {"reference_turns": "self", "references": 12, "encoder": "offline"}
    recipes = {
        "base": {},
        "lists": {"options": {**listed, "targets": "one", "reply": "last", "seed": 3}},
        "none": {"options": {"conditioning": "none", "encoder": "offline"}},
    }
    made = {"base": listed, "lists": listed, "none": {"conditioning": "none", "encoder": "offline"}}
    assert prompt_options(recipes, {}) == made
    given = {name: {k: v for k, v in options.items() if k != "encoder"} for name, options in made.items()}
    assert prompt_options(recipes, {"encoder": "x", "targets": "all"}) == given
    for preset in PRESETS:  # what one does not set is as the paper has it
        assert prompt_options(recipes, {"preset": preset})["lists"] == {"encoder": "offline"}
        assert prompt_options(recipes, {"preset": preset})["none"] == made["none"]
    last = {"none": recipes["none"], "base": {}}
    assert prompt_options(last, {})["base"] == {"encoder": "offline"}  # which knows of the person what it can
    with pytest.raises(ValueError, match="'odd' has unknown options: goats"):
        prompt_options({"odd": {"options": {"goats": 2}}}, {})


def test_an_adapter_is_measured_with_the_prompts_that_it_learnt_from(tiny, sample_data, tmp_path):
    listed = shutil.copytree(tiny, tmp_path / "listed")
    save_recipe(listed, {"reference_turns": "self", "references": 2, "encoder": "offline"}, 300)

    def measured(*more: str) -> dict:
        where = ["--dataset_name", "idl_hf/dialogues_idl", "--data_dir", str(sample_data), *more]
        output = ["--dialogues_per_person", "1", "--output_dir", str(tmp_path / "report")]
        assert main(["evaluate", "--models", str(listed), *where, *output]) == 0
        return json.loads((tmp_path / "report" / "report.json").read_text())

    own, whole = measured(), measured("--dataset_options", '{"reference_turns": "all"}')
    assert own["settings"]["max_prompt_tokens"] == whole["settings"]["max_prompt_tokens"] == 300
    (made,), (given,) = own["settings"]["prompts"], whole["settings"]["prompts"]
    assert made == {"model": "listed", "reference_turns": "self", "references": 2, "encoder": "offline"}
    assert given == {"model": "listed", "references": 2, "encoder": "offline"}
    nll = [found["tables"][0]["lines"][0]["values"]["nll"] for found in (own, whole)]
    assert nll[0].keys() == nll[1].keys()
    assert nll[0] != nll[1]


def test_conditions_can_be_chosen_on_any_model(tiny, tmp_path):
    folder = evaluate(
        EvaluateArguments(
            experiment="table1",
            quick=True,
            conditions=["icl", "system"],
            model_name_or_path=tiny,
            output_dir=str(tmp_path),
            runs_dir=str(tmp_path),
        )
    )
    (table,) = json.loads((folder / "report.json").read_text())["tables"]
    assert [line["name"] for line in table["lines"]] == ["ICL", "System"]
    assert "gain" not in table["lines"][1]["values"]  # no past dialogues that could be another person's
    assert not (tmp_path / "adapters").exists()
    assert main(quick("table1", tiny, tmp_path, "--conditions", "system")) == 0
    assert len(list(tmp_path.glob("table1-quick-model-*/report.json"))) == 2  # none replaces the other


def test_an_nli_model_reads_each_pair_once_for_all_runs(tiny, tmp_path, tokenizer):
    nli = tmp_path / "nli"
    labels = dict(enumerate(["contradiction", "neutral", "entailment"]))
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        id2label=labels, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(nli)
    tokenizer.save_pretrained(nli)
    command = quick("table1", tiny, tmp_path, "--conditions", "icl", "--nli_model", str(nli))
    assert main(command) == 0
    (line,) = report(tmp_path, "table1-quick-model")["tables"][0]["lines"]
    assert line["values"]["coh"].keys() == line["values"]["nll"].keys()
    measured = kept(tmp_path)
    assert main(command) == 0
    assert kept(tmp_path) == measured
    assert report(tmp_path, "table1-quick-model")["tables"][0]["lines"] == [line]


def test_an_experiment_may_stand_in_a_file(tiny, tmp_path):
    settings = {"experiment": "table1", "quick": True, "conditions": ["icl"], "model_name_or_path": tiny}
    folders = {"output_dir": str(tmp_path), "runs_dir": str(tmp_path)}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**settings, **folders}))
    assert main(["evaluate", "--config", str(tmp_path / "own.yaml")]) == 0
    found = report(tmp_path, "table1-quick-model")
    assert found["intro"].startswith("A trial on the package's sample dialogues")
    assert not any(line["paper"] for line in found["tables"][0]["lines"])  # not of those dialogues


@pytest.fixture(scope="module")
def scale_of():
    """Writes a scale of this size with some seeds to a file."""
    quick = yaml.safe_load((registration.folder("experiments") / "scales" / "quick.yaml").read_text())

    def write(file: Path, seeds: list[int]) -> Path:
        small = {"msl_rows": 2, "generated": 2, "max_prompt_tokens": 256, "msl": {"learning_rate": 0.5}}
        file.write_text(yaml.safe_dump({**quick, **small, "seeds": seeds}))
        return file

    return write


def test_what_is_trained_is_trained_and_measured_with_every_seed(tiny, tmp_path, scale_of):
    scale = scale_of(tmp_path / "own.yaml", [0])
    about = {"title": "two lines", "about": "a", "trained_on": "convai2_idl", "tests": ["convai2_idl"]}
    lines = {"conditions": ["wo_dpa", "icl"], "columns": ["nll", "distinct_1", "corpus_distinct_1"]}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({**about, **lines}))
    command = ["evaluate", "--experiment", str(tmp_path / "two.yaml"), "--scale", str(scale)]
    command += ["--model_name_or_path", tiny]
    command += ["--output_dir", str(tmp_path), "--runs_dir", str(tmp_path)]
    assert main(command) == 0
    found = report(tmp_path, "two-own-model")
    one = found["tables"][0]["lines"]
    before = files(tmp_path / "adapters")
    scale_of(scale, [0, 3])
    assert main(command) == 0
    assert before.items() <= files(tmp_path / "adapters").items()  # the seed 0 is what there was
    assert len(list((tmp_path / "adapters").iterdir())) == 2
    (table,) = report(tmp_path, "two-own-model")["tables"]
    assert table["title"] == "dialogues_idl, 4 people, 2 seeds"
    several, plain = table["lines"]
    assert plain == one[1]
    assert plain["by_seed"] == {}
    assert list(several["by_seed"]) == ["0", "3"]
    first, other = several["by_seed"].values()
    assert first == {"values": one[0]["values"], "whole": one[0]["whole"]}
    assert first["values"]["nll"] != other["values"]["nll"]
    for key, values in several["values"].items():
        both = [of_seed["values"][key] for of_seed in (first, other)]
        assert values == pytest.approx({person: (both[0][person] + both[1][person]) / 2 for person in values})
    assert several["rows"] == one[0]["rows"]  # of the same replies
    assert report(tmp_path, "two-own-model")["examples"] == found["examples"]  # of the first seed


def test_all_is_measured_once_before_another_seed_trains(tiny, tmp_path):
    scale = replace(load_scale("quick"), model_name_or_path=tiny, seeds=[4, 0, 1])
    conditions = {name: CONDITIONS[name] for name in ("system", "idl", "ft")}
    experiment = replace(load_experiment("table1"), conditions=conditions)
    run = ExperimentRun(experiment, scale, tmp_path, {}, DataArguments("idl_hf/convai2_idl"))
    assert [(step.condition, step.seed) for step in run.steps] == [
        ("system", 4), ("idl", 4), ("ft", 4), ("idl", 0), ("ft", 0), ("idl", 1), ("ft", 1),
    ]  # fmt: skip


def test_conditions_may_be_points_of_a_curve(tiny, tmp_path):
    found = yaml.safe_load((registration.folder("experiments") / "learning_curve.yaml").read_text())
    found["columns"] = ["nll", "gain"]
    found["conditions"] = [one | {"prompt": {}} for one in found["conditions"] if one["x"] in (0, 25)]
    found["conditions"][1] |= {"dialogues": 2, "msl": {}}  # the rows of the other tests
    file = tmp_path / "curve.yaml"
    file.write_text(yaml.safe_dump(found))
    assert main(quick(str(file), tiny, tmp_path)) == 0
    (table,) = report(tmp_path, "curve-quick-model")["tables"]
    assert [(line["group"], line["x"]) for line in table["lines"]] == [("lists", 0), ("lists", 25)]
    assert len(list((tmp_path / "adapters").iterdir())) == 1  # the model as it is has none
    assert "| training dialogues | lists |" in next(tmp_path.glob("curve-*/report.md")).read_text()


def test_a_condition_that_is_not_there_is_answered_with_those_of_the_experiment(tiny, tmp_path, capsys):
    assert main(quick("references", tiny, tmp_path, "--conditions", "own turns of 13")) != 0
    assert "Those of the experiment itself: 'dialogues', 'own turns', 'own turns of 12', " in capsys.readouterr().err


@pytest.mark.slow
def test_figure_5_reads_attention_and_figure_4_counts_references(tiny, tmp_path):
    assert main(quick("figure5", tiny, tmp_path, "--conditions", "icl")) == 0
    found = report(tmp_path, "figure5-quick-model")
    assert len(found["highlighted"]) == 1
    assert 0 < max(found["tables"][0]["lines"][0]["values"]["mass"].values()) < 1
    assert main(quick("figure4", tiny, tmp_path, "--conditions", "icl")) == 0
    (table,) = report(tmp_path, "figure4-quick-model")["tables"]
    assert [line["x"] for line in table["lines"]] == [0, 1, 2, 3, 4, 5]


def test_a_model_that_cannot_be_had_is_noted_and_one_without_a_template_is_trained(
    tiny, tokenizer, tmp_path, monkeypatch
):
    assert main(quick("table1", tiny, tmp_path, "--conditions", "gpt2", "vicuna", "system")) == 0  # tests reach no Hub
    found = report(tmp_path, "table1-quick-model")
    assert [line["name"] for line in found["tables"][0]["lines"]] == ["System"]
    for name in ("GPT-2, profile", "Vicuna"):
        assert any(note.startswith(f"{name} was not run: ") for note in found["notes"])
    folder = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4)).save_pretrained(folder)
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    bare.add_tokens(["<a token of its own>"])
    bare.save_pretrained(folder)
    monkeypatch.setitem(CONDITIONS, "gpt2", replace(CONDITIONS["gpt2"], model=str(folder)))
    assert main(quick("table1", tiny, tmp_path, "--conditions", "gpt2", "vicuna", "system")) == 0
    lines = report(tmp_path, "table1-quick-model")["tables"][0]["lines"]
    assert [line["name"] for line in lines] == ["GPT-2, profile", "System"]
    assert ["nll" in line["values"] for line in lines] == [False, True]  # a token is another thing to GPT-2


def test_a_report_tells_what_it_is_of_and_lies_apart_from_what_is_kept(tiny, tmp_path, capsys):
    reports, runs = tmp_path / "results", tmp_path / "runs"
    command = ["evaluate", "--experiment", "table1", "--quick", "--conditions", "system", "--model_name_or_path", tiny]
    assert main([*command, "--output_dir", str(reports), "--runs_dir", str(runs)]) == 0
    names = {f"report.{ending}" for ending in ("json", "md", "html")} | {"dialogues_idl.jsonl"}  # where it replies
    assert {file.name for file in reports.rglob("*") if file.is_file()} == names | {"System.jsonl"}
    assert (runs / "measured.sqlite").is_file()
    found = report(reports, "table1-quick-model")
    made, scale = found["settings"]["made"], found["settings"]["scale"]
    assert made["data"]["dialogues_idl"].keys() == {"train.jsonl", "validation.jsonl"}
    assert not made["is_result"]
    assert found["intro"].endswith(NO_RESULT)
    assert found["settings"]["measured"] == {"dialogues_idl": {"people": 4, "dialogues": 4}}
    assert (scale["name"], scale["seeds"]) == ("quick", [0])
    assert str(tmp_path) not in json.dumps(found)
    assert found["examples"]
    assert main([*command, "--output_dir", str(reports), "--runs_dir", str(runs), "--texts", "false"]) == 0
    assert report(reports, "table1-quick-model")["examples"] == []  # the same folder: the figures are the same
    assert {file.name for file in reports.rglob("*") if file.is_file()} == names
    assert "Replies and dialogues are not shown" in report(reports, "table1-quick-model")["notes"][-1]
    assert main([*command, "--output_dir", str(runs)]) == 1
    assert f"'{runs}' holds measured.sqlite of earlier runs" in capsys.readouterr().err


def test_a_second_experiment_waits_for_the_first(tiny, tmp_path, capsys):
    with FileLock(tmp_path / ".lock"):
        assert main(quick("table3", tiny, tmp_path)) == 1
    assert "Another experiment runs in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experiment", "table9", "--quick"], "There is no experiment 'table9'"),
        (["--experiment", "table3", "--scale", "huge"], "There is no scale 'huge'"),
        (["--experiment", "table3", "--quick", "--conditions", "icc"], "The condition 'icc' is unknown"),
        (
            ["--experiment", "table5", "--quick", "--conditions", "gold"],
            "'gold' and the variation 'Out-of-Cluster' both set",
        ),
        (
            ["--experiment", "table3", "--data_dirs", '{"convai2": "x"}'],
            "--data_dirs names convai2. The datasets are:",
        ),
        (["--experiment", "table3", "--quick", "--scale", "smollm2_cpu"], "--quick is a scale of its own"),
        (["--experiment", "table3", "--data_dirs", "{bad"], "--data_dirs must be a JSON object, found '{bad'"),
        ([], "Pass either --models with the models to compare, or --experiment"),
        (["--models", "a", "--experiment", "table3"], "Pass either --models"),
        (["--models", "a", "--scale", "quick"], "--scale cannot be combined with --models, only with --experiment"),
        (
            ["--experiment", "table3", "--split", "test"],
            "--split cannot be combined with --experiment, only with --models",
        ),
        (
            ["--experiment", "table3", "--generated_replies", "5"],
            "--generated_replies cannot be combined with --experiment, only with --models",
        ),
        (["--models", "a", "--generated_replies", "-1"], "--generated_replies must be 0 or more, found -1"),
        (["--models", "a", "--dialogues_per_person", "0"], "--dialogues_per_person must be 1 or more, found 0"),
        (["--models", "a", "--max_prompt_tokens", "0"], "--max_prompt_tokens must be 1 or more, found 0"),
        (["--models", "a", "--dialogues_per_person", "-1"], "--dialogues_per_person must be 1 or more, found -1"),
    ],
)
def test_a_wrong_word_is_answered_in_a_sentence(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where runs are kept by default
    assert main(["evaluate", *arguments, "--output_dir", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
