"""The reader of Instagram's and Messenger's `message_1.json`."""

import zipfile
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.corpora.errors import MALFORMED, CorpusError, ErrorLog
from idl_hf.corpora.exports import instagram
from idl_hf.corpora.exports.instagram import mended
from idl_hf.corpora.exports.message import Message
from tests.corpora.exports.samples import (
    INSTAGRAM_MESSAGES,
    INSTAGRAM_OLDER,
    SAMPLES,
    as_meta_writes,
    instagram_chat,
    pretty,
)

ALL = [
    ("Lotte", "", "system line"),
    ("Lotte", "Grüß dich, wie war's?", ""),
    ("José Núñez", "¡Qué guay! नमस्ते 🎉", ""),
    ("Lotte", "schau mal: https://ex.am/ple", ""),
    ("Lotte", "", "media"),
    ("José Núñez", "", "call"),
    ("Lotte", "", "media"),
    ("José Núñez", "", "reaction"),
    ("Lotte", "", "reaction"),
    ("José Núñez", "", "deleted"),
]


def shown(messages) -> list[tuple[str, str, str]]:
    return [(message.speaker, message.text, message.dropped) for message in messages]


@pytest.fixture
def read(export):
    """Reads a chat of the messages given, newest first."""

    def read_all(*messages, on_error="raise") -> tuple[list[Message], ErrorLog]:
        path, log = export({"message_1.json": as_meta_writes(instagram_chat(list(messages)))}), ErrorLog(on_error)
        assert instagram.found(path)
        return list(instagram.read(path, log)), log

    return read_all


def says(content: object, sender: object = "Lotte Ast", **changes) -> dict:
    return {"sender_name": sender, "timestamp_ms": 1700000000000, "content": content} | changes


def test_a_folder_of_two_files_is_read_from_the_oldest_message_on(export):
    path = export(SAMPLES["instagram"])
    assert instagram.found(path)
    messages = list(instagram.read(path, ErrorLog()))
    assert shown(messages) == ALL
    assert {message.conversation for message in messages} == {"José Núñez"}
    assert messages[2] == Message(
        "José Núñez",
        "¡Qué guay! नमस्ते 🎉",
        "message_1.json:59",
        datetime(2023, 11, 14, 22, 16, 40, tzinfo=UTC),
        "José Núñez",
    )


def test_the_tenth_file_is_older_than_the_second(export):
    chats = {
        f"message_{number}.json": pretty(instagram_chat([says(str(number), timestamp_ms=1700000000000 - number)]))
        for number in (1, 2, 10, 11)
    }
    assert [message.text for message in instagram.read(export(chats), ErrorLog())] == ["11", "10", "2", "1"]


def test_of_one_file_alone_the_older_ones_are_missed_aloud(export):
    path, log = export(SAMPLES["instagram"]) / "message_1.json", ErrorLog()
    assert shown(instagram.read(path, log)) == ALL[2:]
    assert log.notes.total() == 1
    log = ErrorLog()
    assert shown(instagram.read(path.with_name("message_2.json"), log)) == ALL[:2]
    assert log.notes.total() == 0


def test_a_zip_of_many_chats_is_read_chat_by_chat(export, tmp_path):
    chats = {
        "your_instagram_activity/messages/inbox/jose_1/message_1.json": INSTAGRAM_MESSAGES[-1:],
        "your_instagram_activity/messages/inbox/lotte_2/message_1.json": INSTAGRAM_OLDER[:1],
    }
    path = tmp_path / "instagram.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("media/posts.json", "[1]")
        archive.writestr("__MACOSX/inbox/message_1.json", "junk")
        for name, messages in chats.items():
            archive.writestr(name, as_meta_writes(instagram_chat(messages)))
    assert instagram.found(path)
    told = [(message.conversation, message.text) for message in instagram.read(path, ErrorLog())]
    assert [text for _, text in told] == ["¡Qué guay! नमस्ते 🎉", "Grüß dich, wie war's?"]
    assert told[0][0] == "José Núñez"  # the title, which both have here
    assert told[1][0].startswith("José Núñez (")


def test_a_file_that_has_the_oldest_first_is_not_turned_round(read):
    messages, _ = read(says("a", timestamp_ms=1), says("b", timestamp_ms=2))
    assert [message.text for message in messages] == ["a", "b"]


def test_what_messenger_writes_of_encrypted_chats(export):
    chat = {
        "participants": ["Zoë", "Bo"],
        "threadName": "Bo_3",
        "messages": [
            {"isUnsent": True, "media": [], "senderName": "Bo", "text": "", "timestamp": 3, "type": "text"},
            {
                "isUnsent": False,
                "media": [{"uri": "x"}],
                "senderName": "Bo",
                "text": "",
                "timestamp": 2,
                "type": "media",
            },
            {
                "isUnsent": False,
                "media": [],
                "senderName": "Zoë",
                "text": "naïve café",
                "timestamp": 1,
                "type": "text",
            },
        ],
    }
    path = export({"Bo_3.json": pretty(chat)})
    assert instagram.found(path)
    assert shown(instagram.read(path, ErrorLog())) == [
        ("Zoë", "naïve café", ""),
        ("Bo", "", "media"),
        ("Bo", "", "deleted"),
    ]


@pytest.mark.parametrize(
    ("content", "dropped"),
    [
        ("Liked a message", "reaction"),
        ("Reacted 🙏🏽 to your message ", "reaction"),
        ("Hat mit ❤️ auf deine Nachricht reagiert", "reaction"),
        ("Le gustó un mensaje", "reaction"),
        ("A réagi avec 😂 à votre message", "reaction"),
        ("Reagiu com ❤️ à sua mensagem", "reaction"),
        ("Lotte Ast sent an attachment.", "media"),
        ("Lotte Ast hat einen Anhang gesendet.", "media"),
        ("Lotte started an audio call.", "call"),
        ("You missed a video call from Lotte.", "call"),
        ("Video chat ended", "call"),
        ("Lotte named the group Schach.", "system line"),
        ("You changed the theme to Love.", "system line"),
        ("Lotte added Bo to the group.", "system line"),
        ("Lotte left the group.", "system line"),
        ("", "empty"),
        (None, "empty"),
        # What people type
        ("Liked a message of yours today?", ""),
        ("You left the group? why", ""),
        ("You have to see this", ""),
        ("Lotte is my name", ""),
        ("we missed a call, sorry", ""),
        ("you sent an attachment. which one?", ""),
        ("You changed the photo on your profile, nice!", ""),
        ("You set the emoji to a cat haha", ""),
        ("Joined the call.", ""),
        ("You created a poll yesterday? nice", ""),
        ("You named the group Chess", "system line"),
        ("You set the nickname for Mira to Mi", "system line"),
        ("Lotte Ast changed the theme to Love", "system line"),
    ],
)
def test_what_the_app_says_for_a_person_is_left_out(read, content, dropped):
    messages, _ = read(says(content))
    assert shown(messages) == [("Lotte Ast", "" if dropped else content, dropped)]


@pytest.mark.parametrize(
    ("changes", "dropped"),
    [
        ({"photos": [{"uri": "x"}]}, ""),
        ({"share": {"link": "https://ex.am"}}, ""),
        ({"content": None, "share": {"link": "https://ex.am"}}, "media"),
        ({"content": None, "audio_files": [{"uri": "x"}]}, "media"),
        ({"content": None, "sticker": {"uri": "x"}}, "media"),
        ({"call_duration": 0}, "call"),
        ({"type": "Unsubscribe", "users": [{"name": "Bo"}]}, "system line"),
        ({"is_unsent": False}, ""),
    ],
)
def test_what_comes_with_a_text(read, changes, dropped):
    messages, _ = read(says("guck") | changes)
    assert [message.dropped for message in messages] == [dropped]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ([], "Expected an object, found a list."),
        ({"timestamp_ms": 1}, "Expected the 'sender_name' of a message."),
        (says(3), "Expected 'content' to be a text, found a number."),
        (says("x", sender={}), "Expected 'sender_name' to be a text, found an object."),
    ],
)
def test_a_malformed_entry_is_reported_and_the_others_are_read(read, entry, problem):
    messages, log = read(entry, says("hi"), on_error="skip")
    assert [message.text for message in messages] == ["hi"]
    assert log.drops == {MALFORMED: 1}
    assert log.messages[0].endswith(f"Entry 1: {problem}")


def test_an_account_that_is_gone_still_speaks(read):
    messages, _ = read(says("hi", sender=""))
    assert shown(messages) == [("deleted account", "hi", "")]


def test_accounts_that_are_gone_are_told_apart_by_their_chats(export):
    chat = as_meta_writes(instagram_chat([says("hi", sender="")]))
    path = export({f"inbox/{folder}/message_1.json": chat for folder in ("user_1", "user_2")})
    assert [message.speaker for message in instagram.read(path, ErrorLog())] == [
        "deleted account (user_1)", "deleted account (user_2)",
    ]  # fmt: skip


@given(st.text(st.characters(codec="utf-8")))
def test_each_text_is_mended(text):
    assert mended(text.encode().decode("latin-1")) == text


@pytest.mark.parametrize("text", ["é", "naïve café", "¡Qué guay!", "10 °C", "Ã", "日本", "\xf0\x9f\x98"])
def test_a_text_that_needs_no_mending_or_cannot_be_is_left_as_it_is(text):
    assert mended(text) == text


def test_a_folder_with_no_chat_is_one_sentence(export):
    path = export({"a/posts.json": "[]", "b.txt": ""})
    assert not instagram.found(path)
    with pytest.raises(CorpusError, match=r"Expected message_1\.json in here, found none"):
        list(instagram.read(path, ErrorLog()))
