"""The prompts of a server: one conversation has one beginning, whatever it goes on with."""

import pytest

from idl_hf.chat.persons import Persons, read_all_people
from idl_hf.prompting import OWN_TURNS, token_counter
from idl_hf.rows.options import RowOptions
from idl_hf.schema import Turn

FIRST, OTHER = "do you have any pets ?", "my band plays at the harbour tonight !"


@pytest.fixture
def persons(sample_data, encoder, tokenizer, tiny_llama):
    def make(reference_turns="all", **options):
        settings = {"max_prompt_tokens": 2048, **options}
        chosen = RowOptions(encoder="offline", references=2, reference_turns=reference_turns)
        return Persons(read_all_people(sample_data), encoder, chosen, tokenizer, tiny_llama().config, **settings)

    return make


def test_people_of_all_splits_are_read(sample_data):
    people = read_all_people(sample_data)
    assert {"ruth", "leroy"} <= set(people)  # of train.jsonl and of validation.jsonl


def test_references_are_those_of_the_first_message_however_a_conversation_goes_on(persons):
    persons = persons()
    begun = persons.prompt("leroy", [Turn("partner", FIRST)], "", 8)
    context = [Turn("partner", FIRST), Turn("self", "no ."), Turn("partner", OTHER)]
    gone_on = persons.prompt("leroy", context, "", 8)
    assert gone_on[: len(begun)] == begun
    assert persons.prompt("leroy", [Turn("partner", OTHER)], "", 8)[:2] != begun[:2]
    # and where the person opened it, up to the partner's first message too
    opened = [Turn("self", "hey ."), *context]
    begun = persons.prompt("leroy", opened[:2], "", 8)
    assert persons.prompt("leroy", opened, "", 8)[: len(begun)] == begun


def test_an_instruction_stays_where_references_are_dropped(persons, tokenizer):
    persons = persons(max_prompt_tokens=300)
    prompt = persons.prompt("leroy", [Turn("partner", FIRST)], "be kind", 8)
    assert prompt[0] == {"role": "system", "content": "be kind"}
    assert [message["role"] for message in prompt[1:]] == ["user", "assistant"] * ((len(prompt) - 2) // 2) + ["user"]
    assert prompt[-1]["content"].endswith(FIRST)
    assert token_counter(tokenizer)(prompt) <= 300


def test_own_turns_follow_the_instruction(persons):
    prompt = persons("self").prompt("leroy", [Turn("partner", FIRST)], "be kind", 8)
    assert [message["role"] for message in prompt] == ["system", "user"]
    assert prompt[0]["content"].startswith(f"be kind\n\n{OWN_TURNS}\n- ")
    (left, _) = persons("self", max_prompt_tokens=40).prompt("leroy", [Turn("partner", FIRST)], "be kind", 8)
    assert left == {"role": "system", "content": "be kind"}
