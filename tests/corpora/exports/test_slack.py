"""The reader of a Slack workspace's export."""

import json
import zipfile
from datetime import UTC, datetime

import pytest

from idl_hf.corpora.errors import MALFORMED, CorpusError, ErrorLog
from idl_hf.corpora.exports import slack
from idl_hf.corpora.exports.message import Message
from tests.corpora.exports.samples import SAMPLES, SLACK_DAY, SLACK_USERS, pretty

THREAD = "général thread 1715900060.000200"
ALL = [
    ("נועה, Pierre Émile", "נועה", "רק בינינו", ""),
    ("général", "Pierre Émile", "", "system line"),
    (THREAD, "נועה", "בוקר טוב @Pierre Émile & co <3 la page", ""),
    ("général", "Pierre Émile", "salut ! @here #général https://ex.am/q", ""),
    (THREAD, "Pierre Émile", "je réponds", ""),
    ("général", "ci", "", "bot"),
    ("général", "deploybot", "", "bot"),
    ("général", "נועה", "", "media"),
    ("général", "USLACKBOT", "", "deleted"),
    ("général", "נועה", "", "forwarded"),
    ("général", "USLACKBOT", "", "call"),
]


def shown(messages) -> list[tuple[str, str, str, str]]:
    return [(message.conversation, message.speaker, message.text, message.dropped) for message in messages]


@pytest.fixture
def read(export):
    """Reads a channel's day of the messages given."""

    def read_all(*messages, users=SLACK_USERS, on_error="raise") -> tuple[list[Message], ErrorLog]:
        path = export({"users.json": pretty(users), "general/2024-05-16.json": pretty(messages)})
        log = ErrorLog(on_error)
        return list(slack.read(path, log)), log

    return read_all


def says(text: object, **changes) -> dict:
    return {"type": "message", "user": "U1", "text": text, "ts": "1715900060.000200"} | changes


def test_a_workspace_with_everything_in_it(export):
    path = export(SAMPLES["slack"])
    assert slack.found(path)
    messages = list(slack.read(path, ErrorLog()))
    assert shown(messages) == ALL
    assert messages[0] == Message(
        *("נועה", "רק בינינו", "D5/2024-05-17.json:2", datetime(2024, 5, 17, 23, 53, 20, 100, UTC)),
        "נועה, Pierre Émile",
    )


@pytest.mark.parametrize("top", ["", "Acme Slack export May 1 2024/"])
def test_its_zip_is_read_alike(tmp_path, top):
    path = tmp_path / "Acme.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in SAMPLES["slack"].items():
            archive.writestr(top + name, content)
    assert slack.found(path)
    assert shown(slack.read(path, ErrorLog())) == ALL


def test_a_folder_of_one_channel_needs_no_lists(export):
    user = {"user_profile": {"display_name": "noa", "real_name": "Noa Levi"}}
    path = export({"2024-05-16.json": pretty([says("a", **user)]), "2024-05-17.json": pretty([says("b", user="U7")])})
    assert slack.found(path)
    assert shown(slack.read(path, ErrorLog())) == [("", "noa", "a", ""), ("", "U7", "b", "")]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("&lt;b&gt; &amp;amp; &amp;gt; 1 &lt; 2", "<b> &amp; &gt; 1 < 2"),
        ("<@U2>: <@U9|ghost> <@U9>", "@Pierre Émile: @ghost @U9"),
        ("<#C1|chess> <#C1>", "#chess #C1"),
        ("<!channel> <!subteam^S1|@team> <!subteam^S1> <!date^1^{date}|1 May>", "@channel @team @subteam 1 May"),
        ("<https://ex.am/?a=1&amp;b=2> <https://ex.am|hier>", "https://ex.am/?a=1&b=2 hier"),
        ("<mailto:a@ex.am|a@ex.am> <mailto:a@ex.am>", "a@ex.am a@ex.am"),
        ("a < b > c", "a  b  c"),  # Slack never writes this: it escapes both signs
        (":wave: *bold* `x`", ":wave: *bold* `x`"),
    ],
)
def test_marks_are_shown_as_slack_shows_them(read, text, plain):
    messages, _ = read(says(text))
    assert messages[0].text == plain


@pytest.mark.parametrize(
    ("changes", "dropped"),
    [
        ({"subtype": "me_message"}, ""),
        ({"subtype": "thread_broadcast", "thread_ts": "1.2"}, ""),
        ({"files": [{"id": "F1"}]}, ""),
        ({"subtype": "channel_topic"}, "system line"),
        ({"subtype": "pinned_item"}, "system line"),
        ({"subtype": "never seen before"}, "system line"),
        ({"bot_id": "B1"}, "bot"),
        ({"user": "USLACKBOT"}, "bot"),
        ({"text": ""}, "empty"),
        ({"text": "", "attachments": [{"title": "x"}]}, "media"),
        ({"text": "", "attachments": ["x", {"is_share": True}]}, "forwarded"),
    ],
)
def test_what_is_said_and_what_is_not(read, changes, dropped):
    messages, _ = read(says("x") | changes)
    assert [message.dropped for message in messages] == [dropped]


def test_a_name_that_two_have_is_two_speakers(read):
    users = [{"id": number, "profile": {"display_name": "Sam"}} for number in ("U1", "U2")]
    messages, _ = read(says("a"), says("b", user="U2"), users=users)
    assert [message.speaker for message in messages] == ["Sam", "Sam (U2)"]


def test_people_of_another_workspace_are_told_apart_too(read):
    guest = {"user_profile": {"display_name": "Sam"}}
    users = [{"id": "U1", "profile": {"display_name": "Sam"}}]
    messages, _ = read(says("a"), says("b", user="U8", **guest), says("c", user="U9", **guest), users=users)
    assert [message.speaker for message in messages] == ["Sam", "Sam (U8)", "Sam (U9)"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("x", "Expected an object, found a text."),
        ({"user": "U1", "text": "x"}, "Expected the 'ts' of a message, which is its time."),
        (says(1.5), "Expected 'text' to be a text, found a number."),
        (says("x", user=[1]), "Expected 'user' to be a text, found a list."),
    ],
)
def test_a_malformed_entry_is_reported_and_the_others_are_read(read, entry, problem):
    messages, log = read(entry, says("hi"), on_error="skip")
    assert [message.text for message in messages] == ["hi"]
    assert log.drops == {MALFORMED: 1}
    assert log.messages[0].endswith(f"general/2024-05-16.json:2: Entry 1: {problem}")


def test_users_who_are_none_cost_no_message(read):
    messages, log = read(says("hi"), users=[None, {"id": 3}, *SLACK_USERS, {"id": "U4", "profile": None}])
    assert messages[0].speaker == "נועה"
    assert log.notes == {"entry of users.json that names nobody": 2}


def test_a_broken_day_is_named(export):
    path = export(SAMPLES["slack"] | {"D5/2024-05-17.json": json.dumps(SLACK_DAY)[:-9]})
    with pytest.raises(CorpusError, match=r"export/D5/2024-05-17\.json:1: The file ends within its JSON"):
        list(slack.read(path, ErrorLog("skip")))


def test_a_zip_that_is_damaged_is_one_sentence(tmp_path):
    path = tmp_path / "Acme.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("users.json", "[]")
        archive.writestr("general/2024-05-16.json", pretty(SLACK_DAY))
    content = path.read_bytes()
    for damaged in (content[:-30], content.replace(b"salut", b"tulas"), content[:40] + b"\xff" * 40 + content[80:]):
        path.write_bytes(damaged)
        assert slack.found(path) in (True, False)
        with pytest.raises(CorpusError, match=r"cannot be read on|can be read, found"):
            list(slack.read(path, ErrorLog("skip")))
