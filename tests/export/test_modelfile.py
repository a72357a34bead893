"""A Modelfile, read by Ollama's rules, says what it was given, and its template writes what the tokenizer's does."""

import copy
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig, LlamaConfig

from idl_hf.chat_template import PLAIN_TEMPLATE, conversation, reply_head
from idl_hf.export.modelfile import go_template, modelfile, quoted
from idl_hf.models.generation import GenerationSettings
from idl_hf.token_ids import prompt_ids
from tests.export.ollama_parser import commands

MESSAGES = [
    {"role": "user", "content": 'he said "hi"'},
    {"role": "assistant", "content": 'first line\n\nthird: "quoted"'},
    {"role": "user", "content": ' """ \n# no comment\nFROM elsewhere'},
    {"role": "assistant", "content": '"'},
]
LLAMA_2 = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] "
    "+ ' [/INST]' }}{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
THINKING = (  # as Qwen3 does, which takes the thoughts out of all but the last reply
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' "
    "and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def written(tokenizer, messages=MESSAGES, settings=None, **config):
    settings = settings or GenerationSettings(temperature=0.7, seed=3, repetition_penalty=1.1)
    ends = GenerationConfig(eos_token_id=[0, 2])
    text = modelfile("./model.gguf", messages, settings, tokenizer, LlamaConfig(**config), ends)
    return commands(text)


def test_what_it_says_is_what_it_was_given(tokenizer):
    found = written(tokenizer)
    assert found[0] == ("from", "./model.gguf")
    said = [value for name, value in found if name == "message"]
    assert said == [f"{m['role']}: {m['content']}" for m in MESSAGES[:2]] + [
        'user:  " " " \n# no comment\nFROM elsewhere',  # what would end the value within is written apart
        'assistant: "',
    ]
    parameters = [(name, value) for name, value in found if name not in ("from", "template", "message", "stop")]
    assert dict(parameters) == {
        "temperature": "0.7", "top_p": "1.0", "top_k": "50", "min_p": "0.0", "seed": "3", "repeat_penalty": "1.1",
        "num_predict": "60", "num_ctx": "2048",
    }  # fmt: skip
    assert [value for name, value in found if name == "stop"] == ["<|endoftext|>", "<|im_end|>"]


def test_the_context_has_room_for_the_prompt_and_more_within_the_positions(tokenizer):
    long = [{"role": "user", "content": "goats " * 500}, {"role": "assistant", "content": "yes"}]
    prompt = prompt_ids(tokenizer, [*long, {"role": "user", "content": "hello"}])
    assert dict(written(tokenizer, long, max_position_embeddings=8192))["num_ctx"] == str(len(prompt) + 2048)
    assert dict(written(tokenizer, long, max_position_embeddings=1024))["num_ctx"] == "1024"


@given(st.text(st.sampled_from('a"\n \t\r#:\\{}é🐕')))
def test_any_text_is_read_back(text):
    ((_, value),) = commands(f"MESSAGE user {quoted(text)}\n")
    if '"""' not in text:
        assert value == f"user: {text}"
    assert value.replace('" " "', '"""') == f"user: {text}".replace('" " "', '"""')


def test_characters_that_ollama_drops_are_told(tokenizer, caplog):
    written(tokenizer, [{"role": "user", "content": "family 👨\u200d👩"}, {"role": "assistant", "content": "ok"}])
    assert "invisible characters, U+200D, which Ollama leaves out" in caplog.text


def go(template, messages):
    """What Go's text/template makes of the few things that these templates say."""
    said = (
        '{{ $last := "" }}{{ range .Messages }}{{ if eq .Role "system" }}_{{ .Content }}_'
        '{{ else if eq .Role "user" }}{{ if eq $last "" }}_{{ else if ne $last "system" }}_{{ end }}'
        '{{ .Content }}_{{ else if eq .Role "assistant" }}_{{ .Content }}{{ end }}{{ $last = .Role }}{{ end }}'
    )
    pieces = re.fullmatch(re.escape(said).replace("_", "(.*)"), template, re.DOTALL).groups()
    system, after_system, begin, again, reply, gap = pieces
    text, last = "", ""
    for message in messages:
        if message["role"] == "system":
            text += f"{system}{message['content']}{after_system}"
        elif message["role"] == "user":
            text += {"": begin, "system": ""}.get(last, again) + message["content"] + reply
        else:
            text += gap + message["content"]
        last = message["role"]
    return text


@pytest.mark.parametrize("template", [None, LLAMA_2], ids=["ChatML", "Llama 2"])
def test_the_template_writes_what_the_tokenizers_does(tokenizer, template):
    own = copy.deepcopy(tokenizer)
    own.chat_template = template or own.chat_template
    messages = [{"role": "assistant" if i % 2 else "user", "content": f"number {i}\nof five"} for i in range(5)]
    assert go(go_template(own), messages) == reply_head(own, messages)
    assert conversation(own, messages[:4]).startswith(go(go_template(own), messages[:4]))
    listed = [{"role": "system", "content": "You said:\n- hello"}, *messages]
    assert go(go_template(own), listed) == reply_head(own, listed)


def test_a_beginning_that_is_added_to_any_text_is_left_to_ollama(tokenizer):
    own = copy.deepcopy(tokenizer)
    own.chat_template = LLAMA_2
    assert "}}<|im_start|>[INST] " in go_template(own)
    from tokenizers.processors import TemplateProcessing

    bos = (own.bos_token, own.bos_token_id)
    own.backend_tokenizer.post_processor = TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    assert "}}[INST] " in go_template(own)
    assert "<|im_start|>" not in go_template(own)


@pytest.mark.parametrize("template", [THINKING, PLAIN_TEMPLATE], ids=["thoughts taken out", "lines indented"])
def test_a_template_that_cannot_be_said_is_left_out_and_told(tokenizer, caplog, template):
    caplog.set_level(logging.WARNING)
    own = copy.deepcopy(tokenizer)
    own.chat_template = template
    assert go_template(own) is None
    assert "template" not in dict(written(own))
    assert "The chat template cannot be said as one of Ollama's" in caplog.text
