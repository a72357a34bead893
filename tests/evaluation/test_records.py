"""What was measured is on disk at once, and is not measured again."""

import pytest

from idl_hf.evaluation.records import Records


def test_records_outlive_the_process(tmp_path):
    file = tmp_path / "folder" / "nll.jsonl"
    records = Records(file)
    records.add("a", {"nll": 1.5})
    records.add("b", "text\nwith a line break and ü")
    again = Records(file)
    assert (again["a"], again["b"]) == ({"nll": 1.5}, "text\nwith a line break and ü")


def test_missing_names_each_unknown_key_once_in_order(tmp_path):
    records = Records(tmp_path / "r.jsonl")
    records.add("known", 0)
    assert records.missing(["new", "known", "other", "new"]) == [0, 2]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_that_was_cut_off_is_measured_again_and_nothing_else(tmp_path, cut):
    file = tmp_path / "r.jsonl"
    records = Records(file)
    records.add("a", "first")
    records.add("b", "second")
    file.write_bytes(file.read_bytes()[:-cut])
    again = Records(file)
    assert again.missing(["a", "b"]) == [1]
    again.add("b", "anew")
    assert Records(file)["b"] == "anew"


def test_the_very_first_line_may_be_the_one_that_was_cut_off(tmp_path):
    file = tmp_path / "r.jsonl"
    file.write_text('{"key": "a", "val')
    assert Records(file).missing(["a"]) == [0]
    assert file.read_text() == ""


def test_a_line_of_something_else_is_named_with_its_place(tmp_path):
    file = tmp_path / "r.jsonl"
    file.write_text('{"key": "a", "value": 1}\n{"no": "key"}\n')
    with pytest.raises(ValueError, match=r"r\.jsonl:2: expected an object with 'key' and 'value'"):
        Records(file)
