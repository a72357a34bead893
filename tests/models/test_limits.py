"""What models differ in is asked of them: positions, caches, options of `generate`; all of them answer in a chat."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, StoppingCriteriaList

from idl_hf import PersonaChat
from idl_hf.models.limits import position_count
from idl_hf.models.replies import generate_replies
from idl_hf.prompting import prompt_ids
from idl_hf.rows.options import RowOptions

HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
KINDS = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2}, "opt": {"word_embed_proj_dim": 32, "ffn_dim": 64},
    "bloom": {"n_head": 2}, "gpt_neox": {}, "qwen3": HEADS, "gemma2": HEADS, "minimax": HEADS,
    "jamba": {**HEADS, "attn_layer_period": 2, "attn_layer_offset": 1}, "mamba": {}, "falcon_mamba": {},
    "mamba2": {"head_dim": 8, "num_heads": 8, "n_groups": 1, "state_size": 8}, "rwkv": {"attention_hidden_size": 32},
    "recurrent_gemma": {**HEADS, "lru_width": 32, "num_hidden_layers": 3},
}  # fmt: skip


@pytest.fixture
def model(tokenizer):
    """Makes a small model of a kind, with random weights: model("mamba")."""

    def make(kind: str, **settings):
        torch.manual_seed(0)
        sizes = {} if kind == "gpt2" else {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 2} if kind in ("opt", "gpt_neox") else {}
        ends = {"bos_token_id": 1, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        settings = {"vocab_size": len(tokenizer), **sizes, **heads, **ends, **KINDS[kind], **settings}
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval().float()

    return make


@pytest.fixture
def chat_with(tokenizer, encoder):
    def make(model, dialogues: int = 3, turns: int = 1):
        chat = PersonaChat(model, tokenizer, encoder, RowOptions(encoder="offline"))
        for i in range(dialogues):
            said = [("partner", f"any plans for day {i} ?"), ("self", f"i feed my {i + 2} goats , all of them")]
            chat.add_dialogue(said * turns)
        return chat

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_answers_twice_as_it_does_without_a_cache(kind, model, chat_with, tokenizer):
    chat = chat_with(model(kind))
    prompts = []
    for text in ("hi", "and then ?"):
        prompts.append(chat._prompt(text, 4))
        reply = chat.reply(text, max_new_tokens=4)
        again = dict(generate_replies(model(kind), tokenizer, prompts[-1:], max_new_tokens=4))
        assert again == {0: reply}


def test_a_prompt_loses_references_to_fit_the_positions_of_a_model(model, chat_with):
    small = model("gpt2", n_positions=128)
    assert position_count(small.config) == 128
    chat = chat_with(small, dialogues=5, turns=3)
    chat.reply("hi", max_new_tokens=8)
    assert chat.dropped_references > 0
    assert chat.prompt_tokens + 8 <= 128


def test_a_conversation_longer_than_the_positions_is_refused_by_name(model, chat_with):
    chat = chat_with(model("gpt2", n_positions=64), dialogues=1)
    with pytest.raises(ValueError, match=r"takes \d+ tokens .* has 64 positions"):
        chat.reply("hi , " * 40)


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 2}, {"num_beams": 2, "num_return_sequences": 1, "do_sample": True}, {"stop_strings": ["."]},
        {"stopping_criteria": StoppingCriteriaList()}, {"use_cache": False}, {"cache_implementation": "static"},
        {"cache_implementation": "dynamic"}, {"do_sample": True, "top_k": 5, "temperature": 0.7}, {"eos_token_id": 5},
        {"generation_config": GenerationConfig(num_beams=2)}, {"generation_config": GenerationConfig(use_cache=False)},
        {"repetition_penalty": 1.2}, {"return_dict_in_generate": False}, {"output_scores": True},
    ],
    ids=str,
)  # fmt: skip
def test_every_option_of_generate_works_in_a_chat(options, model, chat_with, tokenizer):
    chat = chat_with(model("qwen3"))
    lengths = []
    for text in ("hi", "and then ?"):
        chat.reply(text, max_new_tokens=3, **options)
        lengths.append(len(prompt_ids(tokenizer, chat._prompt("so ?", 3))))
    assert 0 < lengths[1] - lengths[0] < 60


def test_a_generation_config_is_followed(model, chat_with, tokenizer):
    chat = chat_with(model("qwen3"))
    greedy = chat.reply("hi", max_new_tokens=12)
    chat.reset()
    cut = chat.reply("hi", generation_config=GenerationConfig(max_new_tokens=3))
    assert greedy.startswith(cut)
    assert len(cut) < len(greedy)
    chat.reset()
    first = chat.reply("hi", generation_config=GenerationConfig(eos_token_id=list(range(len(tokenizer)))))
    assert cut.startswith(first)
    assert len(first) < len(cut)
