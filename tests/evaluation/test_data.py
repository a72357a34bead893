"""Which dialogues all lines of a table answer in."""

import json

import pytest

from idl_hf.evaluation.data import EvaluationData, spread


def record(person: str, number: int, profile: list[str]) -> str:
    turns = [
        ("partner", "hi ."),
        ("self", f"i am {person} {number} ."),
        ("partner", "ok ."),
        ("self", f"bye {number} ."),
    ]
    made = [{"role": role, "text": text} for role, text in turns]
    return json.dumps({"person_id": person, "dialogue_id": f"{person}-{number}", "profile": profile, "turns": made})


@pytest.fixture
def data(tmp_path) -> EvaluationData:
    """Eight people with two to five dialogues; every other one has a profile."""
    lines = [record(f"p{i}", number, ["i sail ."] if i % 2 else []) for i in range(8) for number in range(2 + i // 2)]
    (tmp_path / "validation.jsonl").write_text("\n".join(lines) + "\n")
    return EvaluationData("idl_hf/dialogues_idl", str(tmp_path), options={"encoder": "offline"})


KINDS = [{"conditioning": "references"}, {"conditioning": "profile"}]


def test_people_without_a_row_of_some_kind_are_left_out_and_counted(data):
    assert data.choose(KINDS, 2, None, None) == 4
    assert {person for person, _ in data.only} == {"p1", "p3", "p5", "p7"}
    chosen = [
        sorted(zip(r["person_id"], r["dialogue_id"], strict=True)) for r in (data.rows(**kind) for kind in KINDS)
    ]
    assert chosen[0] == chosen[1] == sorted(data.only)


def test_a_dialogue_without_a_profile_has_what_others_of_the_person_say(tmp_path):
    lines = [record("anna", number, profile) for number, profile in enumerate([["i sail ."], [], ["i sing ."]])]
    (tmp_path / "validation.jsonl").write_text("\n".join([*lines, record("ben", 0, [])]) + "\n")
    found = EvaluationData("idl_hf/dialogues_idl", str(tmp_path)).profiles()
    assert found == {
        ("anna", "anna-0"): ["i sail ."], ("anna", "anna-1"): ["i sail .", "i sing ."],
        ("anna", "anna-2"): ["i sing ."], ("ben", "ben-0"): [],
    }  # fmt: skip


def test_people_are_spread_and_have_enough_dialogues(data):
    assert data.choose(KINDS[:1], 3, 3, 2) == 0
    assert sorted(data.only) == [(p, f"{p}-{n}") for p in ("p2", "p4", "p7") for n in range(2)]


def test_nobody_with_enough_dialogues_is_a_sentence(data):
    with pytest.raises(ValueError, match=r"Nobody in the validation split .* has 9 dialogues"):
        data.choose(KINDS[:1], 9, None, None)


@pytest.mark.parametrize(
    ("count", "wanted", "places"), [(5, None, [0, 1, 2, 3, 4]), (3, 9, [0, 1, 2]), (9, 3, [0, 4, 8]), (0, 3, [])]
)
def test_places_are_spread_from_the_first_to_the_last(count, wanted, places):
    assert spread(count, wanted) == places
