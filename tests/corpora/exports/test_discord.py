"""The reader of DiscordChatExporter's JSON."""

from datetime import datetime, timedelta, timezone

import pytest

from idl_hf.corpora.errors import MALFORMED, CorpusError, ErrorLog
from idl_hf.corpora.exports import discord
from idl_hf.corpora.exports.message import Message
from tests.corpora.exports.samples import DISCORD, discord_author, discord_message, pretty

TOKYO = timezone(timedelta(hours=9))


@pytest.fixture
def read(export):
    def read_all(*messages, on_error="raise") -> tuple[list[Message], ErrorLog]:
        path, log = (
            export({"chat.json": pretty(DISCORD | {"messages": messages} if messages else DISCORD)}),
            ErrorLog(on_error),
        )
        assert discord.found(path)
        return list(discord.read(path, log)), log

    return read_all


def test_a_channel_with_everything_in_it(read):
    messages, _ = read()
    assert [(message.speaker, message.text, message.dropped) for message in messages] == [
        ("Finn", "", "system line"),
        ("ハル", "今日の対局、見た？", ""),
        ("Finn", "yes!! 19...Qh4 😱", ""),
        ("ハル", "", "media"),
        ("ハル", "棋譜はこれ", ""),
        ("Finn (40)", "", "bot"),
        ("ハル", "", "media"),  # a GIF
        ("ハル", "", "call"),
        ("Finn", "", "forwarded"),
        ("Finn (33)", "other Finn here", ""),  # of the same nickname
    ]
    assert messages[1] == Message(
        "ハル", "今日の対局、見た？", "chat.json:41", datetime(2023, 11, 4, 12, 1, 30, 250_000, TOKYO), "general"
    )


@pytest.mark.parametrize(
    ("changes", "text", "dropped"),
    [
        ({"content": " "}, "", "empty"),
        ({"content": "", "stickers": [{"name": "wave"}]}, "", "media"),
        ({"content": "", "embeds": [{"title": "x"}]}, "", "media"),
        ({"content": "", "poll": {"question": "?"}}, "", "media"),
        ({"content": "x", "type": "ChannelPinnedMessage"}, "", "system line"),
        ({"content": "x", "type": "46"}, "", "system line"),  # a type that the exporter does not know
        ({"content": "x", "reference": {"type": "Forward", "messageId": "1"}}, "", "forwarded"),
        ({"content": "x", "reference": {"type": "Default", "messageId": "1"}}, "x", ""),
        ({"content": "https://giphy.com/gifs/no-3"}, "", "media"),
        ({"content": "https://tenor.com/view/a look"}, "https://tenor.com/view/a look", ""),
        ({"content": "https://nottenor.com/view/a"}, "https://nottenor.com/view/a", ""),
    ],
)
def test_what_is_said_and_what_is_not(read, changes, text, dropped):
    messages, _ = read(discord_message(1, **changes))
    assert [(message.text, message.dropped) for message in messages] == [(text, dropped)]


def test_without_a_nickname_the_user_name_is_shown(read):
    messages, _ = read(discord_message(1, content="hi", author=discord_author(nickname=None)))
    assert messages[0].speaker == "finn"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("hi", "Expected an object, found a text."),
        (discord_message(1, author=None, content="hi"), "Expected an object, found null."),
        (discord_message(1, author={}, content="hi"), "Expected the name of who says this, found none."),
        (discord_message(1, content=["hi"]), "Expected 'content' to be a text, found a list."),
    ],
)
def test_a_malformed_entry_is_reported_and_the_others_are_read(read, entry, problem):
    messages, log = read(entry, discord_message(2, content="hi"), on_error="skip")
    assert [message.text for message in messages] == ["hi"]
    assert log.drops == {MALFORMED: 1}
    assert log.messages[0].endswith(f"Entry 1: {problem}")


def test_a_folder_of_channels(export):
    general, chess, other = (
        DISCORD | {"channel": channel, "messages": [discord_message(1, content=text)]}
        for channel, text in (
            (DISCORD["channel"], "one"), ({"id": "8", "name": "chess"}, "two"), ({"id": "9", "name": "general"}, "3")
        )
    )  # fmt: skip
    later = general | {"messages": [discord_message(2, content="later")]}
    files = {f"general [part {number}].json": later for number in (10, 9)} | {"general.json": general, "z.json": other}
    files["games/chess.json"] = chess
    attachment = {"a/board.json": "[1]"}
    path = export({name: pretty(content) for name, content in files.items()} | attachment)
    assert discord.found(path)
    log = ErrorLog()
    assert [(message.conversation, message.text, message.place) for message in discord.read(path, log)] == [
        ("chess", "two", "games/chess.json:17"),
        ("general", "one", "general.json:20"),  # a channel in parts is one conversation, in their order
        ("general", "later", "general [part 9].json:20"),
        ("general", "later", "general [part 10].json:20"),
        ("general (9)", "3", "z.json:17"),
    ]
    assert log.notes == {"JSON file that is no channel, as an attachment, left out": 1}


def test_names_are_told_apart_in_the_whole_export(export):
    first, second = discord_author(), discord_author(id="33")
    renamed = discord_author(nickname="Captain")  # a nickname is one server's
    channels = {"a.json": [first], "b.json": [second, renamed], "c.json": [renamed, second]}
    files = {
        name: pretty(
            DISCORD
            | {"channel": {"id": name, "name": name[0]}}
            | {"messages": [discord_message(1, content="hi", author=author) for author in authors]}
        )
        for name, authors in channels.items()
    }
    assert [(message.conversation, message.speaker) for message in discord.read(export(files), ErrorLog())] == [
        ("a", "Finn"), ("b", "Finn (33)"), ("b", "Finn"), ("c", "Finn"), ("c", "Finn (33)"),
    ]  # fmt: skip


def test_a_broken_channel_is_no_attachment(export):
    broken = pretty(DISCORD).replace('"messages"', "messages", 1)
    with pytest.raises(CorpusError, match=r"b\.json"):
        list(discord.read(export({"a.json": pretty(DISCORD), "b.json": broken}), ErrorLog()))


def test_a_channel_without_messages_is_one_sentence(export):
    with pytest.raises(CorpusError, match="Expected a channel with 'messages', found none"):
        list(discord.read(export({"chat.json": pretty({"guild": {}, "channel": {}})}), ErrorLog("skip")))
