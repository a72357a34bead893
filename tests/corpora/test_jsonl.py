"""The reader of your own logs: JSON Lines as they should be, as they are, and as anything else."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.files import find_splits
from idl_hf.corpora.jsonl import parse_turns, read_dialogues
from idl_hf.schema import Dialogue, Turn

SOUND = {
    "person_id": "ruth",
    "dialogue_id": "1",
    "turns": [{"role": "partner", "text": "hi"}, {"role": "self", "text": "hello"}],
}
TURNS = (Turn("partner", "hi"), Turn("self", "hello"))


def record(**changes) -> dict:
    """The sound dialogue with changed fields; None leaves the field out."""
    return {name: value for name, value in (SOUND | changes).items() if value is not None}


@pytest.fixture
def file(tmp_path):
    """Writes a file of lines (objects become JSON) and returns its path."""

    def write(*lines) -> Path:
        path = tmp_path / "train.jsonl"
        encoded = [
            line if isinstance(line, bytes) else line.encode() if isinstance(line, str) else json.dumps(line).encode()
            for line in lines
        ]
        path.write_bytes(b"\n".join(encoded) + b"\n")
        return path

    return write


# Sound files


def test_the_sample_data_are_sound(sample_data):
    for name, count in (("train", 72), ("validation", 24)):
        dialogues = list(read_dialogues(sample_data / f"{name}.jsonl"))
        assert len(dialogues) == count
        assert all(dialogue.texts("self") and dialogue.profile for dialogue in dialogues)


def test_a_dialogue_is_read_and_traced_to_its_line(file):
    path = file("", record(profile=["i farm."]))
    assert list(read_dialogues(path)) == [Dialogue("ruth", "1", TURNS, ("i farm.",), "train.jsonl:2")]


def test_the_chat_format_is_read_and_its_system_message_left_out(file):
    messages = [
        {"role": "system", "content": "be nice"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
    ]
    (dialogue,) = read_dialogues(file(record(turns=None, messages=messages)))
    assert dialogue.turns == TURNS


def test_candidates_are_kept():
    turns = parse_turns({"turns": [{"role": "self", "text": "hello", "candidates": ["yes", "no"]}]})
    assert turns == (Turn("self", "hello", ("yes", "no")),)


def test_times_speakers_and_the_partner_are_kept(file):
    turns = [
        {"role": "partner", "text": "hi", "time": "2026-03-01T09:30:00Z", "speaker": " Ann "},
        {"role": "self", "text": "hello", "time": None, "speaker": ""},
    ]
    (dialogue,) = read_dialogues(file(record(turns=turns, partner_id=7)))
    assert dialogue.turns == (Turn("partner", "hi", time="2026-03-01T09:30:00Z", speaker="Ann"), TURNS[1])
    assert dialogue.partner_id == "7"


def test_optional_values_that_are_none_are_left_out_and_counted(file):
    turns = [
        {"role": "partner", "text": "hi", "time": "yesterday", "speaker": ["Ann"]},
        {"role": "self", "text": "hello", "time": 1700000000},
        {"role": "self", "text": "hello", "time": "2026-03-01\ud80009:30"},
    ]
    log = ErrorLog()
    (dialogue,) = read_dialogues(file(record(turns=turns, partner_id={"id": 7})), log)
    assert dialogue.turns == (*TURNS, TURNS[1])
    assert dialogue.partner_id == ""
    assert log.notes == {
        "time that is not a time in ISO 8601, left out": 3,
        "speaker that is not a text, left out": 1,
        "partner_id that is not a text or a whole number, left out": 1,
    }
    with pytest.raises(CorpusError, match=r"Expected a time in ISO 8601, found 'yesterday'\."):
        parse_turns({"turns": turns[:1]})


def test_a_byte_order_mark_and_carriage_returns_change_nothing(file):
    line = json.dumps(SOUND).encode()
    assert [d.turns for d in read_dialogues(file(b"\xef\xbb\xbf" + line + b"\r"))] == [TURNS]


def test_texts_are_stripped(file):
    (dialogue,) = read_dialogues(file(record(turns=[{"role": "self", "text": "  hello \n"}])))
    assert dialogue.turns == (Turn("self", "hello"),)


def test_two_people_may_use_the_same_dialogue_id(file):
    assert len(list(read_dialogues(file(SOUND, record(person_id="dev"))))) == 2


# Malformed lines

MALFORMED = [
    pytest.param("{'person_id': 1}", "Expected one JSON object on this line", id="bad JSON"),
    pytest.param('{"person_id": "ruth"', "Expected one JSON object on this line", id="cut off"),
    pytest.param([SOUND], "Expected a JSON object with person_id, dialogue_id and turns, found list", id="a list"),
    pytest.param(record(person_id=None), "Expected the text fields person_id, found", id="no person"),
    pytest.param(record(dialogue_id=7.5), "Expected the text fields dialogue_id, found", id="a fraction as id"),
    pytest.param(record(person_id=""), "Expected the text fields person_id, found", id="an empty id"),
    pytest.param(record(turns=None), r"turns \(or messages\), found the fields", id="no turns"),
    pytest.param(record(turns="hi"), "to be a list of objects with role and text", id="turns as text"),
    pytest.param(record(turns=["hi"]), "to be a list of objects with role and text", id="texts as turns"),
    pytest.param(record(turns=[]), "Expected at least one turn, found none", id="no turn"),
    pytest.param(
        record(turns=None, messages=[{"role": "system", "content": "be nice"}]),
        "Expected at least one turn, found none",
        id="only a system message",
    ),
    pytest.param(
        record(turns=[SOUND["turns"][0], {"role": "bot", "text": "hi"}]),
        "Turn 2: expected the role 'self' or 'partner', found 'bot'",
        id="wrong role",
    ),
    pytest.param(record(turns=[{"text": "hi"}]), "Turn 1: expected the role .* found None", id="no role"),
    pytest.param(
        record(turns=[{"role": "self", "text": " "}]), "Expected at least one turn, found none", id="an empty text"
    ),
    pytest.param(record(turns=[{"role": "self"}]), "Turn 1: expected a text .* found None", id="no text"),
    pytest.param(record(turns=[{"role": "self", "text": 3}]), "Turn 1: expected a text .* found 3", id="a number"),
    pytest.param(record(profile="i farm."), "Expected profile to be a list of sentences", id="profile as text"),
    pytest.param(record(profile=[1]), "Expected profile to be a list of sentences", id="numbers as profile"),
    pytest.param(SOUND, "The dialogue_id '1' occurs twice for this person", id="duplicate id"),
    pytest.param(b'{"person_id": "ren\xe9"}', "Expected UTF-8 text, found the byte 0xe9", id="latin-1"),
]
TYPE_ERRORS = [
    pytest.param(record(dialogue_id="9", turns=[{"role": ["self"], "text": "hi"}]), id="role as list"),
    pytest.param(record(dialogue_id="9", turns=[{"role": "self", "text": "hi", "candidates": 5}]), id="a number"),
    pytest.param(record(dialogue_id="9", turns=[{"role": "self", "text": "hi", "candidates": "no"}]), id="a text"),
    pytest.param(record(dialogue_id="9", turns=[{"role": "self", "text": "hi", "candidates": [1]}]), id="numbers"),
    pytest.param('{"person_id": ' + "1" * 5000 + "}", id="a number of 5000 digits"),
    pytest.param("[" * 100_000, id="100,000 brackets"),
    pytest.param(record(dialogue_id="9", turns=[{"role": "self", "text": "\ud800"}]), id="half a surrogate pair"),
]


@pytest.mark.parametrize(("malformed", "message"), MALFORMED)
def test_raise_stops_with_file_and_line(file, malformed, message):
    path = file(SOUND, malformed, record(dialogue_id="2"))
    with pytest.raises(CorpusError, match=rf"{path}:2: .*{message}.*on_error='skip'"):
        list(read_dialogues(path, ErrorLog()))
    with pytest.raises(CorpusError, match=rf"{path}:2: .*{message}.*Mend the line, or delete it\.$"):
        list(read_dialogues(path))  # as a chat does, which has no such option


@pytest.mark.parametrize(("malformed", "message"), MALFORMED)
def test_skip_counts_the_line_and_reads_the_others(file, malformed, message):
    path, log = file(SOUND, malformed, record(dialogue_id="2")), ErrorLog("skip")
    assert [dialogue.dialogue_id for dialogue in read_dialogues(path, log)] == ["1", "2"]
    assert len(log.messages) == 1
    assert log.messages[0].startswith(f"{path}:2: ")


@pytest.mark.parametrize("malformed", TYPE_ERRORS)
def test_values_of_a_wrong_type_are_malformed_too(file, malformed):
    log = ErrorLog("skip")
    assert [dialogue.dialogue_id for dialogue in read_dialogues(file(SOUND, malformed), log)] == ["1"]
    assert len(log.messages) == 1


# Files of a folder


def names(prefix: str) -> list[str]:
    return [f"{prefix}.jsonl"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("valid", "validation"),
        ("validation", "validation"),
        ("val", "validation"),
        ("dev", "validation"),
        ("test", "test"),
    ],
)
def test_a_file_is_the_split_of_its_name(tmp_path, name, split):
    (tmp_path / f"{name}.jsonl").touch()
    assert find_splits(tmp_path, names, "train.jsonl") == {split: [str(tmp_path / f"{name}.jsonl")]}


def test_a_folder_without_the_files_tells_what_it_holds(tmp_path):
    for number in range(14):
        (tmp_path / f"{number:02}.csv").touch()
    with pytest.raises(CorpusError, match=r"Expected train\.jsonl in .*found: 00\.csv, 01\.csv.*11\.csv \.\.\."):
        find_splits(tmp_path, names, "train.jsonl")


def test_an_empty_folder_holds_nothing(tmp_path):
    with pytest.raises(CorpusError, match="found: nothing"):
        find_splits(tmp_path, names, "train.jsonl")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"nowhere' does not exist. data_dir must be a folder with train\.jsonl"):
        find_splits(tmp_path / "nowhere", names, "train.jsonl")


# Anything else


def check_any(path: Path, content: bytes, on_error: str) -> None:
    path.write_bytes(content)
    try:
        dialogues = list(read_dialogues(path, ErrorLog(on_error)))
    except CorpusError as error:
        dialogues, stopped_at = [], str(error)
    else:
        stopped_at = ""
    assert not stopped_at or stopped_at.startswith(f"{path}:")
    assert not stopped_at or on_error == "raise" or "found UTF-16" in stopped_at
    assert all(dialogue.turns and dialogue.person_id and dialogue.dialogue_id for dialogue in dialogues)
    assert all(turn.text.strip() for dialogue in dialogues for turn in dialogue.turns)


pieces = st.sampled_from(
    [json.dumps(SOUND).encode(), b"\n", b"{", b"}", b'"', b"\xff", b"\xef\xbb\xbf", b"\x00", b"1"]
)
modes = st.sampled_from(["raise", "skip"])


@given(st.binary(max_size=80) | st.lists(pieces, max_size=12).map(b"".join), modes)
@example(b"\xef\xbb\xbf", "raise")
@example(b"null\nNaN\n", "skip")
def test_any_file_yields_dialogues_or_a_corpus_error(tmp_path_factory, content, on_error):
    check_any(tmp_path_factory.getbasetemp() / "fuzz.jsonl", content, on_error)


scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "hi", "self", "user", "partner"])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["role", "text", "content"]), inner, max_size=3)
    ),
    max_leaves=6,
)
turn_objects = st.fixed_dictionaries(
    {"role": values, "text": values}, optional={"content": values, "candidates": values}
)
any_records = st.fixed_dictionaries(
    {},
    optional={
        "person_id": values,
        "dialogue_id": values,
        "profile": values,
        "turns": values | st.lists(turn_objects, max_size=2),
        "messages": values,
    },
)


@given(any_records.map(json.dumps), modes)
@example(json.dumps(record(turns=[{"role": ["self"], "text": "hi"}])), "raise")
def test_any_json_yields_dialogues_or_a_corpus_error(tmp_path_factory, line, on_error):
    check_any(tmp_path_factory.getbasetemp() / "fuzz.jsonl", line.encode(), on_error)
