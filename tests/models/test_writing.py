"""What is shown of a reply while its tokens come is the reply, in whole characters and without stop strings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.chat_template import PLAIN_TEMPLATE
from idl_hf.models.replies import reply_text
from idl_hf.models.writing import Writing

TEXTS = ["hi there, how are you?", " naïve 🙂🙃 日本語 👩‍👩‍👧 text\n\n  ", "a\nb\n c", "", "   ", "\ufffd odd \ufffd"]


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def write(tokenizer, ids, stops=()):
    writing, pieces = Writing(tokenizer, stops), []
    for token in ids:
        pieces.append(writing.add(token))
        if writing.stopped:
            break
    return [*pieces, writing.end()], writing.stopped


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_are_the_reply(tokenizer, text):
    pieces, stopped = write(tokenizer, [*ids_of(tokenizer, text), tokenizer.eos_token_id])
    assert "".join(pieces) == reply_text(tokenizer, ids_of(tokenizer, text)) == text.strip()
    assert not stopped


def test_no_piece_has_half_a_character(tokenizer):
    ids = ids_of(tokenizer, "ok 🙂🙃日")
    assert len(ids) > 6  # bytes of characters are tokens of their own
    pieces, _ = write(tokenizer, ids)
    assert all("\ufffd" not in piece for piece in pieces)
    assert len([piece for piece in pieces if piece]) > 3


def test_bytes_that_never_become_a_character_are_shown_at_the_end(tokenizer):
    ids = ids_of(tokenizer, "🙂")[:-1]
    assert "".join(write(tokenizer, ids)[0]) == reply_text(tokenizer, ids)


@given(ids=st.lists(st.integers(3, 49_000), max_size=12))
def test_any_tokens_are_shown_as_they_are_decoded(tokenizer, ids):
    assert "".join(write(tokenizer, ids)[0]) == reply_text(tokenizer, ids)


@pytest.mark.parametrize(
    ("text", "stops", "shown", "stopped"),
    [
        ("one two three", ["two"], "one", True),
        ("one two three", ["wo th"], "one t", True),
        ("one two three", ["three", "o t"], "one tw", True),
        ("one two thr", ["three"], "one two thr", False),
        ("one two", ["e tx"], "one two", False),
        ("aab", ["ab"], "a", True),
        ("a line\nanother", ["\n"], "a line", True),
        ("nothing", [], "nothing", False),
    ],
)
def test_a_reply_ends_before_the_first_stop(tokenizer, text, stops, shown, stopped):
    pieces, ended = write(tokenizer, ids_of(tokenizer, text), stops)
    assert ("".join(pieces), ended) == (shown, stopped)


@given(text=st.text(alphabet="abc ", max_size=30), stops=st.lists(st.text(alphabet="abc ", min_size=1), max_size=3))
def test_stops_are_found_wherever_tokens_are_cut(tokenizer, text, stops):
    pieces, stopped = write(tokenizer, [token for sign in text for token in ids_of(tokenizer, sign)], stops)
    found = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    assert stopped == bool(found)
    assert "".join(pieces) == text[: min(found)[1] if found else None].strip()


def test_under_the_plain_template_another_message_ends_the_reply(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", PLAIN_TEMPLATE)
    ids = ids_of(tokenizer, " yes\n of course\nuser: and")
    pieces, stopped = write(tokenizer, ids)
    assert ("".join(pieces), stopped) == ("yes\nof course", True)
    assert "".join(pieces) == reply_text(tokenizer, ids)
