"""Replies that systems reply instead of: where they are, and which of them a file is to."""

import json

from datasets import Dataset

from idl_hf.evaluation.data import DialogueKey, EvaluationData, Spoken
from idl_hf.evaluation.reply_file import GivenReply
from idl_hf.evaluation.targets import Target, match, targets_of
from idl_hf.prompting import SILENCE

# Own turns and the partner's come several in a row
TALK = "s:morning|s:all|p:oh hi|p:you here ?|s:i am|p:and ?|s:it|s:rains|p:bye"


def data_of(folder) -> EvaluationData:
    roles = {"p": "partner", "s": "self"}
    turns = [{"role": roles[turn[0]], "text": turn[2:]} for turn in TALK.split("|")]
    dialogues = [{"person_id": "ann", "dialogue_id": name, "turns": turns} for name in ("one", "two")]
    (folder / "validation.jsonl").write_text("".join(json.dumps(dialogue) + "\n" for dialogue in dialogues))
    return EvaluationData("idl_hf/dialogues_idl", str(folder))


def test_what_a_person_says_begins_at_a_turn_and_has_a_partner_before_it(tmp_path):
    spoken = data_of(tmp_path).spoken()
    assert list(spoken) == [DialogueKey("ann", "one"), DialogueKey("ann", "two")]
    assert spoken[DialogueKey("ann", "two")] == [
        Spoken(0, SILENCE, "morning\nall"), Spoken(4, "oh hi\nyou here ?", "i am"), Spoken(6, "and ?", "it\nrains"),
    ]  # fmt: skip


def test_rows_of_the_last_reply_are_to_the_last(tmp_path):
    whole = [{"role": role, "content": ""} for role in ("assistant", "user", "assistant", "user", "assistant")]
    rows = [{"person_id": "ann", "dialogue_id": "two", "completion": whole[-1:]}]
    rows.append({"person_id": "ann", "dialogue_id": "one", "completion": whole})
    two, one = DialogueKey("ann", "two"), DialogueKey("ann", "one")
    assert targets_of(Dataset.from_list(rows), data_of(tmp_path)) == [
        Target(two, -1, 6), Target(one, -3, 0), Target(one, -2, 4), Target(one, -1, 6),
    ]  # fmt: skip


def test_a_hash_tells_dialogues_from_others_by_what_is_said(tmp_path):
    (tmp_path / "other").mkdir()
    data, other = data_of(tmp_path), data_of(tmp_path / "other")
    assert data.about()["dialogues"] == other.about()["dialogues"]
    file = tmp_path / "other" / "validation.jsonl"
    file.write_text(file.read_text().replace("bye", "Bye", 1))
    assert data.about()["dialogues"] != other.about()["dialogues"]


def test_replies_find_their_place_by_the_dialogue_or_else_the_person():
    ann, bo = (Target(DialogueKey(person, "one"), -1, 3) for person in ("ann", "bo"))
    alone = Target(DialogueKey("bo", "two"), -1, 1)
    given = [
        GivenReply("two", 1, "x"), GivenReply("one", 3, "which", line=2), GivenReply("one", 3, "y", "bo"),
        GivenReply("two", 1, "twice", "bo"), GivenReply("two", 1, "not hers", "ann"), GivenReply("two", 2, "no turn"),
    ]  # fmt: skip
    found = match(given, [ann, bo, alone])
    assert {target: reply.text for target, reply in found.replies.items()} == {alone: "x", bo: "y"}
    assert [reply.text for reply in found.double] == ["twice"]
    assert found.unclear == [given[1]]
    assert [reply.text for reply in found.foreign] == ["not hers", "no turn"]
