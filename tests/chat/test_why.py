"""Why a reply: what the model itself misses when a line is left out, exactly, whatever prompts share."""

from dataclasses import replace

import pytest
import torch

from idl_hf import PersonaChat, prompting
from idl_hf.chat.reasons import reasons
from idl_hf.models.likelihood import reply_logprobs, shared_logprobs
from idl_hf.models.responder import LocalModel
from idl_hf.rows.options import RowOptions
from idl_hf.schema import Dialogue, Turn
from tests.dpoc.models import NOT_SHARING, SHARING, tiny

OPTIONS = RowOptions(encoder="offline")
REFERENCES = [
    Dialogue("ann", "boats", (Turn("partner", "any news ?"), Turn("self", "i painted my boat red"))),
    Dialogue("ann", "pets", (Turn("self", "my two goats are asleep"), Turn("partner", "nice"), Turn("self", "yes"))),
    Dialogue("ann", "one", (Turn("self", "rain again"),)),
]
CONTEXT = [Turn("partner", "hi"), Turn("self", "hello you"), Turn("partner", "what colour is your boat ?")]


def make(name, tokenizer):
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    length = "n_positions" if name == "GPT2" else "max_position_embeddings"
    return tiny(name, vocab_size=len(tokenizer), **{length: 2048, **special}).double()


def alone(model, tokenizer, references, reply):
    """The log-prob of a reply after a prompt of its own."""
    prompt = prompting.render([reference.turns for reference in references], CONTEXT).messages
    return float(reply_logprobs(model, tokenizer, prompt, [{"role": "assistant", "content": reply}]).double().sum())


def without(dialogue, turn):
    turns = dialogue.turns[:turn] + dialogue.turns[turn + 1 :]
    return Dialogue(dialogue.person_id, dialogue.dialogue_id, turns)


@pytest.mark.parametrize("name", [*SHARING, *list(NOT_SHARING)[:1]])
@pytest.mark.parametrize("size", [{}, {"batch_size": 2, "max_tokens": 60}], ids=["one batch", "many"])
def test_what_is_shared_changes_no_log_prob(name, size, tokenizer):
    model = make(name, tokenizer)
    shown = [REFERENCES, REFERENCES[1:], REFERENCES[:1], [], REFERENCES, [without(REFERENCES[1], 0)]]
    prompts = [prompting.render([reference.turns for reference in each], CONTEXT).messages for each in shown]
    found = shared_logprobs(model, tokenizer, prompts, "red , as you know", **size)
    expected = [alone(model, tokenizer, each, "red , as you know") for each in shown]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-5, atol=1e-4)


def test_prompts_that_share_a_beginning_run_once(tokenizer):
    model, tokens = make("Llama", tokenizer), []
    model.register_forward_pre_hook(lambda _, __, kwargs: tokens.append(kwargs["input_ids"].numel()), with_kwargs=True)
    turns = tuple(Turn("self" if i % 2 else "partner", f"this is line {i} of a long tale") for i in range(40))
    shown = [turns, turns[:39], turns[:38]]
    prompts = [prompting.render([each], CONTEXT).messages for each in shown]
    shared_logprobs(model, tokenizer, prompts, "red")
    longest = len(prompting.encode(tokenizer, prompts[0], [{"role": "assistant", "content": "red"}])["input_ids"])
    assert longest <= sum(tokens) < 1.5 * longest


def test_each_line_is_left_out_of_the_prompt_and_the_fall_is_the_models_own(tokenizer):
    model = make("Llama", tokenizer)
    found = reasons(LocalModel(model, tokenizer), REFERENCES, CONTEXT, "red", None)
    base = alone(model, tokenizer, REFERENCES, "red")
    assert len(found) == sum(len(reference.turns) for reference in REFERENCES)
    assert [reason.fall for reason in found] == sorted((reason.fall for reason in found), reverse=True)
    for reason in found:
        i = [reference.dialogue_id for reference in REFERENCES].index(reason.dialogue_id)
        assert (reason.role, reason.text) == (
            REFERENCES[i].turns[reason.turn].role,
            REFERENCES[i].turns[reason.turn].text,
        )
        shorter = [*REFERENCES[:i], without(REFERENCES[i], reason.turn), *REFERENCES[i + 1 :]]
        assert reason.fall == pytest.approx(base - alone(model, tokenizer, shorter, "red"), abs=1e-4)
        whole = [*REFERENCES[:i], *REFERENCES[i + 1 :]]
        assert reason.dialogue_fall == pytest.approx(base - alone(model, tokenizer, whole, "red"), abs=1e-4)


def test_where_the_prompt_lists_own_turns_these_are_the_lines(tokenizer):
    local = LocalModel(make("Llama", tokenizer), tokenizer)
    found = reasons(local, REFERENCES, CONTEXT, "red", None, own_turns=True)
    own = {(past.dialogue_id, i) for past in REFERENCES for i, turn in enumerate(past.turns) if turn.role == "self"}
    assert {(reason.dialogue_id, reason.turn) for reason in found} == own

    def listed(references):
        prompt = prompting.render([past.turns for past in references], CONTEXT, own_turns=True).messages
        return float(local.logprobs(prompt, [{"role": "assistant", "content": "red"}]).sum())

    for reason in found:
        i = [past.dialogue_id for past in REFERENCES].index(reason.dialogue_id)
        shorter = [*REFERENCES[:i], without(REFERENCES[i], reason.turn), *REFERENCES[i + 1 :]]
        assert reason.fall == pytest.approx(listed(REFERENCES) - listed(shorter), abs=1e-4)


def test_lines_are_of_the_references_that_are_leaned_on_most(tokenizer):
    model = LocalModel(make("Llama", tokenizer), tokenizer)
    everything = reasons(model, REFERENCES, CONTEXT, "red", None)
    most = max(everything, key=lambda reason: reason.dialogue_fall)
    assert {reason.dialogue_id for reason in reasons(model, REFERENCES, CONTEXT, "red", 1)} == {most.dialogue_id}


@pytest.mark.parametrize("turns", ["all", "self"])
def test_a_chat_asks_of_its_last_reply_and_of_what_the_prompt_showed(turns, tiny_llama, tokenizer, encoder):
    chat = PersonaChat(tiny_llama(), tokenizer, encoder, replace(OPTIONS, reference_turns=turns))
    with pytest.raises(ValueError, match="no reply yet"):
        chat.why()
    for reference in REFERENCES:
        chat.add_dialogue(reference.turns, reference.dialogue_id)
    chat.reply("hi", max_new_tokens=4)
    reply = chat.reply("what colour is your boat ?", max_new_tokens=4)
    local = LocalModel(tiny_llama(), tokenizer)
    expected = reasons(local, chat.references, chat.turns[:-1], reply, 2, own_turns=turns == "self")
    assert [(reason.text, reason.fall) for reason in chat.why()] == [(reason.text, reason.fall) for reason in expected]
    alone = PersonaChat(tiny_llama(), tokenizer, encoder, OPTIONS)
    alone.reply("hi", max_new_tokens=4)
    assert alone.why() == []


# Ten facts, each told in a line among small talk, with the question that asks for it
PLANTED = [
    ("i painted my boat bright yellow last week", "what colour is your boat ?", "bright yellow"),
    ("my parrot is called captain biscuit", "what is your parrot called ?", "captain biscuit"),
    ("i grew up in a lighthouse near skagen", "where did you grow up ?", "in a lighthouse near skagen"),
    ("i repair accordions for a living", "what do you do for a living ?", "i repair accordions"),
    ("i cannot eat any walnuts", "is there something you cannot eat ?", "walnuts"),
    ("my sister juggles torches in a circus", "what does your sister do ?", "she juggles torches in a circus"),
    ("i collect old bicycle bells", "what do you collect ?", "old bicycle bells"),
    ("on sundays i swim across the harbour", "what do you do on sundays ?", "i swim across the harbour"),
    ("my first car was an orange tractor", "what was your first car ?", "an orange tractor"),
    ("i am learning to play the theremin", "which instrument are you learning ?", "the theremin"),
]  # fmt: skip
SMALL_TALK = [
    [("partner", "hi , how are you ?"), ("self", "fine , a bit tired"), ("partner", "long day ?"), ("self", "very")],
    [("partner", "did it rain ?"), ("self", "all morning"), ("partner", "here too"), ("self", "it will pass")],
    [("partner", "lunch tomorrow ?"), ("self", "sure , at one"), ("partner", "great"), ("self", "see you then")],
]


@pytest.mark.slow
def test_the_planted_line_is_what_a_reply_leans_on(encoder):
    from idl_hf.models.loading import load_model

    model = LocalModel(*load_model("offline", dtype=torch.float32))
    first = []
    for number, (fact, question, reply) in enumerate(PLANTED):
        talks = [[*talk] for talk in SMALL_TALK]
        talks[number % 3][2:2] = [("partner", "what else is new ?"), ("self", fact)]
        references = [
            Dialogue("ann", str(i), tuple(Turn(role, text) for role, text in talk)) for i, talk in enumerate(talks)
        ]
        context = [Turn("partner", "good morning"), Turn("self", "morning"), Turn("partner", question)]
        first.append(reasons(model, references, context, reply, 2)[0].text)
    hits = sum(text == fact for text, (fact, _, _) in zip(first, PLANTED, strict=True))
    assert hits >= 9, first
