"""One person is enough: whose words stand for another person's, and what held-out dialogues of one person refer to."""

import json
import logging
from collections import Counter

import pytest
from datasets import load_dataset

from idl_hf.corpora import jsonl
from idl_hf.corpora.errors import CorpusError
from idl_hf.rows import negatives
from idl_hf.rows.generate import RowBuilder
from idl_hf.rows.negatives import NOBODY, SAMPLE_NAME, draw_negatives, sample_people
from idl_hf.rows.options import RowOptions, preset_options
from idl_hf.rows.people import People
from idl_hf.schema import Person, group_by_person

DATASET = "idl_hf/dialogues_idl"


@pytest.fixture(scope="module")
def people(sample_data) -> dict[str, Person]:
    persons = group_by_person(jsonl.read_dialogues(sample_data / "train.jsonl"))
    return {person.person_id: person for person in persons}


@pytest.fixture
def write(tmp_path, sample_data):
    """Writes dialogues of the sample data, (person_id, first, end), as the files of a folder, and returns it."""
    lines = [json.loads(line) for line in (sample_data / "train.jsonl").read_text(encoding="utf-8").splitlines()]

    def folder(**splits):
        for split, parts in splits.items():
            own = [
                line
                for name, first, end in parts
                for line in [line for line in lines if line["person_id"] == name][first:end]
            ]
            text = "\n".join(json.dumps({**line, "person_id": line["person_id"]}) for line in own)
            (tmp_path / f"{split}.jsonl").write_text(text, encoding="utf-8")
        return tmp_path

    return folder


@pytest.fixture(autouse=True)
def say_again():
    negatives._say_once.cache_clear()


def texts_of(rows, column):
    return {row[column][0]["content"] for row in rows}


def said_by(persons):
    return {
        "\n".join(turn.text for turn in dialogue.turns[start:end])
        for person in persons
        for dialogue in person.dialogues
        for start, end in dialogue.replies()
    } | {turn.text for person in persons for dialogue in person.dialogues for turn in dialogue.turns}


def test_one_person_alone_has_rejected_replies_of_the_sample_people_and_the_log_says_so_once(write, people, caplog):
    options = {"data_dir": str(write(train=[("ruth", 0, 6)])), "encoder": "offline", "targets": "all"}
    with caplog.at_level(logging.WARNING):
        rows = load_dataset(DATASET, "dpoc", **options)["train"]
        other = load_dataset(DATASET, "msl", conditioning="other_person", **options)["train"]
    others = [person for name, person in people.items() if name != "ruth"]
    assert texts_of(rows, "rejected") <= said_by(others)
    assert len(rows) == sum(len(dialogue.replies()) for dialogue in people["ruth"].dialogues)
    assert Counter(rows["criterion_type"])["fabrication"]
    assert len(other) == 6
    shown = {name for names in other["reference_ids"] for name in names}
    assert shown
    assert not any(name.startswith("ruth") for name in shown)
    assert caplog.text.count("sample people: an easy test") == 1
    assert f"Other people's words in train: those of {SAMPLE_NAME}." in rows.info.description


def test_where_the_split_has_others_nothing_is_drawn_from_elsewhere(people, write, caplog):
    two = [people["ruth"], people["dev"]]
    assert draw_negatives("auto", "train", {"train": two, "validation": list(people.values())}, 0) == NOBODY
    rows = load_dataset(
        DATASET, "dpoc", data_dir=str(write(train=[("ruth", 0, 3), ("dev", 0, 3)])), encoder="offline"
    )["train"]
    assert "Other people's words" not in rows.info.description
    assert "come from" not in caplog.text


def test_a_held_out_person_is_told_from_those_trained_on_and_never_the_other_way_round(people):
    ruth, dev, kai = people["ruth"], people["dev"], people["kai"]
    by_split = {"train": [ruth, dev, kai], "validation": [ruth]}
    assert set(draw_negatives("auto", "validation", by_split, 0).persons) == {dev, kai}
    by_split = {"train": [ruth], "validation": [dev, kai]}
    assert draw_negatives("auto", "train", by_split, 0).name == SAMPLE_NAME


def test_somebody_who_says_nothing_is_no_other_person(people):
    mute = Person("mute", tuple(jsonl.parse_dialogue(record) for record in [
        {"person_id": "mute", "dialogue_id": "1", "turns": [{"role": "partner", "text": "hello ?"}]}
    ]))  # fmt: skip
    assert draw_negatives("auto", "train", {"train": [people["ruth"], mute]}, 0).name == SAMPLE_NAME


def test_a_corpus_is_named_with_its_folder_which_no_description_tells(write, sample_data, tmp_path):
    folder = write(train=[("ruth", 0, 4)])
    options = {"data_dir": str(folder), "encoder": "offline", "targets": "all"}
    rows = load_dataset(DATASET, "dpoc", negatives=f"dialogues_idl:{sample_data}", **options)["train"]
    assert texts_of(rows, "rejected") <= said_by([p for p in sample_people() if p.person_id != "ruth"])
    assert "those of 12 people of dialogues_idl." in rows.info.description
    assert str(sample_data) not in rows.info.description
    assert "negatives='dialogues_idl'" in rows.info.description


def test_on_error_is_for_a_corpus_of_others_too(write, sample_data, tmp_path):
    folder, others = write(train=[("ruth", 0, 4)]), tmp_path / "others"
    others.mkdir()
    sound = (sample_data / "train.jsonl").read_text(encoding="utf-8")
    (others / "train.jsonl").write_text(sound + "{\n", encoding="utf-8")
    options = {"data_dir": str(folder), "encoder": "offline", "negatives": f"dialogues_idl:{others}"}
    with pytest.raises(CorpusError, match=r"train\.jsonl:\d+: .*on_error='skip'"):
        load_dataset(DATASET, "dpoc", **options)
    assert len(load_dataset(DATASET, "dpoc", on_error="skip", **options)["train"])


@pytest.mark.parametrize("option", ["none", "convai2_idl", "convai2_idl:", ":folder", 3, None])
def test_an_option_that_names_nobody_is_a_sentence(option, write):
    with pytest.raises(ValueError, match=r"negatives=.* is unknown\. Expected 'auto', 'sample', or a corpus with"):
        load_dataset(DATASET, "dpoc", data_dir=str(write(train=[("ruth", 0, 4)])), negatives=option)


def test_rows_are_the_same_in_one_process_and_in_two(write):
    options = {"data_dir": str(write(train=[("ruth", 0, 6)], validation=[("ruth", 4, 6), ("dev", 0, 2)]))}
    options |= {"encoder": "offline", "targets": "all", "negatives": "sample"}
    alone = load_dataset(DATASET, "dpoc", **options)
    shared = load_dataset(DATASET, "dpoc", num_proc=2, download_mode="force_redownload", **options)
    assert {split: rows.to_list() for split, rows in alone.items()} == {
        split: rows.to_list() for split, rows in shared.items()
    }


# Held-out dialogues of somebody who was trained on


def test_held_out_dialogues_refer_to_training_dialogues_alone(write):
    folder = write(train=[("ruth", 0, 4), ("dev", 0, 3)], validation=[("ruth", 4, 6)])
    options = {"data_dir": str(folder), "encoder": "offline", "targets": "all"}
    for config in ("msl", "dpoc"):
        rows = load_dataset(DATASET, config, split="validation", **options)
        assert set(rows["dialogue_id"]) == {"ruth-5", "ruth-6"}
        shown = [name for names in rows["reference_ids"] for name in names]
        assert shown
        assert set(shown) <= {"ruth-1", "ruth-2", "ruth-3", "ruth-4"}
        assert "References in validation: training dialogues, of 1 people who have any." in rows.info.description
    alone = load_dataset(DATASET, "msl", split="train", **options).to_list()
    (folder / "validation.jsonl").unlink()
    assert load_dataset(DATASET, "msl", split="train", **options).to_list() == alone


def test_one_held_out_dialogue_is_enough_where_others_were_trained_on(write):
    folder = write(train=[("ruth", 0, 3)], validation=[("ruth", 5, 6)])
    rows = load_dataset(DATASET, "msl", split="validation", data_dir=str(folder), encoder="offline")
    assert rows["dialogue_id"] == ["ruth-6"]
    assert len(rows[0]["reference_ids"]) == 3


def test_the_dialogues_of_somebody_new_refer_to_each_other_as_ever(write):
    options = {"encoder": "offline", "targets": "all", "split": "validation"}
    folder = write(train=[("ruth", 0, 4)], validation=[("dev", 0, 6), ("ruth", 4, 6)])
    beside = load_dataset(DATASET, "msl", data_dir=str(folder), **options).filter(
        lambda row: row["person_id"] == "dev"
    )
    folder = write(train=[("ruth", 0, 4)], validation=[("dev", 0, 6)])
    assert beside.to_list() == load_dataset(DATASET, "msl", data_dir=str(folder), **options).to_list()


def build(encoder, held_out, past, drops=None, config="msl", **options):
    everyone = People([held_out], encoder, elsewhere=sample_people())
    chosen = RowOptions(encoder="offline", targets="all", **options)
    builder = RowBuilder(config, everyone, chosen, {held_out.person_id: past})
    made = list(builder.rows(held_out))
    if drops is not None:
        drops.update(builder.drops)
    return made


def test_a_held_out_dialogue_that_was_trained_on_is_counted_and_has_no_row(people, encoder):
    ruth, drops = people["ruth"], Counter()
    past, held_out = Person("ruth", ruth.dialogues[:4]), Person("ruth", ruth.dialogues[3:])
    rows = build(encoder, held_out, past, drops)
    assert [row["dialogue_id"] for row in rows] == ["ruth-5", "ruth-6"]
    assert drops["dialogue that repeats one that was trained on"] == 1
    assert drops["dialogue that is neither target nor reference of a row"] == 0


@pytest.mark.parametrize("options", [{}, {"reply": "all"}, {"order": "target_last"}, {"conditioning": "random"}])
def test_no_reply_to_predict_and_no_other_held_out_dialogue_steers_a_prompt(people, encoder, options):
    ruth = people["ruth"]
    past, held_out = Person("ruth", ruth.dialogues[:4]), Person("ruth", ruth.dialogues[4:])
    records = [
        {
            "person_id": "ruth",
            "dialogue_id": dialogue.dialogue_id,
            "turns": [{"role": turn.role, "text": turn.text} for turn in dialogue.turns],
        }
        for dialogue in held_out.dialogues
    ]
    first = held_out.dialogues[0].replies()[-1 if options.get("reply") != "all" else 0][0]
    for turn in records[0]["turns"][first:]:
        turn["text"] = f"i am an astronaut , {turn['text'][::-1]}"
    records[1]["turns"] = [{"role": "partner", "text": "hi"}, {"role": "self", "text": "i love two purple dogs ."}]
    changed = Person("ruth", tuple(map(jsonl.parse_dialogue, records)))
    before, after = (build(encoder, some, past, **options)[0] for some in (held_out, changed))
    assert before["prompt"] == after["prompt"]
    assert before["completion"] != after["completion"]


def test_facts_of_the_training_dialogues_are_true_of_a_held_out_one(people, encoder):
    ruth = people["ruth"]
    past, held_out = Person("ruth", ruth.dialogues[:5]), Person("ruth", ruth.dialogues[5:])
    rows = build(encoder, held_out, past, config="dpoc", criterion_type="fabrication")
    own = {turn.text for dialogue in ruth.dialogues for turn in dialogue.turns if turn.role == "self"}
    assert rows
    assert not {row["criterion"][0]["content"] for row in rows} & own
    assert not {row["rejected"][0]["content"] for row in rows} & own


# The preset of small logs


def test_small_logs_use_every_reply_in_both_stages(write):
    folder, made = write(train=[("ruth", 0, 6)]), {}
    for config in ("msl", "dpoc"):
        rows = load_dataset(DATASET, config, data_dir=str(folder), encoder="offline", preset="small_logs")["train"]
        made[config] = rows
    replies = sum(message["role"] == "assistant" for completion in made["msl"]["completion"] for message in completion)
    assert len(made["msl"]) == 6
    assert replies == len(made["dpoc"])
    assert len(load_dataset(DATASET, "msl", data_dir=str(folder), encoder="offline")["train"]) < 6


def test_a_dpoc_row_predicts_one_reply_under_the_preset_too():
    assert preset_options("small_logs", ["targets", "reply"]) == {"targets": "all", "reply": "all"}
    assert preset_options("small_logs", ["targets", "reply"], "dpoc") == {"targets": "all"}
