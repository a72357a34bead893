"""What a request asks for is read, and what cannot be had is refused with a sentence in OpenAI's error body."""

import json

import pytest

from idl_hf.chat.api_request import RefusalError, parse_request
from idl_hf.models.generation import SAMPLED
from idl_hf.schema import Turn

HELLO = [{"role": "user", "content": "hello"}]


def parse(**fields):
    return parse_request({"model": "ruth", "messages": HELLO, **fields}, SAMPLED)


def test_what_is_left_open_is_as_in_a_chat():
    asked = parse()
    assert (asked.model, asked.context, asked.system) == ("ruth", (Turn("partner", "hello"),), "")
    assert (asked.settings, asked.stops, asked.stream, asked.include_usage) == (SAMPLED, (), False, False)


def test_all_that_can_be_asked_for():
    asked = parse(
        temperature=0.3, top_p=0.5, top_k=7, min_p=0.2, repetition_penalty=1.5, seed=-1, max_tokens=9,
        stop=["a", "b"], stream=True, stream_options={"include_usage": True},
    )  # fmt: skip
    settings = asked.settings
    assert (settings.temperature, settings.top_p, settings.top_k, settings.min_p) == (0.3, 0.5, 7, 0.2)
    assert (settings.repetition_penalty, settings.seed, settings.max_new_tokens) == (1.5, 2**32 - 1, 9)
    assert (asked.stops, asked.stream, asked.include_usage) == (("a", "b"), True, True)
    assert parse(stop="x").stops == ("x",)
    assert parse(max_completion_tokens=4, max_tokens=4).settings.max_new_tokens == 4


def test_a_conversation_of_all_roles_and_parts():
    messages = [
        {"role": "developer", "content": "be kind"},
        {"role": "assistant", "content": "hey"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    asked = parse(messages=messages)
    assert (asked.system, asked.context) == ("be kind", (Turn("self", "hey"), Turn("partner", "a\nb")))


@pytest.mark.parametrize("content", ["", None, []])
def test_a_reply_that_was_nothing_may_be_sent_back(content):
    asked = parse(messages=[*HELLO, {"role": "assistant", "content": content}, *HELLO])
    assert [turn.role for turn in asked.context] == ["partner", "self", "partner"]
    assert asked.context[1].text == ""


def test_what_asks_for_nothing_is_taken():
    parse(
        n=1, tools=[], tool_choice="none", logprobs=False, presence_penalty=0.0, logit_bias={}, user="u", store=False,
        response_format={"type": "text"}, seed=None, functions=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "param", "text"),
    [
        ({"n": 2}, "n", "'n' is not supported, found 2: leave it out, or pass 1."),
        ({"tools": [{}]}, "tools", "'tools' is not supported"),
        ({"logprobs": True}, "logprobs", "not supported"),
        ({"presence_penalty": 0.5}, "presence_penalty", "leave it out, or pass 0."),
        ({"response_format": {"type": "json_object"}}, "response_format", "not supported"),
        ({"beam": 3}, "beam", "'beam' is unknown here; leave it out."),
        ({"b\ud800m": 3}, "b\\ud800m", "'b\\ud800m' is unknown here; leave it out."),
        ({"stop": ["a", "\ud800"]}, "stop", "must be a text of valid Unicode"),
        ({"model": 3}, "model", "must be the id of a person"),
        ({"stream": "yes"}, "stream", "must be true or false, found 'yes'"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "with 'stream': true"),
        ({"stream": True, "stream_options": 3}, "stream_options", "must be an object"),
        ({"temperature": -1}, "temperature", "must be a number from 0 to 100, found -1"),
        ({"temperature": "hot"}, "temperature", "found 'hot'"),
        ({"top_p": 0}, "top_p", "from 1e-06 to 1"),
        ({"seed": 1.5}, "seed", "must be a whole number, found 1.5"),
        ({"max_tokens": 0}, "max_tokens", "must be a whole number, 1 or more, found 0"),
        ({"max_completion_tokens": True}, "max_completion_tokens", "must be a whole number"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens", "differ; pass one"),
        ({"stop": ["a", ""]}, "stop", "none of them empty"),
        ({"stop": ["a"] * 17}, "stop", "at most 16 texts"),
        ({"messages": []}, "messages", "must be a list of messages"),
        ({"messages": ["hi"]}, "messages[0]", "must be an object with role and content"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "x"}]}, "messages", "last message must be the user's"),
        ({"messages": [*HELLO, {"role": "system", "content": "x"}]}, "messages[1]", "as the first message system"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]", "found 'tool'"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages[0]", "a text and not empty"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0]", "a text and not empty"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0]", "halves of characters"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0]",
            "a part of the type 'image_url'; people answer to text alone",
        ),
        (
            {"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}, *HELLO]},
            "messages[0]",
            "'tool_calls', which is not supported",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_refused_with_a_sentence(fields, param, text):
    with pytest.raises(RefusalError) as refused:
        parse(**fields)
    body = refused.value.body()["error"]
    json.dumps(body, ensure_ascii=False).encode()  # as it is sent
    assert refused.value.status == 400
    assert text in body["message"]
    assert body["message"].endswith(".")
    assert (body["type"], body["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize("body", [[], "x", None, 3])
def test_a_body_that_is_no_object_is_refused(body):
    with pytest.raises(RefusalError, match="must be a JSON object"):
        parse_request(body, SAMPLED)
