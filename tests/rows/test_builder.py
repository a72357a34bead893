"""load_dataset on real folders: the configs, the cache, several processes, streaming, and what the errors say."""

import json
import logging
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import datasets
import evaluate
import pytest
from datasets import get_dataset_config_names, load_dataset, load_dataset_builder
from datasets.exceptions import DatasetGenerationError

import idl_hf
from idl_hf import registration
from idl_hf.corpora.errors import CorpusError
from idl_hf.encoding import SentenceEncoder
from idl_hf.rows import references
from idl_hf.rows.generate import RowBuilder
from idl_hf.rows.options import CHOICES, option_names
from idl_hf.schema import CONFIGS, features

ROOT = Path(__file__).parents[2]
DATASET = "idl_hf/dialogues_idl"


@pytest.fixture(scope="module")
def load(sample_data):
    """Return load_dataset of the sample data with the offline encoder."""

    def call(config="msl", **options):
        return load_dataset(DATASET, config, **({"data_dir": str(sample_data), "encoder": "offline"} | options))

    return call


@pytest.fixture
def folder(sample_data, tmp_path):
    """Return a copy of the sample data, cut to the first three persons."""
    copy = tmp_path / "data"
    copy.mkdir()
    lines = (sample_data / "train.jsonl").read_text(encoding="utf-8").splitlines()[:18]
    (copy / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return copy


def raising(*args, **kwargs):
    raise RuntimeError("this should not run")


def run(script: str, cwd: Path, *, cache: Path) -> str:
    environment = {**os.environ, "HF_DATASETS_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# The configs


@pytest.mark.parametrize("config", CONFIGS)
def test_each_config_has_the_splits_and_columns_of_the_schema(load, config):
    loaded = load(config)
    assert list(loaded) == ["train", "validation"]
    for split in loaded.values():
        assert split.features == features(config)
        assert len(split) > 0


def test_msl_is_the_default_config(load):
    assert load(None)["train"].to_list() == load("msl")["train"].to_list()


def test_sessions_are_all_dialogues(load, sample_data):
    rows = load("sessions")["train"]
    lines = [json.loads(line) for line in (sample_data / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows["dialogue_id"][:] == [line["dialogue_id"] for line in lines]
    said = [[(turn["role"], turn["text"]) for turn in row["turns"]] for row in rows]
    assert said == [[(turn["role"], turn["text"]) for turn in line["turns"]] for line in lines]


def test_conversational_columns_are_those_of_trl(load):
    row = load("dpoc")["train"][0]
    for column in ("prompt", "chosen", "criterion", "rejected"):
        assert all(set(message) == {"role", "content"} for message in row[column])
    assert row["prompt"][-1]["role"] == "user"
    assert [row[column][0]["role"] for column in ("chosen", "criterion", "rejected")] == ["assistant"] * 3


def test_the_info_names_version_and_every_choice_that_shaped_the_rows(load):
    info = load("msl", seed=3)["train"].info
    assert str(info.version) == "0.1.0"
    assert info.description.startswith("Dialogues of your own")
    for name in [*option_names(), "on_error"]:
        assert f"{name}=" in info.description
    for choice in ("seed=3", "references=5", "encoder='offline'", "order='free'", "on_error='raise'"):
        assert choice in info.description


def test_a_saved_dataset_still_says_how_it_was_made(load, tmp_path):
    load("sessions", split="validation").save_to_disk(tmp_path / "saved")
    assert (
        "Made with: clusters=3, min_dialogues_to_cluster=4, references=5"
        in datasets.load_from_disk(tmp_path / "saved").info.description
    )


def test_config_names_are_listed():
    assert get_dataset_config_names(DATASET) == list(CONFIGS)
    assert load_dataset_builder(DATASET, "dpoc", data_files=__file__).config.name == "dpoc"


def test_a_slice_of_a_split_is_loaded(load):
    assert load("sessions", split="train[:3]")["dialogue_id"][:] == ["ruth-1", "ruth-2", "ruth-3"]


def test_files_may_be_named_instead_of_a_folder(folder):
    file = folder / "mine.jsonl"
    (folder / "train.jsonl").rename(file)
    loaded = load_dataset(DATASET, "sessions", data_files={"validation": str(file)})
    assert {name: len(split) for name, split in loaded.items()} == {"validation": 18}


def test_every_option_is_an_argument_of_load_dataset(load, tmp_path):
    rows = load("dpoc", split="validation", references=2, reply="last", criterion_type="inversion", order="random")
    assert max(len(ids) for ids in rows["reference_ids"]) == 2
    assert set(rows["criterion_type"]) == {"inversion"}


# The same rows, however they are made


@pytest.mark.parametrize("config", CONFIGS)
def test_streaming_gives_the_same_rows(load, config):
    built = load(config)
    streamed = load(config, streaming=True)
    for split, rows in built.items():
        assert list(streamed[split]) == rows.to_list()


@pytest.mark.parametrize("config", ["sessions", "dpoc"])
def test_two_processes_give_the_same_rows(load, config, tmp_path):
    apart = load(config, num_proc=2, cache_dir=str(tmp_path))
    for split, rows in load(config).items():
        assert apart[split].to_list() == rows.to_list()


# The cache


@pytest.mark.parametrize("config", ["msl", "dpoc"])
def test_a_build_from_cached_vectors_imports_no_model_library(load, config, folder, tmp_path):
    load(config)
    script = f"""
import sys, idl_hf
from datasets import load_dataset
load_dataset({DATASET!r}, {config!r}, data_dir={str(folder)!r}, encoder="offline")
print([name for name in ("torch", "trl", "transformers") if name in sys.modules])
"""
    assert run(script, tmp_path, cache=tmp_path / "cache") == "[]"


def test_a_second_load_builds_nothing(load, monkeypatch, tmp_path):
    rows = load("msl", cache_dir=str(tmp_path))
    monkeypatch.setattr(RowBuilder, "rows", raising)
    assert load("msl", cache_dir=str(tmp_path))["train"].to_list() == rows["train"].to_list()


def test_another_seed_builds_again_but_encodes_nothing_new(load, monkeypatch):
    first = load("dpoc")["train"]
    monkeypatch.setattr(SentenceEncoder, "_encode_new", raising)
    second = load("dpoc", seed=7)["train"]
    assert second.to_list() != first.to_list()


def test_dialogues_added_for_one_person_cost_that_person_only(folder, monkeypatch):
    def chosen_for() -> list[str]:
        people: list[str] = []
        choose = references.choose

        def watched(dialogues, *rest):
            people.append(dialogues[0].person_id)
            return choose(dialogues, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(references, "choose", watched)
            load_dataset(DATASET, "msl", data_dir=str(folder), encoder="offline")
        return people

    chosen_for()
    added = {"person_id": "dev", "dialogue_id": "dev-new", "turns": [{"role": "partner", "text": "so ?"}]}
    added["turns"].append({"role": "self", "text": f"i have taken up the banjo , number {uuid.uuid4()} ."})
    with open(folder / "train.jsonl", "a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(added))
    assert chosen_for() == ["dev"]


def test_an_option_given_by_name_wins_over_the_preset(load):
    description = load("msl", preset="release", rejected="random")["train"].info.description
    for choice in ("preset='release'", "references='all'", "order='input'", "targets='last'", "rejected='random'"):
        assert choice in description


def test_a_changed_file_is_built_again(folder):
    first = load_dataset(DATASET, "sessions", data_dir=str(folder))["train"]
    lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "train.jsonl").write_text("\n".join(lines[1:]), encoding="utf-8")
    second = load_dataset(DATASET, "sessions", data_dir=str(folder))["train"]
    assert second["dialogue_id"][:] == first["dialogue_id"][1:]


def test_a_file_that_appears_is_found(folder):
    load_dataset(DATASET, "sessions", data_dir=str(folder))
    shutil.copy(folder / "train.jsonl", folder / "test.jsonl")
    assert list(load_dataset(DATASET, "sessions", data_dir=str(folder))) == ["train", "test"]


def test_rows_go_by_what_files_hold_and_not_by_their_times(folder):
    names = []
    for time in (1, 2, 2):
        os.utime(folder / "train.jsonl", (time, time))
        names.append(load_dataset(DATASET, "msl", data_dir=str(folder), encoder="offline")["train"]._fingerprint)
        if len(names) == 2:  # of the same size
            text = (folder / "train.jsonl").read_text(encoding="utf-8")
            (folder / "train.jsonl").write_text(text.replace("the", "teh", 1), encoding="utf-8")
    assert names[0] == names[1] != names[2]


def test_an_interrupted_build_leaves_nothing_that_is_taken_for_whole(folder, tmp_path, monkeypatch):
    options = {"data_dir": str(folder), "encoder": "offline", "cache_dir": str(tmp_path / "cache")}
    whole = RowBuilder.rows

    def interrupted(builder, person):
        if person.person_id != "ruth":
            raise RuntimeError("the power is gone")
        return whole(builder, person)

    with monkeypatch.context() as patch:
        patch.setattr(RowBuilder, "rows", interrupted)
        with pytest.raises(DatasetGenerationError):
            load_dataset(DATASET, "msl", **options)
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    rows = load_dataset(DATASET, "msl", **options)["train"]
    assert {row["person_id"] for row in rows} == {"ruth", "dev", "kai"}


# Errors


def test_an_unknown_option_lists_the_options(load):
    with pytest.raises(ValueError, match="Unknown option refs, sede") as error:
        load("msl", sede=1, refs=3)
    assert all(name in str(error.value) for name in [*option_names(), "on_error"])


def test_an_unknown_value_of_an_option_lists_the_valid_ones(load):
    with pytest.raises(ValueError, match="order='best' is unknown") as error:
        load("msl", order="best")
    assert all(repr(choice) in str(error.value) for choice in CHOICES["order"])


def test_an_unknown_config_lists_the_configs(load):
    with pytest.raises(ValueError, match="'mls' not found") as error:
        load("mls")
    assert all(config in str(error.value) for config in CONFIGS)


def test_an_unknown_dataset_lists_the_built_in_ones():
    with pytest.raises(ValueError, match=r"no built-in dataset 'idl_hf/convai'.*idl_hf/convai2_idl, idl_hf/dialogues"):
        load_dataset("idl_hf/convai")


def test_a_missing_folder_is_named(load, tmp_path):
    with pytest.raises(CorpusError, match=r"nowhere' does not exist. data_dir must be a folder with train\.jsonl"):
        load("msl", data_dir=str(tmp_path / "nowhere"))


def test_without_a_folder_the_error_says_how_to_pass_one():
    with pytest.raises(ValueError, match=r"'dialogues_idl' has no download\. Pass data_dir='<folder>'"):
        load_dataset(DATASET, "sessions")


@pytest.fixture
def malformed(folder):
    """Return a folder in which the second line of eighteen is cut off."""
    lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    lines[1] = lines[1][:100]
    (folder / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_a_malformed_line_stops_the_build_with_file_and_line(malformed):
    with pytest.raises(CorpusError, match=r"train\.jsonl:2: Expected one JSON object.*on_error='skip'"):
        load_dataset(DATASET, "sessions", data_dir=str(malformed))


@pytest.mark.parametrize("content", ["", "\n\n", "not JSON\n"], ids=["empty", "blank", "malformed"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_split_without_a_readable_dialogue_is_an_error_that_names_its_file(folder, content, streaming):
    file = folder / "validation.jsonl"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match=rf"split 'validation' has no dialogue that could be read: {file}"):
        load_dataset(DATASET, "msl", data_dir=str(folder), encoder="offline", on_error="skip", streaming=streaming)


@pytest.fixture
def lonely(folder):
    """Return a folder with a split of one person, who says nothing that could be denied."""
    turns = [{"role": role, "text": text} for role, text in (("partner", "hallo !"), ("self", "guten tag ."))]
    dialogue = {"person_id": "uwe", "dialogue_id": "1", "turns": turns}
    (folder / "validation.jsonl").write_text(json.dumps(dialogue), encoding="utf-8")
    return folder


@pytest.mark.parametrize("streaming", [False, True])
def test_zero_rows_are_an_error_that_says_what_was_left_out_and_why(lonely, streaming):
    shaping = {"references": 0, "criterion_type": "inconsistency"}
    options = {"data_dir": str(lonely), "encoder": "offline", "streaming": streaming, **shaping}
    why = r"split 'validation' has no dpoc rows\..*1 x reply for which no criterion reply could be built"
    with pytest.raises(CorpusError, match=why):
        list(load_dataset(DATASET, "dpoc", split="validation", **options))
    shutil.copy(lonely / "validation.jsonl", lonely / "train.jsonl")
    with pytest.raises(CorpusError, match=r"split 'train' has no dpoc rows"):
        list(load_dataset(DATASET, "dpoc", **options)["train"])


def test_a_split_without_rows_does_not_keep_others_from_being_read(lonely, caplog):
    for _ in ("built", "from the cache"):
        options = {"encoder": "offline", "references": 0, "criterion_type": "inconsistency"}
        made = load_dataset(DATASET, "dpoc", data_dir=str(lonely), **options)
        assert list(made) == ["train"]
        assert "The split 'validation' has no dpoc rows." in caplog.text
        caplog.clear()


@pytest.mark.parametrize(
    "option", [{"clusters": "3"}, {"references": 2.5}, {"seed": "0"}, {"scale": "5"}, {"order": 1}]
)
def test_an_option_of_a_wrong_type_is_named(load, option):
    (name,) = option
    with pytest.raises(ValueError, match=rf"option.*\b{name}\b"):
        load("msl", **option)


def test_skipped_lines_are_counted_and_shown(malformed, caplog):
    with caplog.at_level(logging.WARNING):
        rows = load_dataset(DATASET, "sessions", data_dir=str(malformed), on_error="skip")["train"]
    assert len(rows) == 17
    assert "train: skipped 1 malformed lines with their dialogues" in caplog.text
    assert "train.jsonl:2: Expected one JSON object" in caplog.text


def test_on_error_takes_raise_or_skip(folder):
    with pytest.raises(ValueError, match=r"on_error='ignore' is unknown\. The valid values are: 'raise', 'skip'"):
        load_dataset(DATASET, "sessions", data_dir=str(folder), on_error="ignore")


def test_what_makes_no_row_is_counted_and_shown(folder, caplog):
    lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "train.jsonl").write_text("\n".join(lines[5:]), encoding="utf-8")  # one of ruth's six is left
    with caplog.at_level(logging.WARNING):
        rows = load_dataset(DATASET, "msl", data_dir=str(folder), encoder="offline")["train"]
    assert set(rows["person_id"]) == {"dev", "kai"}
    assert "Read of train: 13 dialogues, 3 people." in rows.info.description
    assert "Left out of train: 1 x dialogue of a person with fewer than two." in rows.info.description
    assert "dialogues_idl, train: left out 1 x dialogue of a person with fewer than two" in caplog.text


# Registration


@pytest.mark.parametrize(
    "imports",
    ["from datasets import load_dataset; import idl_hf", "import idl_hf; from datasets import load_dataset"],
    ids=["datasets first", "idl_hf first"],
)
def test_the_order_of_imports_does_not_matter(imports, folder, tmp_path):
    script = f"{imports}; print(len(load_dataset('{DATASET}', 'sessions', data_dir={str(folder)!r})['train']))"
    assert run(script, tmp_path, cache=tmp_path / "cache") == "18"


def test_importing_idl_hf_imports_nothing_heavy(tmp_path):
    script = "import sys, idl_hf; print([m for m in ('torch', 'trl', 'datasets', 'evaluate') if m in sys.modules])"
    assert run(script, tmp_path, cache=tmp_path) == "[]"


def test_metrics_load_by_their_short_name_from_anywhere(tmp_path):
    names = registration.metric_names()
    assert {"p_co", "p_f1"} <= set(names)
    script = f"import idl_hf, evaluate; print([evaluate.load(name).name for name in {names}])"
    assert run(script, tmp_path, cache=tmp_path) == str(names)


@pytest.mark.parametrize("name", ["p_co", "metrics/p_co"])
def test_metrics_load_in_the_checkout(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    assert evaluate.load(name).name == "p_co"


def test_registering_again_changes_nothing():
    before = datasets.load.dataset_module_factory
    registration.register()
    assert datasets.load.dataset_module_factory is before
    assert datasets.inspect.dataset_module_factory is before


def test_a_local_folder_of_that_name_goes_first(tmp_path, monkeypatch):
    mine = tmp_path / "idl_hf" / "dialogues_idl"
    mine.mkdir(parents=True)
    (mine / "train.csv").write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    assert load_dataset(DATASET)["train"].column_names == ["a", "b"]


def test_the_public_names_are_listed_and_others_are_no_attribute():
    assert {"DPOCConfig", "DPOCTrainer", "PersonaChat"} <= set(dir(idl_hf))
    with pytest.raises(AttributeError, match="module 'idl_hf' has no attribute 'PersonaChet'"):
        _ = idl_hf.PersonaChet


# ConvAI2


@pytest.fixture(scope="module")
def few_convai2(convai2, tmp_path_factory):
    """Return a folder with the first forty dialogues of each real file, two variants."""
    few = tmp_path_factory.mktemp("convai2")
    for split in ("train", "valid"):
        for variant in ("self_original", "none_original"):
            name = f"{split}_{variant}_no_cands.txt"
            lines = (convai2 / name).read_text(encoding="utf-8").splitlines(keepends=True)
            starts = [i for i, line in enumerate(lines) if line.startswith("1 ")]
            (few / name).write_text("".join(lines[: starts[40]]), encoding="utf-8")
    return few


def test_convai2_gives_rows_for_dpoc(few_convai2):
    loaded = load_dataset("idl_hf/convai2_idl", "dpoc", data_dir=str(few_convai2), encoder="offline")
    assert list(loaded) == ["train", "validation"]
    for split in loaded.values():
        assert len(split) > 10
        row = split[0]
        assert row["prompt"][-1]["role"] == "user"
        texts = [row[column][0]["content"] for column in ("chosen", "criterion", "rejected")]
        assert all(texts)
        assert len(set(texts)) == 3


def test_convai2_without_profiles_gives_the_same_people_and_dialogues(few_convai2):
    columns = ["person_id", "turns"]
    own, none = (
        load_dataset("idl_hf/convai2_idl", "sessions", data_dir=str(few_convai2), variant=variant, split="train")
        for variant in ("self_original", "none_original")
    )
    assert own.select_columns(columns).to_list() == none.select_columns(columns).to_list()


def test_what_says_who_speaks_is_read_anew_where_it_changes(few_convai2, tmp_path):
    folder = shutil.copytree(few_convai2, tmp_path / "convai2")
    options = {"data_dir": str(folder), "variant": "none_original", "split": "train"}
    profiles = load_dataset("idl_hf/convai2_idl", "sessions", **options)["profile"]
    sibling = folder / "train_self_original_no_cands.txt"
    sentence = profiles[0][0]
    sibling.write_text(sibling.read_text(encoding="utf-8").replace(sentence, "i am a lamp ."), encoding="utf-8")
    changed = load_dataset("idl_hf/convai2_idl", "sessions", **options)["profile"]
    assert changed[0][0] == "i am a lamp ."
    assert changed[0][1:] == profiles[0][1:]


def test_convai2_people_by_profile_are_more(few_convai2):
    by_persona, by_profile = (
        load_dataset("idl_hf/convai2_idl", "sessions", data_dir=str(few_convai2), person=person, split="train")
        for person in ("persona", "profile")
    )
    assert len(set(by_profile["person_id"])) > len(set(by_persona["person_id"]))


def test_convai2_with_candidates_rejects_one_of_them(convai2):
    folder = str(convai2 / "with_candidates")
    offered = {
        candidate
        for row in load_dataset("idl_hf/convai2_idl", "sessions", data_dir=folder, split="train")
        for turn in row["turns"]
        for candidate in turn["candidates"]
    }
    rows = load_dataset("idl_hf/convai2_idl", "dpoc", data_dir=folder, encoder="offline", split="train")
    assert len(rows) > 0
    assert {row["rejected"][0]["content"] for row in rows} <= offered


@pytest.mark.parametrize(
    ("options", "message"), [({"variant": "self"}, "variant='self' is unknown"), ({"person": "user"}, "person='user'")]
)
def test_convai2_options_list_their_valid_values(few_convai2, options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("idl_hf/convai2_idl", "sessions", data_dir=str(few_convai2), **options)


def test_convai2_skips_and_counts_malformed_dialogues_and_those_without_a_profile(few_convai2, tmp_path, caplog):
    whole = (few_convai2 / "valid_self_original_no_cands.txt").read_text(encoding="utf-8")
    (tmp_path / "valid_self_original_no_cands.txt").write_text(
        f"1 hi\thello\n{whole}1 your persona: i farm.\n1 no tab\n", encoding="utf-8"
    )
    options = {"data_dir": str(tmp_path), "split": "validation"}
    with caplog.at_level(logging.WARNING):
        rows = load_dataset("idl_hf/convai2_idl", "sessions", on_error="skip", **options)
    assert set(rows["dialogue_id"]) == {f"dialogue-{number}" for number in range(2, 42)}
    assert "valid_self_original_no_cands.txt:2" in rows["source"]
    assert "skipped 3 malformed lines" in caplog.text
    assert "variant='self_original', person='persona'" in rows.info.description
    with pytest.raises(CorpusError, match=r"valid_self_original_no_cands\.txt:\d+: Expected .*on_error='skip'"):
        load_dataset("idl_hf/convai2_idl", "sessions", **options)
