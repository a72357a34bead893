"""One person among strangers: the same replies under everybody's past dialogues."""

import math
from dataclasses import replace

import pytest

from idl_hf.cache import Cache
from idl_hf.corpora import jsonl
from idl_hf.evaluation.likeness import _likeness, lineup_rows, measure_likeness
from idl_hf.evaluation.measured_model import MeasuredModel
from idl_hf.models.likelihood import SummedNLL
from idl_hf.rows.negatives import sample_people
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import People
from idl_hf.schema import Dialogue, Person, Turn

OPTIONS = RowOptions(encoder="offline")


@pytest.fixture(scope="module")
def persons():
    ruth, *others = sample_people()
    return [Person("ruth", ruth.dialogues[:4]), *others]


@pytest.fixture(scope="module")
def held_out():
    return list(sample_people()[0].dialogues[4:])


@pytest.fixture(scope="module")
def people(persons, encoder):
    return People(persons, encoder)


def test_figures_are_means_over_dialogues_and_add_up():
    scored = [
        [SummedNLL(10, 5), SummedNLL(20, 5), SummedNLL(15, 5)],
        [SummedNLL(30, 10), SummedNLL(20, 10), SummedNLL(60, 10)],
    ]
    likeness = _likeness(["1", "2"], scored)
    assert likeness.own_nll == pytest.approx((2 + 3) / 2)
    assert likeness.other_nll == pytest.approx((3.5 + 4) / 2)
    assert likeness.gain.mean == pytest.approx(likeness.other_nll - likeness.own_nll)
    assert likeness.gain.low <= likeness.gain.mean <= likeness.gain.high
    assert (likeness.hits, likeness.people, likeness.dialogues) == (0.5, 3, 2)


def test_a_tie_is_no_hit_and_one_dialogue_has_no_interval():
    likeness = _likeness(["1"], [[SummedNLL(5, 5), SummedNLL(5, 5)]])
    assert likeness.hits == 0
    assert math.isnan(likeness.gain.low)


def test_everybody_is_shown_with_as_many_dialogues_of_their_own(persons, held_out, people):
    some = [persons[0], persons[1], Person("kai", persons[2].dialogues[:2])]
    rows = lineup_rows(held_out, some, people, OPTIONS)
    assert rows["given"][:] == ["ruth", "dev", "kai"] * 2
    assert rows["dialogue_id"][:] == ["ruth-5"] * 3 + ["ruth-6"] * 3
    assert {len(starts) for starts in rows["dialogue_starts"]} == {3}, "two references, and the dialogue itself"
    for row, person in zip(rows, some * 2, strict=True):
        own = {turn.text for dialogue in person.dialogues for turn in dialogue.turns}
        shown = [text for message in row["prompt"][:-1] for text in message["content"].split("\n")]
        assert set(shown[:-1]) <= own
    first, second = rows[0]["completion"], rows[3]["completion"]
    assert [row["completion"] for row in rows] == [first] * 3 + [second] * 3


def test_own_turns_are_listed_where_the_options_say_so(persons, held_out, people):
    rows = lineup_rows(held_out, persons[:3], people, replace(OPTIONS, reference_turns="self"))
    for row, person in zip(rows, [*persons[:3]] * 2, strict=True):
        system, partner = row["prompt"]
        own = {f"- {text}" for dialogue in person.dialogues for text in dialogue.texts("self")}
        assert set(system["content"].split("\n")[1:]) <= own
        assert (system["role"], partner["role"]) == ("system", "user")


def test_nothing_that_is_predicted_steers_a_prompt(persons, held_out, people):
    first = held_out[0]
    end = first.replies()[0][0]
    said = tuple(Turn(turn.role, f"i sail to mars {turn.text[::-1]}") for turn in first.turns[end:])
    changed = Dialogue("ruth", first.dialogue_id, (*first.turns[:end], *said))
    before, after = (lineup_rows([dialogue], persons[:3], people, OPTIONS) for dialogue in (first, changed))
    assert before["prompt"][:] == after["prompt"][:]
    assert before["completion"][:] != after["completion"][:]


def test_a_prompt_that_is_too_long_takes_as_many_dialogues_from_everybody(
    persons, held_out, people, tiny_llama, tokenizer, tmp_path
):
    tiny_llama().save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    model = MeasuredModel(str(tmp_path / "tiny"), Cache(tmp_path / "measured.sqlite"))
    talker = Person("talker", tuple(  # whose dialogues are three times as long
        Dialogue("talker", dialogue.dialogue_id, dialogue.turns * 3) for dialogue in persons[3].dialogues
    ))  # fmt: skip
    rows, scored = lineup_rows(held_out, [*persons[:3], talker], people, OPTIONS), []
    scores, model.scores = model.scores, lambda rows, label: scored.append(rows) or scores(rows, label)
    likeness = measure_likeness(model, rows, 1000, 4)
    dropped = scored[0]["dropped_references"][:]
    assert any(dropped)
    assert dropped == [dropped[0]] * 4 + [dropped[4]] * 4
    assert (likeness.people, likeness.dialogues) == (4, 2)
    assert likeness.own_nll > 0


def test_a_dialogue_that_the_person_begins_has_a_prompt(persons, people):
    record = {"person_id": "ruth", "dialogue_id": "7", "turns": [
        {"role": "self", "text": "ahoy"}, {"role": "partner", "text": "hi"}, {"role": "self", "text": "calm seas"},
    ]}  # fmt: skip
    rows = lineup_rows([jsonl.parse_dialogue(record)], persons[:2], people, OPTIONS)
    assert [message["role"] for message in rows[0]["completion"]] == ["assistant", "user", "assistant"]
    assert rows[0]["prompt"][-1]["role"] == "user"
