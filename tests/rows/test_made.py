"""Rows that are made already tell what they were made with."""

import json
from functools import partial

import pytest
from datasets import load_dataset
from huggingface_hub import constants

from idl_hf.models.identity import RECIPE_FILE
from idl_hf.rows import arguments, made
from idl_hf.rows.made import made_with, save_made_with, shaping_options
from idl_hf.rows.options import PRESETS
from idl_hf.rows.parquet import BuildArguments, build_files
from idl_hf.training.data import DataArguments

LISTS = {"encoder": "offline", "reference_turns": "self", "references": 12, "clusters": 1}


@pytest.fixture(scope="module")
def folder(sample_data, tmp_path_factory):
    """Rows of the sample data, as `idl-hf build` writes them."""
    folder = tmp_path_factory.mktemp("rows")
    build_files(BuildArguments("idl_hf/dialogues_idl", str(sample_data), LISTS, output_dir=str(folder)))
    return folder


def test_rows_of_a_folder_are_trained_on_like_those_of_their_builder(folder, sample_data):
    made = DataArguments("idl_hf/dialogues_idl", str(sample_data), LISTS)
    read = DataArguments(str(folder))
    for split in ("train", "validation"):
        assert read.load("msl", split)[:] == made.load("msl", split)[:]
    assert read.row_options("msl") == made.row_options("msl") == LISTS


def test_rows_that_were_downloaded_with_their_card_are_those_of_a_folder(folder, tmp_path):
    (tmp_path / "msl").mkdir()
    for name, split in (("train-00000-of-00001", "train"), ("idl_config.json", None)):
        source = folder / "msl" / (f"{split}.parquet" if split else name)
        (tmp_path / "msl" / (f"{name}.parquet" if split else name)).write_bytes(source.read_bytes())
    configs = "configs:\n- config_name: msl\n  data_files:\n  - split: train\n    path: msl/train-*\n"
    (tmp_path / "README.md").write_text(f"---\n{configs}---\n# Rows\n")
    read = DataArguments(str(tmp_path))
    assert read.load("msl", "train")[:] == DataArguments(str(folder)).load("msl", "train")[:]
    assert read.row_options("msl") == LISTS


@pytest.mark.parametrize(
    "names",
    [["train-00000-of-00002"], ["train", "train-00000-of-00001"], ["train-00000-of-00002", "train-00000-of-00001"]],
)
def test_rows_that_are_not_whole_or_of_two_builds_are_refused(names, folder, tmp_path):
    (tmp_path / "msl").mkdir()
    save_made_with(tmp_path / "msl", LISTS)
    for name in names:
        (tmp_path / "msl" / f"{name}.parquet").write_bytes((folder / "msl" / "train.parquet").read_bytes())
    with pytest.raises(ValueError, match="are not whole, or of two builds: found train"):
        DataArguments(str(tmp_path)).load("msl", "train")


def test_what_is_built_from_a_folder_of_rows_tells_the_same(folder, tmp_path):
    build_files(BuildArguments(str(folder), output_dir=str(tmp_path)))
    assert made_with(str(tmp_path), "msl") == LISTS


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_what_it_sets(preset):
    sets = {name: value for name, value in PRESETS[preset].items() if name != "person"}  # which is ConvAI2's alone
    told = shaping_options({"preset": preset, "encoder": "offline", "seed": 3, "on_error": "skip"}, "msl")
    assert told == {"encoder": "offline", "seed": 3, **sets}
    assert shaping_options({"preset": preset, "references": 2}, "msl")["references"] == 2  # by its name


def test_the_folder_that_negatives_names_is_not_told(tmp_path):
    assert "negatives" not in shaping_options({"negatives": f"convai2_idl:{tmp_path}"}, "msl")


@pytest.mark.parametrize(
    "given", [{"data_dir": "corpus"}, {"dataset_options": {"targets": "all"}}, {"dataset_options": {"encoder": "x"}}]
)
def test_options_of_rows_that_are_made_already_are_refused(folder, given):
    with pytest.raises(ValueError, match=r"holds rows that are made already, and \w+ needs a builder"):
        DataArguments(str(folder), **given).load("msl", "train")


def test_an_unknown_split_of_a_folder_is_told_with_those_that_there_are(folder):
    with pytest.raises(ValueError, match=r"has no split 'test', only: train, validation"):
        DataArguments(str(folder)).load("msl", "test")


def test_a_build_does_not_mix_with_an_earlier_one(folder, sample_data, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "train.jsonl").write_bytes((sample_data / "train.jsonl").read_bytes())
    rows = str(tmp_path / "rows")
    alone = BuildArguments("idl_hf/dialogues_idl", str(logs), {"encoder": "offline"}, output_dir=rows)
    build_files(alone)
    build_files(alone)  # again is no other build
    both = BuildArguments("idl_hf/dialogues_idl", str(sample_data), LISTS, output_dir=rows)
    build_files(both)
    with pytest.raises(ValueError, match="holds validation of another build, and this one makes train"):
        build_files(alone)


def test_none_is_a_value_of_an_option(sample_data):
    options = {"encoder": "offline", "preset": "small_logs", "reply": None}
    rows = DataArguments("idl_hf/dialogues_idl", str(sample_data), options).load("msl", "train")
    assert {len(row["completion"]) for row in rows} == {1}  # the last reply alone, as None says


def test_rows_of_the_hub_that_do_not_tell_are_trained_on_with_a_warning(folder, monkeypatch, caplog):
    monkeypatch.setattr(made, "_from_hub", lambda name, file: None)
    monkeypatch.setattr(arguments, "load", lambda *args, **options: load_dataset(str(folder), data_dir="msl")["train"])
    data = DataArguments("ruth/rows")
    assert len(data.load("msl", "train"))
    assert "'ruth/rows' has no msl/idl_config.json" in caplog.text
    assert "by the defaults" in caplog.text


def test_a_cache_that_knows_of_no_such_file_needs_no_hub(tmp_path, monkeypatch):
    commit = tmp_path / "datasets--ruth--rows"
    (commit / "refs").mkdir(parents=True)
    (commit / "refs" / "main").write_text("0" * 40)
    nothing = commit / ".no_exist" / ("0" * 40) / "msl"
    nothing.mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(made, "hf_hub_download", partial(made.hf_hub_download, cache_dir=tmp_path))
    monkeypatch.setattr(made, "try_to_load_from_cache", partial(made.try_to_load_from_cache, cache_dir=tmp_path))
    with pytest.raises(OSError, match=r"could not be reached for msl/idl_config.json of 'ruth/rows'"):
        made_with("ruth/rows", "msl")
    (nothing / RECIPE_FILE).write_text("")
    assert made_with("ruth/rows", "msl") is None


def test_what_earlier_rows_tell_is_not_told_of_others(folder, tmp_path):
    (tmp_path / "silent" / "msl").mkdir(parents=True)
    for split in ("train", "validation"):
        (tmp_path / f"silent/msl/{split}.parquet").write_bytes((folder / f"msl/{split}.parquet").read_bytes())
    for source in (folder, tmp_path / "silent"):
        build_files(BuildArguments(str(source), output_dir=str(tmp_path / "rows")))
    assert made_with(str(tmp_path / "rows"), "msl") is None


def test_a_folder_that_does_not_tell_is_not_trained_on(folder, tmp_path):
    (tmp_path / "msl").mkdir()
    for split in ("train", "validation"):
        name = f"msl/{split}.parquet"
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ValueError, match=r"has no msl/idl_config.json, which tells what its rows were made with"):
        DataArguments(str(tmp_path)).load("msl", "train")
    build_files(BuildArguments(str(tmp_path), output_dir=str(tmp_path / "again")))
    assert sorted(file.name for file in (tmp_path / "again" / "msl").iterdir()) == [
        "train.parquet",
        "validation.parquet",
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is no JSON"),
        ("[]", "must hold a JSON object"),
        (json.dumps({"goats": 2}), "must hold a JSON object"),
        (json.dumps({"options": {"goats": 2}}), "has unknown options: goats"),
        (json.dumps({"options": {"references": "many"}}), "The option references must be a whole number"),
    ],
)
def test_what_tells_nothing_is_an_error_that_names_it(tmp_path, content, told):
    save_made_with(tmp_path / "msl", LISTS)
    (tmp_path / "msl" / RECIPE_FILE).write_text(content)
    with pytest.raises(ValueError, match=rf"{RECIPE_FILE} of the msl rows of '.*'.*{told}"):
        made_with(str(tmp_path), "msl")
