"""The readers of ShareGPT's and OpenAI's files."""

import json

import pytest

from idl_hf.corpora.errors import MALFORMED, CorpusError, ErrorLog
from idl_hf.corpora.exports import openai, sharegpt
from idl_hf.corpora.exports.message import Message
from tests.corpora.exports.samples import OPENAI, SHAREGPT, lines, pretty

SHARED = [
    ("kw1", "system", "", "system line"),
    ("kw1", "user", "Où est le chat ?", ""),
    ("kw1", "assistant", "Sur le toit.", ""),
    ("kw1", "tool", "", "tool"),
    ("conversation 2", "Wanjiru", "Habari ya asubuhi", ""),
    ("conversation 2", "assistant", "", "empty"),
]
ASKED = [
    ("conversation 1", "developer", "", "system line"),
    ("conversation 1", "user", "สวัสดี\nว่าไง", ""),
    ("conversation 1", "assistant", "", "tool"),
    ("conversation 1", "tool", "", "tool"),
    ("conversation 1", "assistant", "สิบสอง", ""),
    ("conversation 1", "user", "", "media"),
    ("conversation 1", "Dao", "ขอบคุณ", ""),
    ("conversation 2", "user", "hi", ""),
]


def shown(messages) -> list[tuple[str, str, str, str]]:
    return [(message.conversation, message.speaker, message.text, message.dropped) for message in messages]


@pytest.mark.parametrize("write", [lines, pretty, json.dumps])
@pytest.mark.parametrize(("reader", "records", "expected"), [(sharegpt, SHAREGPT, SHARED), (openai, OPENAI, ASKED)])
def test_lines_and_lists_are_read_alike(export, reader, records, expected, write):
    path = export({"data.jsonl": write(records)})
    assert reader.found(path)
    assert shown(reader.read(path, ErrorLog())) == expected


def test_blank_lines_and_a_mark_of_the_byte_order_are_passed_over(export):
    path = export({"data.jsonl": "\ufeff" + "\n\n".join(map(json.dumps, [SHAREGPT[1]] * 2))})
    messages = list(sharegpt.read(path, ErrorLog()))
    assert [(message.place, message.conversation) for message in messages[1:3]] == [
        ("data.jsonl:1", "conversation 1"),
        ("data.jsonl:3", "conversation 3"),
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_one_object_over_many_lines_is_read(export, indent):
    path = export({"chat.json": json.dumps(OPENAI[0], indent=indent)})
    assert openai.found(path)
    assert shown(openai.read(path, ErrorLog())) == ASKED[:-1]


def test_objects_over_many_lines_one_after_the_other_are_read(export):
    path = export({"chat.json": "\n".join(map(pretty, OPENAI))})
    assert shown(openai.read(path, ErrorLog())) == ASKED


def test_a_place_is_a_line(export):
    messages = list(openai.read(export({"data.jsonl": lines(OPENAI)}), ErrorLog()))
    assert messages[1] == Message("user", "สวัสดี\nว่าไง", "data.jsonl:1", None, "conversation 1")
    assert messages[-1].place == "data.jsonl:2"


def test_an_id_that_occurs_twice_is_two_conversations(export):
    path = export({"data.jsonl": lines([SHAREGPT[0], SHAREGPT[0]])})
    names = {message.conversation for message in sharegpt.read(path, ErrorLog())}
    assert names == {"kw1", "kw1 (data.jsonl:2)"}


@pytest.mark.parametrize(
    ("turn", "speaker", "text", "dropped"),
    [
        ({"from": "Human", "value": "a"}, "user", "a", ""),
        ({"from": "chatgpt", "value": "a"}, "assistant", "a", ""),
        ({"role": "user", "content": "a"}, "user", "a", ""),  # OpenAI's names within ShareGPT's
        ({"from": "function_call", "value": "{}"}, "function_call", "", "tool"),
        ({"role": "assistant", "tool_calls": [{}]}, "assistant", "", "tool"),
        ({"role": "assistant", "content": None, "refusal": "no"}, "assistant", "", "empty"),
        ({"role": "user", "content": ["a", {"type": "image_url"}]}, "user", "a", ""),
        ({"role": "user", "content": [{"type": "input_text", "text": "a"}]}, "user", "a", ""),
        ({"role": "user", "content": []}, "user", "", "empty"),
    ],
)
def test_turns(export, turn, speaker, text, dropped):
    path = export({"data.json": pretty([{"conversations": [turn]}])})
    assert shown(sharegpt.read(path, ErrorLog())) == [("conversation 1", speaker, text, dropped)]


@pytest.mark.parametrize(
    ("turn", "problem"),
    [
        (None, "Expected an object, found null."),
        ({"value": "a"}, "Expected who says a turn as its 'from' or 'role'."),
        ({"from": "human"}, "Expected the text of a turn as its 'value' or 'content'."),
        ({"from": "human", "value": 3}, "Expected 'value' to be a text, found a number."),
        ({"from": "human", "value": {"a": 1}}, "Expected 'value' to be a text, found an object."),
        ({"role": "user", "content": [3]}, "Expected an object, found a number."),
    ],
)
def test_a_malformed_turn_is_reported_and_the_others_are_read(export, turn, problem):
    path, log = (
        export({"data.jsonl": lines([{"conversations": [turn, *SHAREGPT[0]["conversations"]]}])}),
        ErrorLog("skip"),
    )
    assert len(list(sharegpt.read(path, log))) == 4
    assert log.drops == {MALFORMED: 1}
    assert log.messages[0].endswith(f"data.jsonl:1: {problem}")


def test_lines_that_are_broken_are_reported_and_the_others_are_read(export):
    broken = [b"{", b"[1]", b"null", b'{"messages": 3}', b'{"turns": []}', b"\xff", b"[" * 5000, b'{"messages": []} x']
    path = export({"data.jsonl": lines(OPENAI).encode() + b"\n".join(broken)})
    log = ErrorLog("skip")
    assert shown(openai.read(path, log)) == ASKED
    assert [message.partition("data.jsonl:")[2][:60] for message in log.messages] == [
        "3: Expected one JSON object on this line: Expecting property",
        "4: Expected an object with the turns of a conversation as 'm",
        "5: Expected an object with the turns of a conversation as 'm",
        "6: Expected an object with the turns of a conversation as 'm",
        "7: Expected an object with the turns of a conversation as 'm",
        "8: Expected UTF-8 text, found the byte 0xff.",
        "9: Expected one JSON object on this line: maximum recursion ",
        "10: Expected one JSON object on this line: Extra data: line ",
    ]
    assert log.messages[3].endswith("found a number.")
    with pytest.raises(CorpusError, match=r"data\.jsonl:3: Expected one JSON object"):
        list(openai.read(path, ErrorLog()))


def test_a_list_that_is_cut_is_one_sentence(export):
    path = export({"data.json": json.dumps(OPENAI)[:-30]})
    with pytest.raises(CorpusError, match="The file ends within its JSON"):
        list(openai.read(path, ErrorLog("skip")))
