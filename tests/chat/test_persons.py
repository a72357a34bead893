"""The prompts of a server: one conversation has one beginning, whatever it goes on with."""

import pytest

from idl_hf.chat import person_prompt
from idl_hf.chat import persons as module
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


@pytest.fixture
def counted(monkeypatch):
    """The lengths in characters of what is tokenised."""
    lengths = []

    def counter(tokenizer):
        count = token_counter(tokenizer)

        def counting(messages):
            lengths.append(sum(len(message["content"]) for message in messages))
            return count(messages)

        return counting

    monkeypatch.setattr(person_prompt.prompting, "token_counter", counter)
    return lengths


def test_a_message_that_is_too_long_is_read_once_and_nothing_is_kept_of_it(persons, counted, monkeypatch):
    persons, long = persons(), " ".join(["how deep is the sea ?"] * 10_000)
    monkeypatch.setattr(module, "choose_for_context", lambda *_: pytest.fail("it is refused before"))
    with pytest.raises(ValueError, match=r"The conversation takes \d+ tokens and a reply up to 8, but the model has"):
        persons.prompt("leroy", [Turn("partner", long)], "", 8)
    assert counted == [len(long)]
    assert not persons._chosen


def test_a_conversation_longer_than_the_prompt_may_be_is_read_once_and_shows_no_past(persons, counted):
    persons = persons(max_prompt_tokens=20)
    long = " ".join(["how deep is the sea ?"] * 30)
    prompt = persons.prompt("leroy", [Turn("partner", long)], "be kind", 8)
    assert prompt == [{"role": "system", "content": "be kind"}, {"role": "user", "content": long}]
    assert len(counted) == 1


def test_references_are_chosen_once_a_conversation_and_of_thousands_the_last_are_known(persons, monkeypatch):
    chosen = []
    choose = module.choose_for_context

    def choosing(person, context, *others):
        chosen.append(context[0].text)
        return choose(person, context, *others)

    monkeypatch.setattr(module, "choose_for_context", choosing)
    monkeypatch.setattr(module, "_CONVERSATIONS", 2)
    persons = persons()
    for text in ("one", "two", "one", "three", "one", "two"):
        persons.prompt("leroy", [Turn("partner", text)], "", 8)
    assert chosen == ["one", "two", "three", "two"]
    assert len(persons._chosen) == 2
    assert all(isinstance(key, bytes) for key in persons._chosen)


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
