"""Dialogues as somebody types them: what is written comes back, and a mistake is told by its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.app.pasted import parse_pasted
from idl_hf.schema import clean, comparable

SIGNS = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))
NAMES = st.text(SIGNS.filter(lambda sign: sign != ":"), min_size=1, max_size=12).map(clean).filter(comparable)
LINES = st.text(SIGNS, min_size=1, max_size=40).map(clean).filter(comparable)
TURNS = st.lists(LINES, min_size=1, max_size=3)


@st.composite
def conversations(draw):
    """Dialogues of two or three, each a list of (who, lines) in which nobody speaks twice in a row."""
    names = draw(st.lists(NAMES, min_size=2, max_size=3, unique=True))
    dialogues = []
    for _ in range(draw(st.integers(1, 3))):
        places = draw(st.lists(st.integers(1, len(names) - 1), min_size=1, max_size=5))
        speaker, dialogue = 0, [(names[0], draw(TURNS))]
        for step in places:
            speaker = (speaker + step) % len(names)
            dialogue.append((names[speaker], draw(TURNS)))
        dialogues.append(dialogue)
    return dialogues


@given(conversations(), st.sampled_from(["\n\n", "\n \t\n\n"]), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_comes_back_as_each_speaker_has_it(written, between, end):
    text = between.join(
        "\n".join(f"{name}: {line}" for name, lines in dialogue for line in lines) for dialogue in written
    )
    read = parse_pasted(text.replace("\n", end))
    for dialogue in written:
        said = [(name, clean("\n".join(lines))) for name, lines in dialogue]
        speakers = list(dict.fromkeys(name for name, _ in said))
        for person, own in zip(speakers, read, strict=False):
            assert own.person_id == person
            assert [(turn.role == "self", turn.text) for turn in own.turns] == [
                (who == person, it) for who, it in said
            ]
            for turn, (who, _) in zip(own.turns, said, strict=True):
                assert who in (turn.speaker, person if turn.role == "self" else own.partner_id)
        read = read[len(speakers) :]
    assert not read


def test_each_has_dialogues_with_ids_of_their_own():
    dialogues = parse_pasted("Ana: hi\nBo: hey\n\nBo: you there?\nAna: yes\nCy: me too\n\nAna: hi\nBo: hey")
    assert [(own.person_id, own.dialogue_id) for own in dialogues] == [
        ("Ana", "Bo 1"), ("Bo", "Ana 1"), ("Bo", "the group 1"), ("Ana", "the group 1"), ("Cy", "the group 1"),
        ("Ana", "Bo 2"), ("Bo", "Ana 2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no dialogue in the text"),
        (" \n\n\t", "no dialogue in the text"),
        ("Ana: hi\nBo hey", "Line 2: expected 'Name: text'.*found 'Bo hey'"),
        ("Ana: hi\nBo:hey", "Line 2: .*a colon and a space"),
        ("Ana: hi\nhttps://example.org", "Line 2: "),
        ("\n\nAna: hi\n: hey", "Line 4: "),
        ("Ana: hi\n\u200b: hey", "Line 2: "),
        ("Ana: hi\nBo: \u2800", "Line 2: "),
        (f"Ana: hi\n{'x' * 500}", r"found 'x{60} \.\.\.'"),
        ("Ana: hi\nBo: hey\n\nAna: so\nAna: well", "begins in line 4 only 'Ana' speaks"),
    ],
)
def test_a_mistake_is_told_by_its_line(text, told):
    with pytest.raises(ValueError, match=told):
        parse_pasted(text)
