"""The reader of Telegram Desktop's `result.json`: one chat, all chats, and what people find in theirs."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from idl_hf.corpora.errors import MALFORMED, CorpusError, ErrorLog
from idl_hf.corpora.exports import telegram
from idl_hf.corpora.exports.entry import HALVES
from idl_hf.corpora.exports.message import Message
from tests.corpora.exports.samples import TELEGRAM, TELEGRAM_ALL, TELEGRAM_MESSAGES, pretty

EAST = timezone(timedelta(hours=2))


@pytest.fixture
def read(export):
    """Reads a chat of the messages given, or the export given."""

    def read_all(content, on_error="raise") -> tuple[list[Message], ErrorLog]:
        if isinstance(content, list):
            content = {"name": "Ann", "type": "personal_chat", "id": 1, "messages": content}
        path, log = export({"result.json": pretty(content)}), ErrorLog(on_error)
        assert telegram.found(path)
        return list(telegram.read(path, log)), log

    return read_all


def test_one_chat_with_everything_in_it(read):
    messages, _ = read(TELEGRAM)
    assert [(message.speaker, message.text, message.dropped) for message in messages] == [
        ("Оксана", "", "system line"),
        ("Оксана", "Хто привезе мангал? 🔥", ""),
        ("آرش", "من میارم، ساعت ۵ https://ex.am/ple", ""),
        ("Оксана", "", "media"),
        ("Оксана", "ось він", ""),  # a caption is the sender's words
        ("آرش", "", "media"),
        ("آرش", "", "forwarded"),  # of an account that is gone
        ("user5", "Я теж буду", ""),  # a deleted account
        ("Оксана", "", "call"),
        ("Оксана", "", "via a bot"),
    ]
    assert {message.conversation for message in messages} == {"Дача"}


def test_the_zone_is_what_the_local_clock_and_the_seconds_make(read):
    messages, _ = read(TELEGRAM)
    assert messages[1] == Message(
        "Оксана", "Хто привезе мангал? 🔥", "result.json:17", datetime(2024, 3, 9, 21, 4, 11, tzinfo=EAST), "Дача"
    )
    assert messages[4].time == datetime(2024, 3, 9, 21, 6, 30)  # exports until 2021 have the local clock alone


@pytest.mark.parametrize(
    ("date", "seconds", "time"),
    [
        ("2024-03-09T21:04:11", "nan", datetime(2024, 3, 9, 21, 4, 11)),
        ("2024-03-09T21:04:11", None, datetime(2024, 3, 9, 21, 4, 11)),
        ("yesterday", "1710011051", datetime(2024, 3, 9, 19, 4, 11, tzinfo=UTC)),
        ("2031-03-09T21:04:11", "1710011051", datetime(2024, 3, 9, 19, 4, 11, tzinfo=UTC)),
        (None, "9" * 40, None),
    ],
)
def test_a_time_that_makes_no_sense_costs_no_message(read, date, seconds, time):
    messages, _ = read([TELEGRAM_MESSAGES[1] | {"date": date, "date_unixtime": seconds}])
    assert (messages[0].text, messages[0].time) == ("Хто привезе мангал? 🔥", time)


def test_an_export_of_all_chats_has_their_names_once_each(read):
    messages, _ = read(TELEGRAM_ALL)
    assert [(message.conversation, message.speaker) for message in messages] == [
        ("Дача", "Оксана"),
        ("Дача", "Оксана"),
        ("Дача", "آرش"),
        ("personal_chat 9", "user5"),
        ("Дача (8)", "Оксана"),
    ]


def test_two_people_of_one_name_are_two_speakers(read):
    messages, _ = read([TELEGRAM_MESSAGES[1], TELEGRAM_MESSAGES[1] | {"from_id": "user78"}, TELEGRAM_MESSAGES[1]])
    assert [message.speaker for message in messages] == ["Оксана", "Оксана (user78)", "Оксана"]


def test_names_are_told_apart_in_the_whole_export(read):
    said = [TELEGRAM_MESSAGES[1] | {"from": "Anna", "from_id": number} for number in ("user1", "user2")]
    unnamed = said[1] | {"from": None}
    chats = [[said[0]], [said[1], unnamed], [said[0], said[1]]]
    chats = [
        {"name": f"chat {number}", "type": "personal_chat", "id": number, "messages": chat}
        for number, chat in enumerate(chats)
    ]
    left = {"list": [chats.pop()]}
    messages, _ = read({"about": "x", "chats": {"list": chats}, "left_chats": left})
    assert [(message.conversation, message.speaker) for message in messages] == [
        ("chat 0", "Anna"),
        ("chat 1", "Anna (user2)"),
        ("chat 1", "Anna (user2)"),
        ("chat 2", "Anna"),
        ("chat 2", "Anna (user2)"),
    ]


def test_ids_that_are_numbers_are_read(read):
    messages, _ = read([{"id": 1, "type": "message", "date": "", "from": None, "from_id": 4311, "text": "hi"}])
    assert messages[0].speaker == "4311"


@pytest.mark.parametrize(
    ("changes", "dropped"),
    [
        ({"text": " \n"}, "empty"),
        ({"text": [{"type": "plain", "text": ""}]}, "empty"),
        ({"text": "", "poll": {"question": "?"}}, "media"),
        ({"text": "", "location_information": {"latitude": 1}}, "media"),
        ({"type": "unsupported"}, "media"),
        ({"type": "service", "action": "pin_message", "actor": "Оксана"}, "system line"),
        ({"type": "service", "action": "group_call", "actor": "Оксана"}, "call"),
        ({"saved_from": "Погода"}, "forwarded"),
    ],
)
def test_what_is_no_text_says_why(read, changes, dropped):
    messages, _ = read([TELEGRAM_MESSAGES[1] | changes])
    assert [(message.text, message.dropped) for message in messages] == [("", dropped)]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (7, "Entry 2: Expected an object, found a number."),
        (None, "Entry 2: Expected an object, found null."),
        (TELEGRAM_MESSAGES[1] | {"text": 7}, "Entry 2: Expected 'text' to be a text, found a number."),
        (TELEGRAM_MESSAGES[1] | {"text": [7]}, "Entry 2: Expected an object, found a number."),
        (TELEGRAM_MESSAGES[1] | {"from": ["a"]}, "Entry 2: Expected 'from' to be a text, found a list."),
        (TELEGRAM_MESSAGES[1] | {"type": "x"}, "Entry 2: Expected the 'type' of a message."),
    ],
)
def test_a_malformed_entry_is_reported_and_the_others_are_read(read, entry, problem):
    messages, log = read([TELEGRAM_MESSAGES[1], entry, TELEGRAM_MESSAGES[2]], "skip")
    assert [message.speaker for message in messages] == ["Оксана", "آرش"]
    assert log.drops == {MALFORMED: 1}
    assert problem in log.messages[0]
    with pytest.raises(CorpusError, match=r"result\.json:21: Entry 2: Expected"):
        read([TELEGRAM_MESSAGES[1], entry])


def test_a_chat_that_is_none_is_reported_and_the_others_are_read(read):
    messages, log = read({"about": "x", "chats": {"list": [3, TELEGRAM]}}, "skip")
    assert len(messages) == 10
    assert "Entry 1: Expected a chat, found a number." in log.messages[0]


def test_an_id_that_is_nested_deep_is_none(export):
    deep = "[" * 900 + "]" * 900
    chat = f'{{"id": {deep}, "type": {deep}, "name": {deep}, "messages": [{{"type": "message", "from_id": {deep}}}]}}'
    path = export({"result.json": f'{{"about": "x", "chats": {{"list": [{chat}]}}}}'})
    messages = list(telegram.read(path, ErrorLog()))
    assert [(message.speaker, message.conversation) for message in messages] == [("deleted account", "chat 1")]


def test_half_of_an_emoji_is_mended_and_counted(export):
    chat = {"name": "A", "type": "personal_chat", "messages": [TELEGRAM_MESSAGES[1] | {"text": "hm \ud83d"}]}
    log = ErrorLog()
    messages = list(telegram.read(export({"result.json": json.dumps(chat)}), log))
    assert messages[0].text == "hm \ufffd"
    assert log.notes == {HALVES: 1}


def test_an_export_without_chats_says_what_to_tick(export):
    path = export({"result.json": json.dumps({"about": "x", "personal_information": {}})})
    assert telegram.found(path)
    with pytest.raises(CorpusError, match=r"Expected 'messages' or 'chats', found neither\. Export with the box"):
        list(telegram.read(path, ErrorLog()))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (json.dumps(TELEGRAM)[:-40], "The file ends within its JSON"),
        (json.dumps(TELEGRAM) + "}", "Expected the end of the file after its JSON, found more"),
        (json.dumps(TELEGRAM | {"messages": {}}), r"Expected '\[', found '{'"),
        ("[" * 100_000, "nested a thousand levels deep|Expected '{'"),
        ('{"name": ' + "[" * 100_000, "nested a thousand levels deep"),
        ("", "The file ends within its JSON"),
        (json.dumps(TELEGRAM).encode("utf-16"), "found UTF-16"),
        (json.dumps(TELEGRAM, ensure_ascii=False).encode("utf-8")[:-60] + b"\xff", "found the byte 0xff"),
        (b"\xff" + json.dumps(TELEGRAM).encode(), "found the byte 0xff"),
    ],
)
def test_a_broken_file_is_one_sentence(export, content, sentence):
    path = export({"result.json": content})
    with pytest.raises(CorpusError, match=sentence):
        list(telegram.read(path, ErrorLog("skip")))
