"""What a conversation begins with before anybody has said a word."""

import numpy as np
import pytest

from idl_hf import PersonaChat, prompting
from idl_hf.chat.opening import opening_of
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import People
from idl_hf.rows.references import choose_for_context, persona_text
from idl_hf.schema import Dialogue, Person, Turn

WORDS = [Turn("partner", "any plans ?"), Turn("self", "band practice .")]


@pytest.fixture
def person(sample_data):
    dialogues = [d for d in read_dialogues(sample_data / "train.jsonl") if d.person_id == "ruth"]
    return Person("ruth", tuple(dialogues))


def count(messages):
    return sum(len(message["content"].split()) for message in messages)


def dialogue(*turns):
    return Dialogue("ruth", f"{len(turns)}-{turns[-1].text}", tuple(turns))


def test_references_are_those_nearest_to_the_mean_of_all(person, encoder):
    options = RowOptions(encoder="offline", references=2, clusters=1)
    people = People([person], encoder, options.extractor)
    vectors = people.vectors([persona_text(dialogue.turns, people) for dialogue in person.dialogues])
    nearest = np.argsort(np.linalg.norm(vectors - vectors.mean(axis=0), axis=1), kind="stable")[:2]
    chosen = choose_for_context(person, (), people, options)
    assert {d.dialogue_id for d in chosen} == {person.dialogues[i].dialogue_id for i in nearest}
    assert choose_for_context(Person("ruth", ()), (), people, options) == []


def test_it_is_what_a_chat_with_these_references_sends_before_the_first_message(
    person, encoder, tiny_llama, tokenizer
):
    chat = PersonaChat(tiny_llama(), tokenizer, encoder, RowOptions(encoder="offline")).with_person(person)
    opening = chat.opening()
    assert len(opening.references) > 1
    turns = [reference.turns for reference in opening.references]
    whole = prompting.render(turns, [Turn("partner", "do you have pets ?")]).messages
    assert whole[:-1] == opening.messages
    joined = [opening.left_out] if opening.left_out else []
    assert whole[-1]["content"] == "\n".join([*joined, "do you have pets ?"])
    assert chat.references == []  # nothing was said yet


def test_own_turns_are_an_instruction_to_begin_with(person, encoder, tiny_llama, tokenizer):
    options = RowOptions(encoder="offline", reference_turns="self")
    chat = PersonaChat(tiny_llama(), tokenizer, encoder, options).with_person(person)
    (system,) = chat.opening().messages
    turns = [reference.turns for reference in chat.opening().references]
    first = [Turn("partner", "do you have pets ?")]
    assert prompting.render(turns, first, own_turns=True).messages[0] == system
    said = [f"- {turn.text}" for dialogue in turns for turn in dialogue if turn.role == "self"]
    assert system == {"role": "system", "content": "\n".join([prompting.OWN_TURNS, *said])}
    "".join(chat.stream(first[0].text, max_new_tokens=1))
    assert chat._prompt("and you ?", 1)[0]["content"].startswith(prompting.OWN_TURNS)


def test_it_ends_with_the_person_and_tells_what_was_left_out():
    opening = opening_of([dialogue(*WORDS), dialogue(*WORDS, Turn("partner", "have fun !\nbye"))], 100, count)
    assert [message["role"] for message in opening.messages] == ["user", "assistant", "user", "assistant"]
    assert opening.left_out == "have fun !\nbye"
    assert opening_of([dialogue(*WORDS)], 100, count).left_out == ""


def test_the_first_references_are_dropped_to_keep_within_the_budget():
    first, second = dialogue(Turn("partner", "one"), Turn("self", "a " * 50)), dialogue(*WORDS)
    opening = opening_of([first, second], 20, count)
    assert (opening.references, opening.dropped) == ([second], 1)
    assert opening.messages[0]["content"] == "any plans ?"


def test_where_nothing_is_left_that_is_an_error():
    with pytest.raises(ValueError, match=r"the person has none that could keep within 20 tokens\. Add dialogues"):
        opening_of([], 20, count)
    with pytest.raises(ValueError, match="none of 1 keeps within 3 tokens"):
        opening_of([dialogue(*WORDS)], 3, count)
