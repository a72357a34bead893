"""Files of replies, and what they are called."""

import pytest

from idl_hf.evaluation.reply_file import GivenReply, file_names, files_of, read_replies, write_replies


def test_what_is_written_is_read(tmp_path):
    texts = ["", " two  spaces ", 'a "quoted"\nline\u2028and \\ more', "\u00e9\u4e2d\U0001f600\x00"]
    replies = [GivenReply("a dialogue", turn, text, "ann", turn + 1) for turn, text in enumerate(texts)]
    write_replies(tmp_path / "new" / "r.jsonl", replies)
    assert read_replies(tmp_path / "new" / "r.jsonl") == replies


def test_a_file_need_not_say_whose_replies_they_are(tmp_path):
    (tmp_path / "r.jsonl").write_text('\n{"dialogue_id": " a ", "turn": 1, "text": "x", "model": "any"}\n')
    assert read_replies(tmp_path / "r.jsonl") == [GivenReply("a", 1, "x", "", 2)]


@pytest.mark.parametrize(
    "line",
    ['{"dialogue_id": "a", "turn": 1, "text": "x", "person_id": 7}', "[1]", '"a"', "[" * 100_000],
    ids=["person", "list", "text", "deep"],
)
def test_a_line_that_is_none_is_told(line, tmp_path):
    (tmp_path / "r.jsonl").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=r'r.jsonl:1: Expected \{"dialogue_id": text'):
        read_replies(tmp_path / "r.jsonl")


def test_names_of_lines_become_names_of_files_that_do_not_clash():
    names = [
        "IDL",
        "idl",
        "a/b",
        "a:b",
        "a-b",
        "IDL, MSL alone",
        "..",
        "",
        "/",
        "x" * 300,
        "x" * 301,
        "\u4e2d",
        "con\n",
    ]
    files = file_names(names)
    assert list(files) == names
    assert len({file.casefold() for file in files.values()}) == len(names)
    assert files["IDL, MSL alone"] == "IDL, MSL alone"
    assert file_names(["IDL", "ICL"]) == {"IDL": "IDL", "ICL": "ICL"}
    for file in files.values():
        assert len(file) < 100
        assert file.isascii()
        assert not set(file) & set('/\\:*?"<>|\n')
        assert not file.startswith(".")


def test_a_folder_of_a_machine_is_in_no_name():
    for path in ("/home/joe/runs/msl", "/home/joe/runs/msl/", r"C:\\joe\\msl"):
        assert file_names([path])[path].startswith("msl-")
    assert len(set(file_names(["a/msl", "b/msl"]).values())) == 2


def test_a_line_has_a_file_for_each_test():
    assert files_of({"movie_idl": ["IDL"]}) == {"movie_idl": {"IDL": "replies/IDL.jsonl"}}
    assert files_of({"movie_idl": ["IDL", "ICL"], "light_idl": ["IDL"]}) == {
        "movie_idl": {"IDL": "replies/movie_idl, IDL.jsonl", "ICL": "replies/movie_idl, ICL.jsonl"},
        "light_idl": {"IDL": "replies/light_idl, IDL.jsonl"},
    }
