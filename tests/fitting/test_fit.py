"""One command for one person: whose dialogues, how long, what is written and said, and going on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.corpora.errors import CorpusError
from idl_hf.fitting import cast as casting
from idl_hf.fitting.cast import Cast, trained_on
from idl_hf.fitting.fit import FitSettings, State, _open_state, _shares_prefixes, fit_person, in_a_sentence
from idl_hf.fitting.plan import SECONDS_AROUND, Plan, in_words, plan_for

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lines(sample_data) -> dict[str, list[dict]]:
    """The dialogues of the sample data by person."""
    by_person: dict[str, list[dict]] = {}
    for line in (sample_data / "train.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        by_person.setdefault(record["person_id"], []).append(record)
    return by_person


@pytest.fixture
def write(tmp_path):
    """Writes records as the files of a folder of logs, and returns it."""

    def folder(**splits):
        (tmp_path / "logs").mkdir(exist_ok=True)
        for split, records in splits.items():
            text = "\n".join(map(json.dumps, records))
            (tmp_path / "logs" / f"{split}.jsonl").write_text(text, encoding="utf-8")
        return tmp_path / "logs"

    return folder


@pytest.fixture
def mia(lines):
    """Six dialogues of a person who is not among the sample people."""
    return [{**record, "person_id": "mia", "dialogue_id": f"m{i}"} for i, record in enumerate(lines["ruth"])]


@pytest.fixture(scope="module")
def tiny(tiny_llama, tokenizer, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_llama().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def read_cast(given: FitSettings) -> Cast:
    return casting.read_cast(given.data_dir, given.person)


def settings(folder, tmp_path, tiny="offline", **options) -> FitSettings:
    given = {"minutes": 1.0, "output_dir": str(tmp_path / "run"), "model_name_or_path": tiny}
    return FitSettings(str(folder), **{**given, **options})


# The whole of it


def test_one_person_alone_gets_an_adapter_a_likeness_and_the_line_to_chat(write, mia, tmp_path, tiny, capsys):
    asked = settings(write(train=mia), tmp_path, tiny, person="mia", max_prompt_tokens=400)
    folder = fit_person(asked)
    said = capsys.readouterr().out
    likeness = json.loads((folder / "likeness.json").read_text())
    assert set(likeness) == {"own_nll", "other_nll", "gain", "hits@1", "people"}
    assert set(likeness["gain"]) == {"mean", "low", "high"}
    assert likeness["gain"]["mean"] == pytest.approx(likeness["other_nll"] - likeness["own_nll"])
    assert likeness["people"] == 8
    assert (folder / "adapter_model.safetensors").is_file()
    assert "About " in said
    assert said.index("About ") < said.index("First stage") < said.index("Second stage") < said.index("Likeness")
    assert "On 1 dialogue it never saw, mia's own past dialogues are worth" in said
    assert "sample people, an easy test" in said
    assert f"idl-hf chat --model {folder} --dialogues {tmp_path / 'logs' / 'train.jsonl'} --person=mia" in said

    trained = [json.loads(line) for line in (folder / "dialogues" / "train.jsonl").read_text().splitlines()]
    held_out = [json.loads(line) for line in (folder / "dialogues" / "validation.jsonl").read_text().splitlines()]
    assert held_out == mia[5:]
    assert [record for record in trained if record["person_id"] == "mia"] == mia[:5]

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    fit_person(asked)
    assert "First stage" not in (again := capsys.readouterr().out)
    assert said[said.index("On 1 dialogue") :] == again[again.index("On 1 dialogue") :]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before

    card = (folder / "README.md").read_text()
    assert not any(turn["text"] in card for record in trained for turn in record["turns"])
    recipe = json.loads((folder / "idl_config.json").read_text())
    assert recipe["public_corpus"] is False

    with pytest.raises(ValueError, match=r"holds a fit that was asked for with other max_prompt_tokens\."):
        fit_person(settings(tmp_path / "logs", tmp_path, tiny, person="mia", max_prompt_tokens=300))
    write(train=mia[1:])
    with pytest.raises(ValueError, match=r"asked for with other dialogues\. Pass another --output_dir"):
        fit_person(asked)


def test_a_folder_with_other_files_is_left_alone(write, mia, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds files that are no fit's and would be lost"):
        fit_person(settings(write(train=mia), tmp_path))
    assert os.listdir(tmp_path / "run") == ["thesis.txt"]


@pytest.mark.parametrize("missing", ["train", "validation"])
def test_a_fit_that_was_killed_before_all_its_files_were_there_goes_on(write, mia, tmp_path, missing):
    given = settings(write(train=mia), tmp_path)
    cast, folder = read_cast(given), Path(given.output_dir)
    _open_state(folder, given, cast)
    copies = {file.name: file.read_text() for file in (folder / "dialogues").iterdir()}
    (folder / "dialogues" / f"{missing}.jsonl").unlink()
    _open_state(folder, given, cast)
    assert {file.name: file.read_text() for file in (folder / "dialogues").iterdir()} == copies
    for file in (folder / "dialogues").iterdir():
        file.unlink()
    (folder / "dialogues").rmdir()
    assert os.listdir(folder) == ["fit.json"]  # as a kill right after the first file leaves it
    _open_state(folder, given, cast)
    assert {file.name: file.read_text() for file in (folder / "dialogues").iterdir()} == copies


# Whose dialogues


def names(lines):
    return [line.dialogue.dialogue_id for line in lines]


def test_without_a_held_out_file_the_last_fifth_is_held_out(write, lines, tmp_path):
    records = [{**r, "person_id": "mia", "dialogue_id": f"m{i}"} for i, r in enumerate(lines["ruth"] + lines["dev"])]
    cast = read_cast(settings(write(train=records), tmp_path))
    assert names(cast.past) == [f"m{i}" for i in range(10)]
    assert names(cast.held_out) == ["m10", "m11"]
    assert cast.are_samples


def test_the_held_out_file_counts_without_what_was_trained_on(write, mia, lines, tmp_path):
    copy = {**mia[0], "dialogue_id": "copy"}
    folder = write(train=mia[:4], validation=[copy, *mia[4:], *lines["dev"]])
    cast = read_cast(settings(folder, tmp_path))
    assert names(cast.past) == ["m0", "m1", "m2", "m3"]
    assert names(cast.held_out) == ["m4", "m5"]


def test_a_held_out_file_of_other_people_does_not_count(write, mia, lines, tmp_path):
    cast = read_cast(settings(write(train=mia, validation=lines["dev"]), tmp_path))
    assert names(cast.held_out) == ["m5"]


def test_others_of_the_folder_go_before_the_sample_people(write, mia, lines, tmp_path):
    cast = read_cast(settings(write(train=[*mia, *lines["dev"], *lines["kai"]]), tmp_path, person="mia"))
    assert set(cast.others) == {"dev", "kai"}
    assert not cast.are_samples


def test_a_held_out_dialogue_is_not_shown_from_the_other_side(write, mia, lines, tmp_path):
    role = {"self": "partner", "partner": "self"}
    mirrored = [
        {**record, "person_id": "dev", "turns": [{**turn, "role": role[turn["role"]]} for turn in record["turns"]]}
        for record in mia
    ]
    cast = read_cast(settings(write(train=[*mia, *mirrored, *lines["kai"]]), tmp_path, person="mia"))
    assert names(cast.others["dev"]) == ["m0", "m1", "m2", "m3", "m4"]


def test_a_sample_person_of_the_same_name_is_nobody_else(write, lines, tmp_path):
    cast = read_cast(settings(write(train=lines["ruth"]), tmp_path))
    assert cast.are_samples
    assert "ruth" not in cast.others
    assert len(cast.others) == 11


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_dialogues_are_one_sentence(write, mia, tmp_path, count):
    with pytest.raises(
        ValueError, match=rf"'mia' has {count} dialogues to learn from and 0 held out.*Import a longer"
    ):
        read_cast(settings(write(train=mia[:count]), tmp_path))
    assert len(read_cast(settings(write(train=mia[:4]), tmp_path)).held_out) == 1


def test_somebody_who_is_not_there_is_named_with_those_who_are(write, mia, tmp_path):
    with pytest.raises(ValueError, match=r"has no person 'tom'. Its persons are: mia"):
        read_cast(settings(write(train=mia), tmp_path, person="tom"))


def test_lines_are_kept_as_they_are(write, mia, tmp_path):
    marked = [{**record, "partner_id": "tom", "more": {"kept": "ä"}} for record in mia]
    cast = read_cast(settings(write(train=marked), tmp_path))
    assert [json.loads(line.text) for line in [*cast.past, *cast.held_out]] == marked


@pytest.mark.parametrize(("own", "fewest", "most"), [(3, 9, 9), (12, 9, 9), (60, 25, 36), (300, 60, 72)])
def test_others_are_about_half_as_many(write, mia, tmp_path, own, fewest, most):
    cast = read_cast(settings(write(train=mia), tmp_path))
    cast = Cast([cast.past[0]] * own, cast.held_out, cast.others, cast.are_samples)
    lines = trained_on(cast, 0)
    assert fewest <= len(lines) - own <= most
    assert lines == trained_on(cast, 0)


# How long


@given(
    left=st.floats(-100, 1e5), seconds=st.floats(1e-6, 1), tokens=st.floats(10, 2000), spoken=st.floats(1, 500),
    dialogues=st.integers(4, 10**4), replies=st.floats(1, 50), held_out=st.integers(1, 10**3),
)  # fmt: skip
def test_a_plan_keeps_to_the_time_unless_it_is_the_least_there_can_be(
    left, seconds, tokens, spoken, dialogues, replies, held_out
):
    plan = plan_for(left, seconds, tokens, spoken, dialogues, replies, held_out)
    spent = 60 * plan.total - 3 * SECONDS_AROUND
    least = tokens * seconds * (8 / 3 + 1) + (tokens + 2 * spoken) * seconds * 4 / 3
    assert spent <= max(left, least) * 1.001 + least
    assert plan.msl_steps >= 1
    assert plan.dpoc_rows >= 1
    assert 1 <= plan.held_out <= held_out


def test_a_prompt_has_at_least_one_token():
    with pytest.raises(ValueError, match=r"--max_prompt_tokens must be 1 or more, found 0\."):
        FitSettings("logs", max_prompt_tokens=0)


def test_whether_a_model_learns_from_trees_is_known_before_it_is_loaded(tiny, tmp_path):
    from transformers import BloomConfig

    BloomConfig(hidden_size=8, n_layer=1, n_head=1).save_pretrained(tmp_path)
    assert _shares_prefixes(tiny)
    assert not _shares_prefixes(str(tmp_path))


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_minutes_are_a_number_above_zero(minutes):
    with pytest.raises(ValueError, match="--minutes must be a number of minutes above 0"):
        FitSettings("logs", minutes=minutes)


# What is said


def result(low=0.1, high=0.5, mean=0.31):
    gain = {"mean": mean, "low": low, "high": high}
    return {"own_nll": 3.0, "other_nll": 3.0 + mean, "gain": gain, "hits@1": 0.625, "people": 8}


def test_the_sentence_says_what_was_measured():
    assert in_a_sentence("mia", result(), 8, sample_people=False) == (
        "On 8 dialogues it never saw, mia's own past dialogues are worth 0.31 nats a token [0.10, 0.50] over those of "
        "strangers; picked out of 8 people in 62% (chance 12%)."
    )


@pytest.mark.parametrize("bounds", [(-0.1, 0.5), (None, None)])
def test_the_sentence_does_not_sell_nothing_as_something(bounds):
    assert "too little to tell from nothing" in in_a_sentence("mia", result(*bounds), 1, sample_people=False)
    assert "too little" not in in_a_sentence("mia", result(), 4, sample_people=False)


def test_the_plan_is_said_in_words():
    plan = Plan(4, 1, 1, {"msl": 1.0, "dpoc": 2.0, "likeness": 0.5})
    assert in_words(plan) == (
        "MSL in 4 steps (1.0), DPOC on about 1 reply (2.0), likeness on 1 held-out dialogue (0.5)"
    )


# Going on


def test_a_stage_that_was_run_to_its_end_is_not_run_again(tmp_path):
    ran, file = [], tmp_path / "fit.json"
    State(file, {"done": []}).once("msl", lambda: ran.append("msl"))
    again = State(file, json.loads(file.read_text()))
    again.once("msl", lambda: ran.append("msl, again"))
    again.once("dpoc", lambda: ran.append("dpoc"))
    assert ran == ["msl", "dpoc"]
    plan = Plan(4, 8, 1, {"msl": 1.0})
    assert again.plan(lambda: plan) == plan
    assert State(file, json.loads(file.read_text())).plan(lambda: Plan(9, 9, 9, {})) == plan


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["msl", ""], ids=["msl", "dpoc"])
def test_a_killed_fit_goes_on_from_its_checkpoint_to_the_same_adapter(write, mia, tmp_path, tiny, stage):
    from safetensors.numpy import load_file

    folder = write(train=mia)

    def command(run):
        words = ["--person", "mia", "--model_name_or_path", tiny, "--max_prompt_tokens", "400", "--minutes", "30"]
        command = [sys.executable, "-m", "idl_hf.cli", "fit", str(folder), *words, "--output_dir", str(run)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    said, _ = (done := command(whole)).communicate()
    assert done.returncode == 0, said[-3000:]
    process = command(killed)
    while process.poll() is None and not list((killed / stage).glob("checkpoint-*/trainer_state.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "likeness.json").exists(), "it was over before it could be killed"
    first = sorted((killed / stage).glob("checkpoint-*"))
    said, _ = (done := command(killed)).communicate()
    assert done.returncode == 0, said[-3000:]
    assert first
    assert ("First stage" in said) == (stage == "msl")
    weights = [load_file(run / "adapter_model.safetensors") for run in (whole, killed)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_byte_that_is_no_text_is_told_with_its_line(split, sample_data, tmp_path):
    folder = tmp_path / "bytes"
    folder.mkdir()
    lines = (sample_data / "train.jsonl").read_bytes().splitlines(keepends=True)
    for name in ("train", "validation"):
        bad = [b'{"person_id": "caf\xe9"}\n'] if name == split else []
        (folder / f"{name}.jsonl").write_bytes(b"".join(lines[:3] + bad))
    with pytest.raises(CorpusError, match=rf"{split}\.jsonl:4: "):
        casting.read_cast(str(folder), None)
