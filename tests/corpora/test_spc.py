"""Synthetic-Persona-Chat: its CSV as JSON Lines, on the real validation split and on little files written here."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import load_dataset

import idl_hf  # noqa: F401 (registers the datasets)
from idl_hf.corpora import jsonl, spc
from idl_hf.corpora.convai2 import group_persons
from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.spc import convert, read_dialogues
from idl_hf.schema import Turn
from tests.corpora.as_ever import digest_of

ROOT = Path(__file__).parents[2]
HEADER = "user 1 personas,user 2 personas,Best Generated Conversation\n"
ROW = '"I farm.\nI sow.","I sail.\nI swim.","User 1: Hi!\nUser 2: ""Ahoy!""\nUser 1: Bye."\n'
TURNS = (Turn("self", "Hi!"), Turn("partner", '"Ahoy!"'), Turn("self", "Bye."))


@pytest.fixture
def file(tmp_path):
    """Writes a CSV file and returns its path."""

    def write(content: str | bytes, name: str = "spc_train.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture(scope="session")
def real(shared) -> Path:
    return shared / "data" / "spc" / "Synthetic-Persona-Chat_valid.csv"


def said(path: Path, log: ErrorLog | None = None) -> list[tuple[str, str]]:
    """Of the first dialogue, whose person is user 1."""
    return [(turn.role, turn.text) for turn in next(read_dialogues(path, log)).turns]


def row(conversation: str) -> str:
    quoted = conversation.replace('"', '""')
    return f'{HEADER}"I farm.","I sail.","{quoted}"\n'


# The real split


def test_the_real_split_is_read_whole_but_for_one_conversation(real):
    log = ErrorLog()
    dialogues = list(read_dialogues(real, log))
    assert len(dialogues) == 1998
    assert log.drops == {"dialogue that does not say who speaks, or in which one is silent": 2}
    assert log.notes == {"stage direction left out of a conversation": 55}
    assert all(len(dialogue.profile) in (4, 5) for dialogue in dialogues)
    texts = [turn.text for dialogue in dialogues for turn in dialogue.turns]
    assert not [text for text in texts if "User 1:" in text or "User 2:" in text or text.endswith(" *")]
    assert digest_of(dialogues[:20])[:16] == "9c10255950876622"


def test_real_people_are_the_hundred_personas_of_convai2(real):
    dialogues = list(read_dialogues(real))
    people, profiles = (
        Counter(dialogue.person_id for dialogue in group_persons(dialogues, person))
        for person in ("persona", "profile")
    )
    assert (len(people), min(people.values())) == (100, 16)
    assert (len(profiles), min(profiles.values())) == (540, 1)


def test_the_real_split_goes_through_the_converter_unchanged(real, tmp_path):
    (converted,) = convert([real], tmp_path)
    assert (converted.dialogues, converted.persons, converted.log.drops.total()) == (1998, 100, 2)
    read = [replace(dialogue, source="") for dialogue in jsonl.read_dialogues(tmp_path / "validation.jsonl")]
    assert read == [replace(dialogue, source="") for dialogue in group_persons(list(read_dialogues(real)))]


# Rows


def test_each_user_in_turn_is_the_person(file):
    first, second = read_dialogues(file(HEADER + ROW))
    assert (first.profile, first.turns) == (("I farm.", "I sow."), TURNS)
    assert second.profile == ("I sail.", "I swim.")
    assert [turn.role for turn in second.turns] == ["partner", "self", "partner"]


def test_a_dialogue_is_traced_to_its_row_and_the_line_where_it_begins(file):
    found = [(d.dialogue_id, d.source) for d in read_dialogues(file(HEADER + ROW + "\n" + ROW))]
    assert found[1:3] == [("row-1-user-2", "spc_train.csv:2"), ("row-2-user-1", "spc_train.csv:8")]


def test_columns_may_come_in_any_order_and_with_others(file):
    content = (
        'Best Generated Conversation,id,user 2 personas,user 1 personas\n"User 1: Hi\nUser 2: Ho",7,I sail.,I farm.\n'
    )
    first, second = read_dialogues(file(content))
    assert (first.profile, second.profile) == (("I farm.",), ("I sail.",))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.replace(b"\n", b"\r"),
        lambda content: content.rstrip(b"\n"),
    ],
    ids=["byte order mark", "CRLF", "lone CR", "no end"],
)
def test_how_lines_end_changes_nothing(file, change):
    sound = list(read_dialogues(file(HEADER + ROW + ROW)))
    assert list(read_dialogues(file(change((HEADER + ROW + ROW).encode())))) == sound


# Conversations


def test_lines_that_follow_an_utterance_belong_to_it(file):
    path = file(row("User 1: So:\n\nFlour.\n  Water.\nUser 2:\nFine.\u2028Really."))
    assert said(path) == [("self", "So:\nFlour.\nWater."), ("partner", "Fine.\u2028Really.")]


def test_bold_speakers_are_read(file):
    assert said(file(row("*User 1:* Hi!\n\n*User 2:* I *do*"))) == [("self", "Hi!"), ("partner", "I *do*")]
    assert said(file(row("* User 1: Hi! *\n* User 2: *sighs* Ho."))) == [("self", "Hi!"), ("partner", "*sighs* Ho.")]


def test_stage_directions_are_left_out_and_counted(file):
    log = ErrorLog()
    path = file(row("* * *\nUser 1: Hi\n[Later]\nUser 2: Ho\n(At home)\n*At sea*\n[They leave"))
    assert said(path, log) == [("self", "Hi"), ("partner", "Ho")]
    assert log.notes.total() == 5


def test_a_user_twice_in_a_row_has_two_turns(file):
    assert said(file(row("User 1: Hi\nUser 1: You?\nUser 2: Ho"))) == [
        ("self", "Hi"),
        ("self", "You?"),
        ("partner", "Ho"),
    ]


@pytest.mark.parametrize(
    "conversation", ["", "Hi\nUser 1: Hi\nUser 2: Ho", "User 1: Hi", "User 1: Hi\nUser 2: ", "A: Hi\nB: Ho", "[Later]"]
)
def test_a_conversation_that_does_not_say_who_speaks_is_left_out_and_counted(file, conversation):
    log = ErrorLog()
    assert list(read_dialogues(file(row(conversation)), log)) == []
    assert log.drops == {"dialogue that does not say who speaks, or in which one is silent": 2}


# Malformed files

MALFORMED = [
    pytest.param('"I farm.","I sail."\n', "Expected as many values in this row as there are columns", id="few values"),
    pytest.param('"a","b","c","d"\n', "Expected as many values in this row as there are columns", id="many values"),
    pytest.param(ROW.replace("I sail.\nI swim.", " \n"), "sentences in the column 'user 2 personas'", id="no persona"),
    pytest.param(ROW.encode().replace(b"Hi", b"H\xe9"), "Expected UTF-8 text in this row", id="latin-1"),
]


@pytest.mark.parametrize(("malformed", "message"), MALFORMED)
def test_a_malformed_row_stops_or_loses_two_dialogues(file, malformed, message):
    malformed = malformed if isinstance(malformed, bytes) else malformed.encode()
    path = file((HEADER + ROW).encode() + malformed + ROW.encode())
    with pytest.raises(CorpusError, match=rf"{path}:7: .*{message}.*on_error='skip'"):
        list(read_dialogues(path))
    log = ErrorLog("skip")
    assert [d.dialogue_id[:5] for d in read_dialogues(path, log)] == ["row-1", "row-1", "row-3", "row-3"]
    assert (len(log.messages), log.drops.total()) == (1, 2)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        pytest.param("", 1, "expected the columns user 1 personas.*found ''", id="empty"),
        pytest.param("a,b\n1,2\n", 1, "expected the columns .*found 'a, b'", id="another table"),
        pytest.param(HEADER + ROW + ROW.replace('."\n', "."), 7, "unexpected end of data", id="open quote"),
        pytest.param(HEADER + ROW + ROW.replace('""', '"') + ROW, 7, "',' expected after '\"'", id="single quotes"),
        pytest.param(HEADER + ROW + "x" * 200_000, 7, "field larger than field limit", id="giant field"),
    ],
)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_file_whose_rows_cannot_be_told_apart_is_refused_in_any_case(file, content, line, message, on_error):
    path = file(content)
    with pytest.raises(CorpusError, match=rf"{path}:{line}: Expected the row of a CSV file .*{message}"):
        list(read_dialogues(path, ErrorLog(on_error)))


# The converter


def test_files_become_splits_that_load(file, tmp_path):
    train = file(HEADER + ROW + ROW.replace("Hi!", "Hey!"))
    valid = file(HEADER + ROW.replace("farm", "plough"), "spc_valid.csv")
    assert [converted.dialogues for converted in convert([train, valid], tmp_path / "out")] == [4, 2]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train.jsonl", "validation.jsonl"]
    rows = load_dataset("idl_hf/dialogues_idl", "sessions", data_dir=str(tmp_path / "out"))
    assert {split: len(part) for split, part in rows.items()} == {"train": 4, "validation": 2}
    assert rows["train"][0]["turns"][0]["text"] == "Hi!"


def test_nothing_is_written_where_one_file_cannot_be_read(file, tmp_path):
    train, valid = file(HEADER + ROW), file(HEADER, "spc_valid.csv")
    with pytest.raises(CorpusError, match=r"spc_valid\.csv:1: Expected at least one conversation"):
        convert([train, valid], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_interrupted_write_leaves_the_old_file(file, tmp_path, monkeypatch):
    convert([file(HEADER + ROW)], tmp_path / "out")
    before = (tmp_path / "out" / "train.jsonl").read_bytes()
    monkeypatch.setattr(spc.json, "dumps", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert([file(HEADER + ROW + ROW)], tmp_path / "out")
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [before]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["spc.csv"], r"spc\.csv: Expected a name that ends in _train\.csv, _valid\.csv or _test\.csv"),
        (["a_train.csv", "b_train.csv"], r"Expected one file for each split, found .*a_train\.csv, .*b_train\.csv"),
    ],
)
def test_names_that_tell_no_split_are_refused(file, tmp_path, names, message):
    with pytest.raises(CorpusError, match=message):
        convert([file(HEADER + ROW, name) for name in names], tmp_path / "out")


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "examples" / "convert_spc.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_the_script_prints_counts_that_add_up(file, tmp_path):
    path = file(HEADER + ROW + 'I farm.,I sail.,"A: Hi\nB: Ho"\n' + "x\n")
    done = run(str(path), "--output_dir", str(tmp_path / "out"), "--on_error", "skip")
    assert done.returncode == 0, done.stderr
    assert f"{path}: 6 dialogues" in done.stdout
    assert f"wrote 2 of 2 people to {tmp_path / 'out' / 'train.jsonl'}" in done.stdout
    assert done.stdout.count("left out 2 x dialogue that ") == 2
    assert f"{path}:9: Expected as many values" in done.stdout


def test_the_script_says_what_is_malformed_without_a_traceback(file, tmp_path):
    done = run(str(file(HEADER + "x\n")), "--output_dir", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr.startswith("convert_spc: ")
    assert "spc_train.csv:2: Expected as many values" in done.stderr
