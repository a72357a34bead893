"""A base model without a chat template, such as GPT-2, is given lines of plain text."""

import copy

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from idl_hf import prompting
from idl_hf.models import replies
from idl_hf.models.loading import load_model

MESSAGES = [
    {"role": "system", "content": "I live in maine."},
    {"role": "user", "content": "any plans?"},
    {"role": "assistant", "content": "aye, mending nets."},
    {"role": "user", "content": "and then?"},
]


@pytest.fixture(scope="module")
def loaded(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4)).save_pretrained(folder)
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    bare.save_pretrained(folder)
    return load_model(str(folder), chat_template="plain")


def test_messages_become_lines_that_end_with_whose_turn_it_is(loaded):
    _, tokenizer = loaded
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    end = tokenizer.eos_token
    assert text == (
        f"{tokenizer.bos_token}system: I live in maine.\nuser: any plans?\nassistant: aye, mending nets.{end}\nuser: "
        f"and then?\nassistant:"
    )


def test_only_replies_and_their_ends_are_learnt(loaded):
    _, tokenizer = loaded
    replies = [{"role": "assistant", "content": "supper."}, {"role": "user", "content": "ok"}, MESSAGES[2]]
    encoded = prompting.encode(tokenizer, MESSAGES, replies)
    learnt = [i for i, kept in zip(encoded["input_ids"], encoded["completion_mask"], strict=True) if kept]
    end = tokenizer.eos_token
    assert tokenizer.decode(learnt) == f" supper.{end} aye, mending nets.{end}"


def test_an_untrained_model_that_goes_on_for_both_is_cut_off(loaded, tokenizer):
    text = "i sail.\n and fish.\nuser: what do you fish?\nassistant: cod."
    for tokens, expected in ((loaded[1], "i sail.\nand fish."), (tokenizer, text)):  # a template with marks of its own
        assert replies.reply_text(tokens, tokens(text)["input_ids"]) == expected


def test_a_template_of_its_own_is_kept(tiny_llama, tokenizer, tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_model(str(tmp_path))[1].chat_template == tokenizer.chat_template
