"""The renderer: what every prompt looks like, how references are dropped, and which tokens carry the loss."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idl_hf.prompting import (
    OWN_TURNS,
    PROFILE_PROMPT,
    SILENCE,
    drop_references,
    encode,
    fit_to_budget,
    prompt_ids,
    render,
    render_replies,
    split_prompt,
    token_counter,
)
from idl_hf.schema import Turn

texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12).filter(
    lambda text: text.strip() not in ("", SILENCE)
)
turns = st.builds(Turn, st.sampled_from(["self", "partner"]), texts.map(str.strip))
dialogues = st.lists(turns, min_size=1, max_size=5)
references = st.lists(dialogues, max_size=4)
contexts = st.lists(turns, max_size=4).map(lambda said: [*said, Turn("partner", "and you ?")] if said else [])
profiles = st.lists(st.sampled_from(["i have a dog.", "i farm."]), max_size=2)
completions = st.lists(turns, max_size=4).map(lambda said: [Turn("self", "well , yes"), *said])

RUTH = [Turn("partner", "hi"), Turn("self", "hello")]
OPENS = [Turn("self", "morning !"), Turn("partner", "hey"), Turn("partner", "you ?"), Turn("self", "fine")]


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def characters(messages) -> int:
    return sum(len(message["content"]) for message in messages)


# What a prompt looks like


def test_references_and_context_are_one_conversation():
    prompt = render([RUTH, OPENS], [Turn("partner", "bye")])
    assert prompt.messages == [
        said("user", "hi"),
        said("assistant", "hello\nmorning !"),
        said("user", "hey\nyou ?"),
        said("assistant", "fine"),
        said("user", "bye"),
    ]
    assert prompt.starts == [{"message": 0, "char": 0}, {"message": 1, "char": 6}, {"message": 4, "char": 0}]


def test_where_the_person_opens_the_first_dialogue_the_partner_is_silent():
    assert render([OPENS], RUTH[:1]).messages[:2] == [said("user", SILENCE), said("assistant", "morning !")]


def test_where_the_person_opens_the_current_dialogue_the_partner_is_silent():
    assert render([RUTH]).messages == [said("user", "hi"), said("assistant", "hello"), said("user", SILENCE)]
    assert render([], OPENS[:2]).messages == [
        said("user", SILENCE),
        said("assistant", "morning !"),
        said("user", "hey"),
    ]


def test_a_profile_is_the_papers_system_prompt():
    prompt = render([], RUTH[:1], profile=["i have a dog.", "i farm."])
    assert prompt.messages == [
        said("system", PROFILE_PROMPT.format(profile="i have a dog. i farm.")),
        said("user", "hi"),
    ]


def test_a_context_that_ends_with_the_persons_own_utterance_is_refused():
    with pytest.raises(ValueError, match=r"must end with the partner's utterance.*'hello'"):
        render([], RUTH)


def test_own_turns_are_a_list_at_the_end_of_the_system_prompt():
    prompt = render([OPENS, RUTH], RUTH[:1], system="Be brief.", own_turns=True)
    content = f"Be brief.\n\n{OWN_TURNS}\n- morning !\n- fine\n- hello"
    assert prompt.messages == [said("system", content), said("user", "hi")]
    assert [content[start["char"] :] for start in prompt.starts[:2]] == ["- morning !\n- fine\n- hello", "- hello"]
    assert prompt.starts[2] == {"message": 1, "char": 0}
    assert split_prompt(prompt.messages, prompt.starts)[:2] == [
        [said("system", "- morning !\n- fine")],
        [said("system", "- hello")],
    ]


def test_a_turn_of_several_lines_is_one_entry_of_the_list():
    (system, _) = render([[Turn("self", "one\n- two")]], own_turns=True).messages
    assert system["content"] == f"{OWN_TURNS}\n- one\n  - two"


@given(references, contexts, profiles)
def test_of_own_turns_all_are_shown_in_order_and_nothing_of_the_partner(refs, context, profile):
    messages = render(refs, context, profile, own_turns=True).messages
    without = render([], context, profile).messages
    lines = [f"- {turn.text}" for dialogue in refs for turn in dialogue if turn.role == "self"]
    own = [*([without[0]["content"], ""] if profile else []), OWN_TURNS, *lines]
    assert messages == ([said("system", "\n".join(own)), *without[bool(profile) :]] if lines else without)


@given(references, contexts, profiles)
def test_messages_alternate_strictly_from_user_to_user(refs, context, profile):
    messages = render(refs, context, profile).messages
    roles = [message["role"] for message in messages]
    assert (roles[0] == "system") is bool(profile)
    assert roles[bool(profile) :] == ["user", "assistant"] * (len(roles[bool(profile) :]) // 2) + ["user"]


@given(references, contexts, profiles)
def test_every_utterance_is_there_in_order_under_its_role_and_nothing_else_but_silence(refs, context, profile):
    messages = render(refs, context, profile).messages[bool(profile) :]
    spoken = [(turn.role, turn.text) for turn in [turn for dialogue in refs for turn in dialogue] + context]
    roles = {"user": "partner", "assistant": "self"}
    shown = [(roles[m["role"]], line) for m in messages for line in m["content"].split("\n")]
    assert [line for line in shown if line[1] != SILENCE] == spoken


@given(references, contexts, profiles)
def test_starts_point_to_the_first_words_of_each_dialogue(refs, context, profile):
    prompt = render(refs, context, profile)
    assert len(prompt.starts) == len(refs) + 1
    silent = [Turn("partner", SILENCE)] if not context or context[0].role == "self" else []
    for start, dialogue in zip(prompt.starts, [*refs, [*silent, *context]], strict=True):
        content = prompt.messages[start["message"]]["content"][start["char"] :]
        assert content.startswith((dialogue[0].text, SILENCE))


@given(completions)
def test_a_completion_begins_with_the_person_and_alternates(completion):
    roles = [message["role"] for message in render_replies(completion)]
    assert roles == ["assistant", "user"] * (len(roles) // 2) + ["assistant"] * (len(roles) % 2)


# Dropping references


@given(references, contexts, profiles, st.booleans())
def test_dropping_references_equals_rendering_without_them(refs, context, profile, own_turns):
    prompt = render(refs, context, profile, own_turns=own_turns)
    for count in range(len(refs) + 1):
        kept = drop_references(prompt.messages, prompt.starts, count)
        assert kept == render(refs[count:], context, profile, own_turns=own_turns).messages


def test_dropping_an_empty_reference_equals_rendering_without_it():
    refs = [[Turn("partner", "hi")], [], [Turn("partner", "hey")]]
    prompt = render(refs)
    for count in range(4):
        assert drop_references(prompt.messages, prompt.starts, count) == render(refs[count:]).messages


@given(references, contexts, profiles, st.booleans())
def test_dropping_references_leaves_the_prompt_as_it_was(refs, context, profile, own_turns):
    prompt = render(refs, context, profile, own_turns=own_turns)
    before = [dict(message) for message in prompt.messages]
    drop_references(prompt.messages, prompt.starts, len(refs))
    assert prompt.messages == before


@given(references, contexts, profiles, st.integers(0, 200))
def test_a_budget_drops_as_few_references_as_it_takes_from_the_front(refs, context, profile, budget):
    prompt = render(refs, context, profile)
    kept, dropped = fit_to_budget(prompt.messages, prompt.starts, budget, characters)
    assert kept == render(refs[dropped:], context, profile).messages
    assert characters(kept) <= budget or dropped == len(refs)
    if dropped:
        assert characters(render(refs[dropped - 1 :], context, profile).messages) > budget


def test_the_current_dialogue_is_never_cut():
    prompt = render([RUTH, OPENS], OPENS[:2], profile=["i farm."])
    kept, dropped = fit_to_budget(prompt.messages, prompt.starts, 0, characters)
    assert dropped == 2
    assert kept == render([], OPENS[:2], profile=["i farm."]).messages


def test_the_budget_counts_the_tokens_of_the_chat_template(tokenizer):
    messages = render([RUTH], RUTH[:1]).messages
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert prompt_ids(tokenizer, messages) == ids
    assert token_counter(tokenizer)(messages) == len(ids)


# Tokens


def masked_texts(tokenizer, encoded) -> list[str]:
    """The text of each unbroken stretch of tokens that carry the loss."""
    stretches: list[list[int]] = []
    inside = False
    for token, scored in zip(encoded["input_ids"], encoded["completion_mask"], strict=True):
        if scored and not inside:
            stretches.append([])
        if scored:
            stretches[-1].append(token)
        inside = bool(scored)
    return [tokenizer.decode(stretch, clean_up_tokenization_spaces=False) for stretch in stretches]


@settings(max_examples=40)
@given(references, contexts, profiles, completions)
def test_the_loss_is_on_exactly_the_persons_replies_and_their_end(tokenizer, refs, context, profile, completion):
    prompt, replies = render(refs, context, profile).messages, render_replies(completion)
    encoded = encode(tokenizer, prompt, replies)
    own = [f"{message['content']}<|im_end|>" for message in replies if message["role"] == "assistant"]
    assert masked_texts(tokenizer, encoded) == own


@settings(max_examples=40)
@given(references, contexts, profiles, completions)
def test_the_tokens_are_those_of_the_chat_template(tokenizer, refs, context, profile, completion):
    prompt, replies = render(refs, context, profile).messages, render_replies(completion)
    encoded = encode(tokenizer, prompt, replies)
    whole = tokenizer.apply_chat_template([*prompt, *replies], return_dict=False)
    assert encoded["input_ids"] == whole
    ids = prompt_ids(tokenizer, prompt)
    assert encoded["input_ids"][: len(ids)] == ids
    assert not any(encoded["completion_mask"][: len(ids)])


def test_a_template_that_rewrites_earlier_messages_is_refused(tokenizer):
    rewriting = copy.deepcopy(tokenizer)
    rewriting.chat_template = "{{ messages | length }}{% for m in messages %}[{{ m.content }}]{% endfor %}"
    with pytest.raises(ValueError, match="renders the start of a conversation differently once it goes on"):
        encode(rewriting, [said("user", "hi")], [said("assistant", "hello"), said("user", "you ?")])


def test_a_message_that_two_dialogues_share_is_cut_between_them():
    one = [Turn("partner", "a"), Turn("self", "b\nc")]
    two = [Turn("self", "d"), Turn("partner", "e")]
    prompt = render([one, [Turn("self", "f")], two], [Turn("partner", "g")])
    parts = [
        [(message["role"], message["content"]) for message in part]
        for part in split_prompt(prompt.messages, prompt.starts)
    ]
    assert parts == [
        [("user", "a"), ("assistant", "b\nc")],
        [("assistant", "f")],
        [("assistant", "d"), ("user", "e")],
        [("user", "g")],
    ]
