"""An experiment of hours goes on from the lines that were kept of it, also where nothing else of it is left."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from idl_hf.cache import code_identity, digest
from idl_hf.cli import main
from idl_hf.evaluation import measuring
from idl_hf.evaluation.conditions import CONDITIONS, Condition
from idl_hf.evaluation.data import EvaluationData
from idl_hf.evaluation.experiment import Scale, Variation, load_experiment
from idl_hf.evaluation.kept_lines import KeptLine, KeptLines
from idl_hf.evaluation.measuring import ExperimentRun, Step
from idl_hf.training.data import DataArguments

LISTED = {"reference_turns": "self"}


@pytest.fixture(scope="module")
def tiny(tiny_llama, tokenizer, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    tiny_llama(seed=1, tie_word_embeddings=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def experiment(file: Path, *conditions: dict, columns: tuple[str, ...] = ("nll", "gain")) -> str:
    content = {
        "title": "A trial",
        "about": "Of lines.",
        "trained_on": "convai2_idl",
        "tests": ["convai2_idl"],
        "columns": list(columns),
        "conditions": list(conditions),
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(file)


def ask(name: str, model: str, runs: Path, output: Path, *more: str) -> dict:
    where = ["--output_dir", str(output), "--runs_dir", str(runs)]
    assert main(["evaluate", "--experiment", name, "--quick", "--model_name_or_path", model, *where, *more]) == 0
    newest = max(output.glob("*/report.json"), key=lambda file: file.stat().st_mtime_ns)
    return json.loads(newest.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def first(tiny, tmp_path_factory) -> tuple[Path, Path, dict]:
    """The experiment, its folder of reports, of which the runs are gone, and the report."""
    folder = tmp_path_factory.mktemp("first")
    name = experiment(
        folder / "trial.yaml",
        {"condition": "icl", "role": "baseline"},
        {"condition": "wo_dpa", "name": "lists", "role": "ours", "msl": LISTED, "prompt": LISTED},
    )
    found = ask(name, tiny, folder / "runs", folder / "out")
    shutil.rmtree(folder / "runs")
    return Path(name), folder / "out", found


def test_lines_that_were_kept_are_not_trained_nor_measured_again(first, tiny, tmp_path, capsys):
    name, output, found = first
    again = ask(str(name), tiny, tmp_path, output, "--conditions", "icl", "lists")  # as it is named there
    printed = capsys.readouterr()
    assert again["tables"] == found["tables"]
    assert "Training" not in printed.out
    assert "Scoring" not in printed.err
    assert not (tmp_path / "adapters").exists()
    (note,) = [note for note in again["notes"] if note.startswith("Figures of earlier runs")]
    assert "ICL, seed 0 (" in note
    assert "lists, seed 0 (" in note
    assert set(found["notes"]) == set(again["notes"]) - {note}  # how many dialogues prompts show among them


def test_a_line_is_known_by_what_it_is_made_of_and_not_by_its_name(first, tiny, tmp_path, capsys):
    _, output, found = first
    name = experiment(
        tmp_path / "other.yaml",
        {"condition": "wo_dpa", "name": "one by one", "role": "ours", "msl": LISTED, "prompt": LISTED},
        {"condition": "wo_dpa", "name": "whole", "role": "ablation"},
    )
    other = ask(name, tiny, tmp_path, output)
    printed = capsys.readouterr()
    assert printed.out.count("Training msl-") == 1
    assert printed.out.count("Measured before: one by one") == 1
    values = {line["name"]: line["values"] for line in found["tables"][0]["lines"] + other["tables"][0]["lines"]}
    assert values["one by one"] == values["lists"] != values["whole"]
    shown = [note.split(": ")[1] for note in other["notes"] if "past dialogues a prompt" in note]
    labels = {label for of_note in shown for label in of_note.rstrip(".").split("; ")}
    assert {"one by one", "one by one, among strangers", "whole"} <= labels


@pytest.mark.parametrize(
    "changed",
    [{"dataset_options": {"seed": 5}}, {"dataset_options": {"references": 2}}, {"columns": ("nll",)}],
    ids=["seed", "rows", "columns"],
)
def test_what_is_asked_for_otherwise_is_measured_anew(first, tiny, tmp_path, capsys, changed):
    _, output, _ = first
    options = ["--dataset_options", json.dumps(changed.pop("dataset_options", {}))]
    name = experiment(tmp_path / "trial.yaml", {"condition": "icl", "role": "baseline"}, **changed)
    shutil.copytree(output, tmp_path / "out")
    ask(name, tiny, tmp_path / "runs", tmp_path / "out", *options)
    assert "Measured before" not in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "lines").iterdir())) > len(list((output / "lines").iterdir()))


def test_a_line_whose_replies_a_report_shows_is_not_kept(tiny, tmp_path):
    name = experiment(tmp_path / "words.yaml", {"condition": "icl", "role": "baseline"}, columns=("nll", "bleu_1"))
    ask(name, tiny, tmp_path / "runs", tmp_path / "out")
    assert not (tmp_path / "out" / "lines").exists()


@pytest.mark.parametrize(
    ("corpus", "experiment_has", "scale_has"),
    [
        ({"dataset_name": "idl_hf/movie_idl"}, {}, {}),
        ({"train_split": "train[:5]"}, {}, {}),
        ({"budget_per": "dialogue"}, {}, {}),
        ({}, {"attention_rows": 5}, {}),
        ({}, {}, {"nli_model": "{tiny}"}),
    ],
)
def test_a_line_is_known_by_all_that_makes_its_figures(tiny, tmp_path, corpus, experiment_has, scale_has):
    trial, scale = load_experiment("references"), Scale(tiny, "offline", 64, 8)
    changed = replace(scale, **{name: value.format(tiny=tiny) for name, value in scale_has.items()})
    keys = []
    for of_it, sized, trained_on in ((trial, scale, {}), (replace(trial, **experiment_has), changed, corpus)):
        data = DataArguments(**{"dataset_name": "idl_hf/convai2_idl", **trained_on})
        run = ExperimentRun(of_it, sized, tmp_path, {"a": EvaluationData()}, data)
        run.data = {"convai2_idl": {"a.txt": "1"}, "movie_idl": {"b.txt": "2"}}  # both are tested on
        keys.append(digest(*run._made_of(Step("own turns", 0), "a", Variation())))
    assert keys[0] != keys[1]


@pytest.mark.parametrize("condition", ["frequency", "wo_dpa"])
def test_a_line_of_another_system_is_known_by_its_code_too(tiny, tmp_path, monkeypatch, condition):
    trial = replace(load_experiment("references"), conditions={condition: CONDITIONS[condition]})
    data = DataArguments(dataset_name="idl_hf/convai2_idl")
    run = ExperimentRun(trial, Scale(tiny, "offline", 64, 8), tmp_path, {"a": EvaluationData()}, data)
    run.data = {"convai2_idl": {"a.txt": "1"}}
    key = digest(*run._made_of(Step(condition, 0), "a", Variation()))

    def edited(module: str, *libraries: str) -> str:
        return "another" if module == "idl_hf.baselines" else code_identity(module, *libraries)

    monkeypatch.setattr(measuring, "code_identity", edited)
    is_another = digest(*run._made_of(Step(condition, 0), "a", Variation())) != key
    assert is_another == bool(CONDITIONS[condition].baseline)


DAMAGE = {
    "values": {"nll": {"p": "hi there"}},
    "whole": ["hi"],
    "rows": {"nll": "hi"},
    "notes": {"note": [1]},
    "made": {},
    "label": None,
}


@pytest.mark.parametrize("field", ["", "missing", *DAMAGE])
def test_a_damaged_line_is_named(tmp_path, field):
    lines = KeptLines(tmp_path)
    made = {"date": "2026-01-01", "idl_hf": {"version": "1", "commit": None}}
    made["machine"] = {"processor": "a processor", "cores": 2}
    whole = KeptLine("x", {"nll": {"p": 1.0}}, {}, {"nll": 1}, {}, made)
    lines.write(whole, "it")
    assert lines.read("it") == whole
    assert lines.read("another") is None
    (file,) = tmp_path.iterdir()
    damaged = {"": "{", "missing": '{"label": "x"}'}
    file.write_text(damaged.get(field) or json.dumps({**vars(whole), field: DAMAGE[field]}))
    with pytest.raises(ValueError, match=rf"'{file}' is no line as .* Delete it, and it is measured anew\."):
        lines.read("it")


def test_a_model_of_its_own_is_measured_anew_beside_another_scale_s(
    tiny, tiny_llama, tokenizer, tmp_path, capsys, monkeypatch
):
    """Its likelihoods are in the line or not by whether the tokens are those of the scale's model."""
    other = tmp_path / "other"
    tiny_llama(seed=2).save_pretrained(other)
    tokenizer.save_pretrained(other)
    own = Condition("own", "baseline", prompt={"conditioning": "none"}, model=tiny)
    monkeypatch.setitem(CONDITIONS, "gpt2", own)
    name = experiment(tmp_path / "own.yaml", {"condition": "gpt2"}, columns=("nll",))
    told = []
    for model in (tiny, str(other), str(other)):
        ask(name, model, tmp_path / "runs", tmp_path / "out")
        told.append("Measured before: own" in capsys.readouterr().out)
    assert told == [False, False, True]
