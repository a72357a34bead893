"""The reader of SillyTavern's chats."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.corpora.errors import MALFORMED, ErrorLog
from idl_hf.corpora.exports import sillytavern
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.sillytavern import time_of
from tests.corpora.exports.samples import SILLYTAVERN, lines


@pytest.fixture
def read(export):
    def read_all(*records, on_error="raise") -> tuple[list[Message], ErrorLog]:
        path, log = export({"chat.jsonl": lines(list(records))}), ErrorLog(on_error)
        assert sillytavern.found(path)
        return list(sillytavern.read(path, log)), log

    return read_all


def test_a_chat_with_everything_in_it(read):
    messages, _ = read(*SILLYTAVERN)
    assert [(message.speaker, message.text, message.dropped) for message in messages] == [
        ("Seraphina", "*She looks up.* Welcome back.", ""),
        ("Jisoo", "안녕 🌿", ""),
        ("Seraphina", "", "empty"),
        ("System", "", "system line"),
        ("Narrator", "", "system line"),
        ("Jisoo", "잘 자", ""),  # named by the header
    ]
    assert messages[0] == Message(
        "Seraphina", "*She looks up.* Welcome back.", "chat.jsonl:2", datetime(2023, 6, 19, 14, 20)
    )


def test_a_chat_without_a_header_loses_no_message(read):
    messages, _ = read(*SILLYTAVERN[1:3])
    assert [message.speaker for message in messages] == ["Seraphina", "Jisoo"]


def test_a_header_is_only_the_first_line(read):
    messages, log = read(SILLYTAVERN[0], SILLYTAVERN[1], SILLYTAVERN[0], on_error="skip")
    assert len(messages) == 1
    assert log.messages[0].endswith("chat.jsonl:3: Expected the text of a message as its 'mes', found null.")


def test_a_folder_of_chats_has_a_header_each(export):
    unnamed = {"is_user": False, "mes": "hi"}
    path = export(
        {
            "a.jsonl": lines([SILLYTAVERN[0], unnamed]),
            "b/c.jsonl": lines([{"user_name": "Jisoo", "character_name": "Coco"}, unnamed]),
            "d.jsonl": lines([unnamed]),
        }
    )
    assert sillytavern.found(path)
    log = ErrorLog("skip")
    assert [(message.conversation, message.speaker) for message in sillytavern.read(path, log)] == [
        ("a", "Seraphina"),
        ("b/c", "Coco"),
    ]
    assert log.messages[0].endswith("d.jsonl:1: Expected the name of who says this, found none.")


@pytest.mark.parametrize(
    ("date", "time"),
    [
        ("June 19, 2023 2:20pm", datetime(2023, 6, 19, 14, 20)),
        ("June 19, 2023 12:05 AM", datetime(2023, 6, 19, 0, 5)),
        ("Dec 1, 2023 12:05:09 PM", datetime(2023, 12, 1, 12, 5, 9)),
        ("2023-6-19 @14h 21m 5s 250ms", datetime(2023, 6, 19, 14, 21, 5, 250_000)),
        ("2023-06-19@14h21m05s", datetime(2023, 6, 19, 14, 21, 5)),
        ("2023-06-19@14h21m05s007ms", datetime(2023, 6, 19, 14, 21, 5, 7_000)),
        ("2023-06-19T14:21:05.250Z", datetime(2023, 6, 19, 14, 21, 5, 250_000, UTC)),
        (1687184500000, datetime(2023, 6, 19, 14, 21, 40, tzinfo=UTC)),
        ("1687184500000", datetime(2023, 6, 19, 14, 21, 40, tzinfo=UTC)),
        ("Juny 32, 2023 2:20pm", None),
        ("Abc 3, 2023 2:20pm", None),
        ("2023-6-19 @25h 21m 5s", None),
        ("²", None),
        ("", None),
        (None, None),
        ({}, None),
    ],
)
def test_the_ways_to_write_a_time(date, time):
    assert time_of(date) == time


@given(st.text() | st.integers() | st.from_regex(sillytavern._WORDS) | st.from_regex(sillytavern._UNITS))
def test_any_date_is_a_time_or_none(date):
    time = time_of(date)
    assert time is None or time.isoformat()


@pytest.mark.parametrize(
    ("changes", "dropped"),
    [
        ({"is_system": True}, "system line"),  # also what was hidden from the model
        ({"extra": {"type": "narrator"}}, "system line"),
        ({"extra": {"api": "x"}}, ""),
        ({"extra": None}, ""),
        ({"mes": "", "extra": {"image": "x.png"}}, "media"),
    ],
)
def test_what_is_said_and_what_is_not(read, changes, dropped):
    messages, _ = read(SILLYTAVERN[0], SILLYTAVERN[2] | changes)
    assert [message.dropped for message in messages] == [dropped]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ([1], "Expected an object, found a list."),
        ({"name": "A", "is_user": True}, "Expected the text of a message as its 'mes', found null."),
        ({"name": "A", "mes": 4}, "Expected the text of a message as its 'mes', found a number."),
        ({"name": 4, "mes": "a"}, "Expected 'name' to be a text, found a number."),
    ],
)
def test_a_malformed_message_is_reported_and_the_others_are_read(read, record, problem):
    messages, log = read(SILLYTAVERN[0], record, SILLYTAVERN[2], on_error="skip")
    assert [message.text for message in messages] == ["안녕 🌿"]
    assert log.drops == {MALFORMED: 1}
    assert log.messages[0].endswith(f"chat.jsonl:2: {problem}")
