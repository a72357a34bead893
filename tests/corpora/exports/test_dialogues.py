"""Bursts, sessions and dialogues: where they are cut, and that each message is in exactly one session."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idl_hf.corpora.exports.chats import Chats
from idl_hf.corpora.exports.dialogues import Cuts, dialogue_of, sessions
from idl_hf.schema import Turn

BEGIN = datetime(2024, 1, 13, 21, 0)
CUTS = Cuts(burst=300, pause=6 * 3600, max_turns=4)


def cut(said, cuts=CUTS, conversation="lake"):
    """The sessions of (minute or None, speaker, text)."""
    with Chats() as chats:
        for minute, speaker, text in said:
            time = None if minute is None else BEGIN + timedelta(minutes=minute)
            chats.add(conversation, speaker, text, time)
        return list(sessions(chats.said(conversation), cuts)) if chats.conversations() else []


def shape(made):
    return [[(burst.speaker, burst.texts) for burst in session.bursts] for session in made]


def test_what_one_speaker_says_at_once_is_one_turn():
    made = cut([(0, "Ann", "a"), (5, "Ann", "b"), (11, "Ann", "c"), (11, "Ben", "d"), (12, "Ann", "e")])
    assert shape(made) == [[("Ann", ["a", "b"]), ("Ann", ["c"]), ("Ben", ["d"]), ("Ann", ["e"])]]


def test_a_session_ends_at_a_pause_and_at_so_many_turns():
    made = cut([(0, "Ann", "a"), (360, "Ben", "b"), (721, "Ann", "c")])
    assert shape(made) == [[("Ann", ["a"]), ("Ben", ["b"])], [("Ann", ["c"])]]
    speakers = ["Ann", "Ben"] * 3
    assert [len(s.bursts) for s in cut([(i, name, "x") for i, name in enumerate(speakers)])] == [4, 2]
    said = [*((i, name, "x") for i, name in enumerate(speakers[:4])), (4, "Ben", "still the fourth")]
    assert [s.messages for s in cut(said)] == [5]


def test_without_times_only_the_length_ends_a_session():
    made = cut([(None, name, "x") for name in ("Ann", "Ann", "Ben", "Ann", "Ben", "Ann")])
    assert shape(made) == [
        [("Ann", ["x", "x"]), ("Ben", ["x"]), ("Ann", ["x"]), ("Ben", ["x"])], [("Ann", ["x"])]
    ]  # fmt: skip


def test_an_export_that_begins_with_the_last_message_is_turned_round():
    made = cut([(30, "Ann", "c"), (20, "Ben", "b"), (10, "Ann", "a")])
    assert shape(made) == [[("Ann", ["a"]), ("Ben", ["b"]), ("Ann", ["c"])]]


def test_the_hour_that_a_clock_is_put_back_is_no_pause_and_changes_no_order():
    made = cut([(0, "Ann", "a"), (59, "Ben", "b"), (1, "Ann", "c"), (61, "Ben", "d")])
    assert [text for _, texts in shape(made)[0] for text in texts] == ["a", "b", "c", "d"]


def test_times_with_and_without_a_zone_can_stand_beside_each_other():
    with Chats() as chats:
        chats.add("", "Ann", "a", BEGIN)
        chats.add("", "Ben", "b", BEGIN.replace(tzinfo=timezone(timedelta(hours=2))))
        chats.add("", "Ann", "c", datetime.min.replace(tzinfo=timezone(timedelta(hours=14))))
        assert [said.text for said in chats.said("")] in (["a", "b", "c"], ["c", "b", "a"])


def test_a_dialogue_is_a_session_as_the_person_has_it():
    (session,) = cut([(0, "Ann", "a"), (0, "Ann", "b"), (1, "Ben", "c")])
    own = dialogue_of(session, "Ben", "Ann", 3, str)
    assert (own.person_id, own.partner_id, own.dialogue_id) == ("Ben", "Ann", "Ann 3")
    assert own.turns == (
        Turn("partner", "a\nb", time="2024-01-13T21:00:00"),
        Turn("self", "c", time="2024-01-13T21:01:00"),
    )


def test_in_a_group_everybody_else_is_the_partner_with_their_name():
    (session,) = cut([(0, "Ann", "a"), (1, "Ben", "b"), (2, "Cy", "c")])
    own = dialogue_of(session, "Ben", "the lake", 1, str.upper)
    assert [(turn.role, turn.speaker) for turn in own.turns] == [("partner", "ANN"), ("self", ""), ("partner", "CY")]
    assert (own.person_id, own.partner_id) == ("BEN", "THE LAKE")


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 3000), st.sampled_from("abc"), st.sampled_from("xyz")), max_size=60),
    st.sampled_from((0, 60, 3600)),
    st.sampled_from((0, 600, 86400)),
    st.integers(2, 6),
)
@settings(max_examples=200, deadline=None)
def test_each_message_is_in_one_session(said, burst, pause, max_turns):
    made = cut(said, Cuts(burst, pause, max_turns))
    texts = [(b.speaker, text) for session in made for b in session.bursts for text in b.texts]
    given_order = [(speaker, text) for _, speaker, text in said]
    assert texts in (given_order, given_order[::-1])
    assert all(0 < len(session.bursts) <= max_turns for session in made)


@pytest.mark.parametrize("count", [999, 1000, 1001, 2500])
def test_all_messages_are_kept_however_many(count):
    assert sum(session.messages for session in cut([(i, "Ann", str(i)) for i in range(count)])) == count
