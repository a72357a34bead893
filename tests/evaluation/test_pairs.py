"""The pairs of a human evaluation: who replies to what, and files of replies that cannot be used."""

import json
from pathlib import Path

import pytest

from idl_hf.evaluation.data import DialogueKey, EvaluationData, keys_of
from idl_hf.evaluation.judging import JudgeArguments, open_ratings
from idl_hf.evaluation.pairs import as_judged, spread_over_people
from idl_hf.evaluation.ratings import Rating
from idl_hf.evaluation.ratings_file import held, read_ratings
from idl_hf.evaluation.targets import Target
from idl_hf.models.identity import save_recipe
from idl_hf.models.responder import LocalModel, Sampling
from idl_hf.prompting import render

# Two own turns in a row are one reply; ann opens her second dialogue
TURNS = {
    "ann-0": "p:hi|s:hello|p:and you ?|s:fine|s:thanks",
    "ann-1": "s:morning|p:oh hi|s:it rains",
    "ann-2": "p:news ?|s:none|p:really ?|s:really",
    "bo-0": "p:hey|s:ho|p:where ?|s:home",
    "bo-1": "p:again ?|s:yes",
    "cy-0": "p:alone ?|s:yes, with one dialogue",
}
REPLIES = {"ann-0": [1, 3], "ann-1": [0, 2], "ann-2": [1, 3], "bo-0": [1, 3], "bo-1": [1]}


def turns_of(name: str) -> list[dict[str, str]]:
    roles = {"p": "partner", "s": "self"}
    return [{"role": roles[turn[0]], "text": turn[2:]} for turn in TURNS[name].split("|")]


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    lines = [
        json.dumps({"person_id": name.partition("-")[0], "dialogue_id": name, "turns": turns_of(name)})
        for name in TURNS
    ]
    (folder / "validation.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def replies_file(path: Path, word: str, places: dict[str, list[int]] = REPLIES) -> str:
    lines = [
        json.dumps({"dialogue_id": name, "turn": turn, "text": f"{word}\u00a0{name} {turn} "})
        for name, turns in places.items()
        for turn in turns
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def systems(tmp_path) -> dict[str, str]:
    names = {"judge_a": "a", "judge_b": "b"}
    return {option: replies_file(tmp_path / f"{word}.jsonl", word) for option, word in names.items()}


def begun(logs, tmp_path, **options):
    ratings = open_ratings(JudgeArguments(**{"ratings": str(tmp_path / "r.jsonl"), **options}), str(logs), "offline")
    ratings.close()
    return ratings.study


def test_two_files_are_paired_where_both_reply_with_what_was_said_before(logs, tmp_path, systems):
    study = begun(logs, tmp_path, **systems)
    assert study.systems == (systems["judge_a"], systems["judge_b"])
    assert {pair.dialogue_id: 0 for pair in study.pairs}.keys() == REPLIES.keys()  # cy has nothing to refer to
    assert len(study.pairs) == 9
    for pair in study.pairs:
        place = f"{pair.dialogue_id} {pair.turn}"
        assert pair.replies == (f"a {place}", f"b {place}")
        said = turns_of(pair.dialogue_id)[: pair.turn]
        assert "\n".join(turn.text for turn in pair.context) == "\n".join(turn["text"] for turn in said)
        others = [name for name in TURNS if name.startswith(pair.person_id) and name != pair.dialogue_id]
        past = {"\n".join(turn.text for turn in dialogue) for dialogue in pair.past}
        assert past == {"\n".join(turn["text"] for turn in turns_of(name)) for name in others}
    opening = next(pair for pair in study.pairs if pair.turn == 0)
    assert opening.context == ()
    assert study.made_from["split"] == "validation"


def test_a_model_replies_to_the_conversation_as_it_went(logs, tmp_path, systems, tiny_llama, tokenizer):
    folder = tmp_path / "model"
    model = tiny_llama(seed=1, tie_word_embeddings=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    study = begun(logs, tmp_path, judge_a=str(folder), judge_b=systems["judge_b"], items=3)
    prompts = [render(pair.past, pair.context).messages for pair in study.pairs]
    local = LocalModel.from_pretrained(str(folder))
    expected = dict(local.replies(prompts, Sampling(40)))
    assert [pair.replies[0] for pair in study.pairs] == [as_judged(expected[i]) for i in range(3)]
    assert len({pair.replies[0] for pair in study.pairs}) > 1
    assert sorted(file.name for file in tmp_path.iterdir() if "written" in file.name) == []


def test_a_model_is_asked_as_it_was_trained_and_raters_see_whole_dialogues(
    logs, tmp_path, systems, tiny_llama, tokenizer
):
    folders = {name: tmp_path / name for name in ("lists", "base")}
    for number, folder in enumerate(folders.values()):
        tiny_llama(seed=number, tie_word_embeddings=False).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    listed = {"reference_turns": "self", "references": 12, "clusters": 1}
    save_recipe(folders["lists"], listed, 2048)
    study = begun(logs, tmp_path, judge_a=str(folders["base"]), judge_b=str(folders["lists"]), items=4)
    assert [made["reference_turns"] for made in study.made_from["prompts"]] == ["self", "self"]  # base tells of none
    data = EvaluationData("idl_hf/dialogues_idl", str(logs), options={"encoder": "offline", **listed})
    rows = data.rows("references")
    prompts = dict(zip(keys_of(rows), zip(rows["prompt"], rows["completion"], strict=True), strict=True))
    for pair in study.pairs:
        assert {turn.role for dialogue in pair.past for turn in dialogue} == {"self", "partner"}
    for place, folder in enumerate(folders.values()):
        local = LocalModel.from_pretrained(str(folder))
        for pair in study.pairs:
            prompt, completion = prompts[DialogueKey(pair.person_id, pair.dialogue_id)]
            assert prompt[0]["role"] == "system"
            said = {turn["text"] for turn in turns_of(pair.dialogue_id)[: pair.turn]}
            before = [message for message in completion if message["content"] in said]
            replied = dict(local.replies([[*prompt, *before]], Sampling(40)))[0]
            assert pair.replies[1 - place] == as_judged(replied)


def test_lists_that_are_asked_for_are_no_less_whole_dialogues_to_raters(logs, tmp_path, systems):
    study = begun(logs, tmp_path, **systems, dataset_options={"reference_turns": "self"})
    assert study.pairs == begun(logs, tmp_path, **systems, ratings=str(tmp_path / "whole.jsonl")).pairs


def test_both_replies_are_written_alike_whoever_wrote_them():
    assert as_judged("  it\u2019s\u00a0late\u200b \n") == "it's late"


@pytest.mark.parametrize(("count", "people"), [(2, 2), (3, 3), (4, 3), (6, 3), (99, 3)])
def test_targets_are_spread_over_people_and_then_over_their_dialogues(count, people):
    sizes = {"p": [5, 5, 5], "q": [1], "r": [3, 3]}
    targets = [
        Target(DialogueKey(person, f"{person}{number}"), reply, reply)
        for person, dialogues in sizes.items()
        for number, replies in enumerate(dialogues)
        for reply in range(replies)
    ]
    chosen = spread_over_people(targets, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(targets))
    assert len({target.dialogue.person_id for target in chosen}) == people
    if count == 6:  # p, q and r once, then p and r, then p
        assert sorted(target.dialogue.person_id for target in chosen) == ["p", "p", "p", "q", "r", "r"]
        assert len({target.dialogue for target in chosen}) == 6
    assert chosen == spread_over_people(targets, count)


# Going on, and what is refused


def test_a_study_goes_on_as_it_was_begun(logs, tmp_path, systems, capsys):
    study = begun(logs, tmp_path, **systems, items=3)
    assert len(study.pairs) == 3
    Path(systems["judge_a"]).unlink()
    for options in ({}, systems):  # the systems are asked for nothing any more
        ratings = open_ratings(JudgeArguments(ratings=str(tmp_path / "r.jsonl"), **options))
        ratings.add(Rating("ann", 1, "persona", "win", 0))
        ratings.close()
        assert ratings.study == study
    assert len(read_ratings(tmp_path / "r.jsonl").ratings) == 2
    assert "A study that was begun before: 3 pairs of replies to judge. Ratings" in capsys.readouterr().out
    swapped = {"judge_a": systems["judge_b"], "judge_b": systems["judge_a"]}
    with pytest.raises(ValueError, match=r"is of '.*a.jsonl' against '.*b.jsonl', not of"):
        begun(logs, tmp_path, **swapped)
    open_ratings(JudgeArguments(ratings=str(tmp_path / "r.jsonl"))).close()  # was let go of


def test_a_study_that_another_app_begins_is_not_begun_beside_it(logs, tmp_path, systems):
    other = held(tmp_path / "r.jsonl")
    with pytest.raises(ValueError, match=r"'.*r.jsonl' is open in another app\. Close that one"):
        begun(logs, tmp_path, **systems)
    assert not (tmp_path / "r.jsonl").exists()
    other.release()
    assert len(begun(logs, tmp_path, **systems).pairs) == 9


def test_a_study_that_is_not_there_leaves_nothing_behind(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file of ratings"):
        open_ratings(JudgeArguments(ratings=str(tmp_path / "r.jsonl")))
    assert not list(tmp_path.iterdir())


def test_identical_replies_are_told(logs, tmp_path, systems, capsys):
    replies_file(Path(systems["judge_b"]), "a")
    assert begun(logs, tmp_path, **systems).asked == []
    assert "A study: 0 pairs of replies to judge; 9 more are identical replies" in capsys.readouterr().out


def test_replies_that_cannot_be_asked_of_both_are_noted(logs, tmp_path, systems):
    replies_file(Path(systems["judge_a"]), "a", {"ann-0": [1], "cy-0": [1], "nobody": [1]})
    study = begun(logs, tmp_path, **systems)
    assert [(pair.dialogue_id, pair.turn) for pair in study.pairs] == [("ann-0", 1)]
    assert study.notes == (
        f"2 of the 3 replies in '{systems['judge_a']}' are to nothing that both systems can be asked.",
        f"8 of the 9 replies in '{systems['judge_b']}' are to nothing that both systems can be asked.",
    )


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["{"], r"a.jsonl:1: Expected {\"dialogue_id\": text"),
        (['{"dialogue_id": "ann-0", "turn": 1}'], "a.jsonl:1: Expected"),
        (['{"dialogue_id": "ann-0", "turn": "1", "text": "x"}'], "a.jsonl:1: Expected"),
        (['{"dialogue_id": "ann-0", "turn": true, "text": "x"}'], "a.jsonl:1: Expected"),
        (['{"dialogue_id": 1, "turn": 1, "text": "x"}'], "a.jsonl:1: Expected"),
        (['{"dialogue_id": "ann-0", "turn": 1, "text": "x"}'] * 2, "a.jsonl:2: The file has two replies to turn 1"),
        (['{"dialogue_id": "ann-0", "turn": 2, "text": "x"}'], "has no reply that can be judged: none of its 1 "),
        ([""], "holds no replies"),
    ],
)
def test_a_file_of_replies_that_cannot_be_judged_is_a_sentence(logs, tmp_path, systems, lines, problem):
    Path(systems["judge_a"]).write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=problem):
        begun(logs, tmp_path, **systems)
    assert not (tmp_path / "r.jsonl").exists()


def test_a_reply_that_may_be_of_two_people_is_refused(tmp_path, systems):
    lines = [
        json.dumps({"person_id": person, "dialogue_id": name, "turns": turns_of(like)})
        for person in ("ann", "bo")
        for name, like in (("one", "bo-0"), ("two", "bo-1"))
    ]
    (tmp_path / "validation.jsonl").write_text("\n".join(lines) + "\n")
    for file in systems.values():
        replies_file(Path(file), "x", {"one": [1]})
    with pytest.raises(ValueError, match=r"Turn 1 of 'one' in .* is one of several people"):
        begun(tmp_path, tmp_path, **systems)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"judge_a": "x"}, "pass two systems and a file for the ratings"),
        ({"judge_a": "x", "judge_b": "y"}, "pass two systems and a file for the ratings"),
        ({"judge_b": "y", "ratings": "r"}, "pass two systems and a file for the ratings"),
        ({"judge_a": "x", "judge_b": "x", "ratings": "r"}, "are both 'x'"),
        ({"ratings": "r", "items": 0}, "--items must be 1 or more, found 0"),
    ],
)
def test_options_that_make_no_study_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        JudgeArguments(**options)
