"""Tables of messages: whose columns they are, times in many spellings, rows that are none."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from idl_hf.corpora.errors import MALFORMED, CorpusError, ErrorLog
from idl_hf.corpora.exports.csv import found, read

IMAZING = """\
Chat Session,Message Date,Delivered Date,Service,Type,Sender ID,Sender Name,Status,Subject,Text,Attachment,Mime
Zoé,2024-01-13 21:05:33,,iMessage,Incoming,+33612345678,Zoé,Read,,"Salut, ça va ?",,
Zoé,2024-01-13 21:06:00,,iMessage,Outgoing,,,Read,,"Oui
et toi ?",,
Zoé,2024-01-13 21:07:00,,iMessage,Incoming,+33612345678,Zoé,Read,,,IMG_1.heic,Image
Zoé,2024-01-13 21:08:00,,iMessage,Notification,,,Read,,Zoé named the conversation,,
Zoé,2024-01-13 21:09:00,,iMessage,Incoming,+33612345678,Zoé,Read,,,,
"""


@pytest.fixture
def table(tmp_path):
    def write(content: str | bytes) -> Path:
        path = tmp_path / "messages.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def messages(path: Path, log: ErrorLog | None = None, **options: str):
    return list(read(path, log or ErrorLog(), **options))


def test_the_columns_of_imazing_are_known(table):
    path = table(IMAZING)
    assert found(path)
    assert [(m.speaker, m.text, m.dropped, m.place) for m in messages(path)] == [
        ("Zoé", "Salut, ça va ?", "", "messages.csv:2"),
        ("me", "Oui\net toi ?", "", "messages.csv:4"),
        ("Zoé", "", "media", "messages.csv:5"),
        ("", "", "system line", "messages.csv:6"),
        ("Zoé", "", "empty", "messages.csv:7"),
    ]
    assert messages(path)[0].time == datetime(2024, 1, 13, 21, 5, 33)
    assert {m.conversation for m in messages(path)} == {"Zoé"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_any_delimiter_is_read_and_a_byte_order_mark_changes_nothing(table, delimiter):
    path = table("\ufeff" + "\n".join(map(delimiter.join, (("sender", "body"), ("Ann", "hi"), ("Ben", "yes")))))
    assert found(path)
    assert [(m.speaker, m.text, m.time) for m in messages(path)] == [("Ann", "hi", None), ("Ben", "yes", None)]


def test_columns_can_be_named(table):
    path = table("wer;was;wann;wo\nAnn;hi;13.01.2024 21:05;See\n")
    assert not found(path)
    with pytest.raises(
        CorpusError, match=r":1: Expected a first line .* the text, found wer, was, .* --text_column NAME"
    ):
        messages(path)
    named = {"speaker_column": "wer", "text_column": "was", "time_column": "wann", "conversation_column": "wo"}
    (message,) = messages(path, **named)
    assert (message.speaker, message.text, message.conversation) == ("Ann", "hi", "See")
    assert message.time == datetime(2024, 1, 13, 21, 5)
    with pytest.raises(CorpusError, match=r"Expected the column 'who' \(--speaker_column\), found wer, was, "):
        messages(path, **{**named, "speaker_column": "who"})


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("1705179933", datetime(2024, 1, 13, 21, 5, 33, tzinfo=UTC)),
        ("1705179933000", datetime(2024, 1, 13, 21, 5, 33, tzinfo=UTC)),
        ("2024-01-13T21:05:33Z", datetime(2024, 1, 13, 21, 5, 33, tzinfo=UTC)),
        ("2024-01-13 21:05:33 UTC", datetime(2024, 1, 13, 21, 5, 33)),
        ("1/13/2024 9:05 PM", datetime(2024, 1, 13, 21, 5)),
        ("13/01/2024, 21:05:33", datetime(2024, 1, 13, 21, 5, 33)),
        ("1705179933.5", datetime(2024, 1, 13, 21, 5, 33, 500_000, tzinfo=UTC)),
        ("2024-01-13 9:05 PM", datetime(2024, 1, 13, 21, 5)),
        ("Jan 13, 2024 9:05:33 PM", datetime(2024, 1, 13, 21, 5, 33)),
        ("13 January 2024 21:05", datetime(2024, 1, 13, 21, 5)),
        ("", None),
    ],
)
def test_times_are_read_however_they_are_written(table, written, time):
    (message,) = messages(table(f'time,speaker,text\n"{written}",Ann,hi\n'))
    assert message.time == time


def test_rows_that_are_none_are_reported_with_their_line(table):
    path, log = table("time,speaker,text\nnever,Ann,hi\n2024-01-13,Ann\n,,hi\n,Ann,yes\n\n"), ErrorLog("skip")
    assert [(m.speaker, m.dropped) for m in messages(path, log)] == [("", "no speaker"), ("Ann", "")]
    assert log.drops == {MALFORMED: 2}
    assert log.messages == [
        f"{path}:2: Expected a time, found 'never'.",
        f"{path}:3: Expected 3 columns as in the first line, found 2.",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"speaker,text\nAnn,caf\xe9\n", "Expected UTF-8 text, found the byte 0xe9"),
        (b'speaker,text\nAnn,"' + b"a" * 200_000, "The table cannot be read: .* Is a quote left open"),
        (b"", "Expected a first line that names the columns"),
    ],
)
def test_a_table_that_cannot_be_read_is_told_in_a_sentence(table, content, problem):
    with pytest.raises(CorpusError, match=problem):
        messages(table(content))


SENT_AND_RECEIVED = [("1", "2"), ("received", "sent"), ("Incoming", "Outgoing")]


@pytest.mark.parametrize("column", ["address", "contact_name", "Handle", "phone"])
@pytest.mark.parametrize(("received", "sent"), SENT_AND_RECEIVED)
def test_a_column_of_the_other_person_tells_chats_apart_and_what_is_sent_is_ours(table, column, received, sent):
    rows = [f"{name},170517993{i},{direction},{direction} {name}" for i, (name, direction) in enumerate(
        (name, direction) for name in ("Mo", "Ida") for direction in (received, sent)
    )]  # fmt: skip
    path = table("\n".join([f"{column},date,type,body", *rows, f"Ida,1705179939,{received},", ""]))
    assert found(path)
    assert [(m.conversation, m.speaker, m.text, m.dropped) for m in messages(path)] == [
        ("Mo", "Mo", f"{received} Mo", ""),
        ("Mo", "me", f"{sent} Mo", ""),
        ("Ida", "Ida", f"{received} Ida", ""),
        ("Ida", "me", f"{sent} Ida", ""),
        ("Ida", "Ida", "", "empty"),
    ]


def test_numbers_without_a_name_are_chats_of_their_own(table):
    rows = [
        "(Unknown),+4930,1,hi",
        ",+4931,1,hey",
        "Mo,+4932,1,yo",
        "(Unknown),+4930,2,who is this?",
        "(Unknown),,1,me",
    ]
    path = table("\n".join(["contact_name,address,type,body", *rows, ""]))
    assert [(m.conversation, m.speaker) for m in messages(path)] == [
        ("+4930", "+4930"), ("+4931", "+4931"), ("Mo", "Mo"), ("+4930", "me"), ("(Unknown)", "(Unknown)"),
    ]  # fmt: skip


def test_what_was_never_sent_is_not_the_other_persons(table):
    path = table("address,type,body\n+4930,1,hi\n+4930,3,hm\n+4930,failed,hello?\n")
    assert [(m.speaker, m.text, m.dropped) for m in messages(path)] == [
        ("+4930", "hi", ""), ("me", "", "not sent"), ("me", "", "not sent"),
    ]  # fmt: skip


def test_a_chat_of_its_own_column_comes_before_the_other_person(table):
    path = table("group,address,type,body\nLake,Mo,1,hi\n,Mo,2,yes\n")
    assert [(m.conversation, m.speaker) for m in messages(path)] == [("Lake", "Mo"), ("Mo", "me")]


def test_a_senders_column_is_the_speaker_whatever_the_direction(table):
    path = table("sender,type,body\nAnn,sent,hi\n,2,yes\nBen,received,no\n")
    assert [(m.conversation, m.speaker) for m in messages(path)] == [("", "Ann"), ("", "me"), ("", "Ben")]


def test_the_other_person_without_a_direction_says_what_is_missing(table):
    path = table("handle,text\nmo,hi\nida,yes\n")
    with pytest.raises(
        CorpusError, match=r":1: Expected a column such as direction .*; found handle, text\. Pass --sp"
    ):
        messages(path)
    assert [(m.conversation, m.speaker) for m in messages(path, speaker_column="handle")] == [("", "mo"), ("", "ida")]
