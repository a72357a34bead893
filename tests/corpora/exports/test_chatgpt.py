"""The reader of ChatGPT's `conversations.json`: a tree of which one branch is the conversation."""

import json
import zipfile
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.corpora.errors import MALFORMED, CorpusError, ErrorLog
from idl_hf.corpora.exports import chatgpt
from idl_hf.corpora.exports.message import Message
from tests.corpora.exports.samples import CHATGPT, CHATGPT_NODES, chatgpt_conversation, chatgpt_node

SPOKEN = {"content_type": "multimodal_text", "parts": [
    {"content_type": "audio_transcription", "text": "bom dia", "direction": "in"},
    {"content_type": "audio_asset_pointer", "asset_pointer": "x"}]}  # fmt: skip


@pytest.fixture
def read(export):
    def read_all(*conversations, on_error="raise") -> tuple[list[Message], ErrorLog]:
        path, log = export({"conversations.json": json.dumps(conversations)}), ErrorLog(on_error)
        return list(chatgpt.read(path, log)), log

    return read_all


def texts(messages) -> list[str]:
    return [message.text for message in messages if not message.dropped]


def test_the_branch_that_was_shown_last_is_the_conversation(read):
    messages, _ = read(*CHATGPT)
    assert [(message.speaker, message.text, message.dropped) for message in messages] == [
        ("system", "", "system line"),
        ("user", "明天下雨吗？", ""),
        ("assistant", "", "thoughts of the model"),
        ("assistant", "", "tool"),
        ("tool", "", "tool"),
        ("assistant", "会，记得带伞。", ""),
        ("user", "e esta nuvem?", ""),
        ("assistant", "É um cúmulo.", ""),
        ("user", "", "media"),
        ("user", "", "other branch"),
        ("assistant", "", "other branch"),
        ("assistant", "", "other branch"),
        ("user", "oi", ""),
    ]
    assert [message.conversation for message in messages[-2:]] == ["天气", "天气 (id-1)"]
    assert messages[1].time == datetime(2023, 7, 22, 4, 26, 40, 500_000, UTC)
    assert messages[1].place == "conversations.json:1, entry 1"


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        ("a3", ["明天下雨吗？", "会，记得带伞。", "e esta nuvem?", "Um cirro, talvez?"]),
        ("a0", ["明天下雨么", "I cannot know."]),
        (None, ["明天下雨吗？", "会，记得带伞。", "e esta nuvem?", "Um cirro, talvez?"]),  # the last of the file
        ("gone", ["明天下雨吗？", "会，记得带伞。", "e esta nuvem?", "Um cirro, talvez?"]),
        (["a0"], ["明天下雨吗？", "会，记得带伞。", "e esta nuvem?", "Um cirro, talvez?"]),
    ],
)
def test_each_leaf_has_its_branch(read, leaf, expected):
    messages, _ = read(chatgpt_conversation(CHATGPT_NODES, leaf))
    assert texts(messages) == expected
    assert len(messages) == len(CHATGPT_NODES) - 1


def test_a_circle_of_parents_ends(read):
    nodes = [chatgpt_node("a", "b", "user", text="one"), chatgpt_node("b", "a", "assistant", text="two")]
    messages, _ = read(chatgpt_conversation(nodes, "b"))
    assert texts(messages) == ["one", "two"]


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([*"abcdefg", None]), min_size=1),
    st.sampled_from("abcdefg"),
)
def test_every_node_is_yielded_once_whatever_the_tree(parents, leaf):
    nodes = {key: {"parent": parent} for key, parent in parents.items()}
    branch = chatgpt._branch(nodes, leaf)
    assert len(set(branch)) == len(branch) > 0
    assert set(branch) <= set(nodes)
    assert branch[-1] == (leaf if leaf in nodes else list(nodes)[-1])


@pytest.mark.parametrize(
    ("changes", "text", "dropped"),
    [
        ({"content": SPOKEN}, "bom dia", ""),
        ({"content": {"content_type": "text", "parts": ["a", "", "b"]}}, "a\nb", ""),
        ({"content": {"content_type": "text", "parts": []}}, "", "empty"),
        ({"content": {"content_type": "user_editable_context", "user_profile": "x"}}, "", "system line"),
        ({"content": {"content_type": "never seen", "text": "x"}}, "", "tool"),
        ({"metadata": {"is_visually_hidden_from_conversation": True}}, "", "system line"),
        ({"recipient": "browser"}, "hi", ""),  # of a user
    ],
)
def test_what_is_said_and_what_is_not(read, changes, text, dropped):
    messages, _ = read(chatgpt_conversation([chatgpt_node("a", None, "user", text="hi", **changes)], "a"))
    assert [(message.text, message.dropped) for message in messages] == [(text, dropped)]


@pytest.mark.parametrize(("recipient", "dropped"), [("all", ""), ("browser", "tool"), (None, "")])
def test_what_the_model_says_to_a_tool_is_nothing_said(read, recipient, dropped):
    node = chatgpt_node("a", None, "assistant", text='search("rain")', recipient=recipient)
    messages, _ = read(chatgpt_conversation([node], "a"))
    assert [message.dropped for message in messages] == [dropped]


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (7, "Expected an object, found a number."),
        ({"message": "hi"}, "Expected an object, found a text."),
        ({"message": {"author": None}}, "Expected an object, found null."),
        ({"message": {"author": {"role": ""}}}, "Expected the 'role' of a message's author."),
        (chatgpt_node("x", None, "user", content=None), "Expected an object, found null."),
        (
            chatgpt_node("x", None, "user", content={"content_type": "text", "parts": "hi"}),
            "Expected the 'parts' of a message to be a list, found a text.",
        ),
    ],
)
def test_a_malformed_message_is_reported_and_the_others_are_read(read, node, problem):
    conversation = chatgpt_conversation([chatgpt_node("a", "x", "user", text="hi")], "a")
    conversation["mapping"]["x"] = node
    messages, log = read(conversation, on_error="skip")
    assert texts(messages) == ["hi"]
    assert log.drops == {MALFORMED: 1}
    assert log.messages[0].endswith(f"conversations.json:1: Entry 1: {problem}")


@pytest.mark.parametrize(
    ("conversation", "kind"), [(None, "null"), ({"title": "x"}, "an object"), ({"mapping": []}, "an object")]
)
def test_a_conversation_that_is_none_is_reported(read, conversation, kind):
    messages, log = read(conversation, CHATGPT[1], on_error="skip")
    assert texts(messages) == ["oi"]
    assert log.messages[0].endswith(f"Entry 1: Expected a conversation with its 'mapping', found {kind}.")


def test_without_a_title_a_conversation_has_its_number(read):
    messages, _ = read(*(chatgpt_conversation(CHATGPT_NODES, "a3", title) for title in (None, "")))
    assert {message.conversation for message in messages} == {"conversation 1", "conversation 2"}


def test_the_zip_that_the_mail_links_to_is_read(tmp_path):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("chat.html", "<html>")
        archive.writestr("user.json", "{}")
        archive.writestr("conversations.json", json.dumps(CHATGPT))
    assert chatgpt.found(path)
    assert len(list(chatgpt.read(path, ErrorLog()))) == 13


def test_a_truncated_file_is_one_sentence(export):
    path = export({"conversations.json": json.dumps(CHATGPT)[:-3]})
    assert chatgpt.found(path)
    with pytest.raises(CorpusError, match="The file ends within its JSON"):
        list(chatgpt.read(path, ErrorLog("skip")))
