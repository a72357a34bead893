"""A model behind a URL: what it is sent, what it answers, and what is said where it does not."""

import logging
import socket
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import get_token

from idl_hf.models.endpoint import KEY_VARIABLE, Call, Endpoint, EndpointError, request_options
from idl_hf.models.responder import NoLogProbsError, Sampling
from tests.models.engine import Answer, Engine, events, piece

PROMPT = [{"role": "user", "content": "do you have pets ?"}]
SECRET = "sk-of-ruth-0123"


@pytest.fixture
def engine():
    with Engine(lambda messages: f" to {messages[-1]['content']} ") as engine:
        yield engine


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def one_reply(endpoint, sampling=None):
    return dict(endpoint.replies([PROMPT], sampling or Sampling()))[0]


def test_replies_are_those_of_their_prompts_asked_for_several_at_once(engine):
    together = threading.Barrier(4, timeout=30)  # broken unless four are asked for at once

    def reply(messages):
        together.wait()
        return f"to {messages[-1]['content']}"

    engine.reply = reply
    prompts = [[{"role": "user", "content": f"number {n}"}] for n in range(8)]
    replies = dict(Endpoint(engine.url, "ruth", at_once=4).replies(prompts, Sampling()))
    assert replies == {n: f"to number {n}" for n in range(8)}


def test_a_stream_is_the_reply_in_pieces(engine):
    engine.reply = lambda messages: "ja , två hundar 🐕"
    pieces = list(Endpoint(engine.url, "ruth").stream(PROMPT, Sampling()))
    assert "".join(pieces) == "ja , två hundar 🐕"
    assert len(pieces) > 5


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, {"temperature": 0}),
        ({"do_sample": False, "temperature": 0.7, "top_k": 5}, {"temperature": 0}),
        ({"do_sample": True}, {"temperature": 1.0}),
        (
            {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 0, "min_p": 0.05},
            {"temperature": 0.7, "top_p": 0.9, "top_k": 0, "min_p": 0.05},
        ),
        (
            {"repetition_penalty": 1.1, "seed": 3, "stop_strings": ["\n"]},
            {"temperature": 0, "repetition_penalty": 1.1, "seed": 3, "stop": ["\n"]},
        ),
    ],
)
def test_how_a_reply_is_written_is_asked_for(engine, options, asked):
    one_reply(Endpoint(engine.url, "ruth"), Sampling(12, options))
    assert engine.asked[0].body == {"model": "ruth", "messages": PROMPT, "max_tokens": 12, **asked}


def test_options_that_no_request_has_are_refused_by_name(engine):
    with pytest.raises(ValueError, match=r"asked for logits_processor, num_beams\. .* do_sample, temperature"):
        request_options(Sampling(4, {"num_beams": 4, "logits_processor": [], "top_p": 0.5}))
    with pytest.raises(ValueError, match="num_beams"):
        one_reply(Endpoint(engine.url, "ruth"), Sampling(4, {"num_beams": 4}))
    assert engine.asked == []


def test_there_are_no_log_probs(engine):
    with pytest.raises(NoLogProbsError, match=r"no log-probs.*without --engine"):
        Endpoint(engine.url, "ruth").logprobs(PROMPT, [])


def test_the_token_of_the_hub_is_never_sent(engine, tmp_path, monkeypatch):
    """Also where the Hub is said to be out of reach, as in all tests, and where a proxy would be told the prompts."""
    Path(tmp_path, "token").write_text("hf_saved", encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", "hf_set")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert get_token() == "hf_set"
    endpoint = Endpoint(engine.url, "ruth")
    assert endpoint.models() == ["ruth", "leroy"]
    one_reply(endpoint)
    known = {"host", "accept-encoding", "connection", "content-type", "content-length", "user-agent"}
    for asked in engine.asked:
        assert "hf_" not in str(asked)
        assert set(asked.headers) <= known
    assert [asked.path for asked in engine.asked] == ["/v1/models", "/v1/chat/completions"]


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_key_is_sent_and_never_shown(engine, by, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    if by == "environment":
        monkeypatch.setenv(KEY_VARIABLE, SECRET)
    endpoint = Endpoint(engine.url, "ruth", SECRET if by == "argument" else None)
    one_reply(endpoint)
    assert engine.asked[0].headers["authorization"] == f"Bearer {SECRET}"
    refusals = [
        Answer(401, b'{"error": {"message": "Incorrect key %s"}}' % SECRET.encode()),
        Answer(400, b'{"error": {"message": "bad request with %s"}}' % SECRET.encode()),
        Answer(200, b"no JSON but %s" % SECRET.encode()),
        Answer(200, b'{"error": "%s"}' % SECRET.encode()),
    ]
    for answer in refusals:
        engine.answers = [answer]
        with pytest.raises(EndpointError) as raised:
            one_reply(endpoint)
        assert SECRET not in str(raised.value) + repr(endpoint) + caplog.text
    with pytest.raises(ValueError, match="ASCII") as raised:
        Endpoint(engine.url, "ruth", f"{SECRET}\r\nX-Other: 1")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000", "ftp://127.0.0.1/v1", "http://", "http://host:port/v1", "http://a/v1?key=1", "http://a b/v1"],
)
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ValueError, match=r"must be like http://127.0.0.1:8000/v1, found"):
        Endpoint(url, "ruth")


def test_a_password_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match=KEY_VARIABLE) as raised:
        Endpoint(f"http://ruth:{SECRET}@127.0.0.1/v1", "ruth")
    assert SECRET not in str(raised.value)


def test_an_address_without_a_path_is_that_of_version_1(engine):
    assert Endpoint(engine.url.removesuffix("/v1") + "/", "ruth").models() == ["ruth", "leroy"]


def test_an_unknown_model_is_told_with_those_that_there_are(engine):
    with pytest.raises(EndpointError, match=r"has no model 'rut'\. Its models are: ruth, leroy\."):
        one_reply(Endpoint(engine.url, "rut"))
    with pytest.raises(EndpointError, match=r"answered with status 404"):
        Endpoint(engine.url.replace("v1", "v2"), "ruth").models()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(401), r"refused a request without a key \(401\)\. Set IDL_HF_ENGINE_KEY"),
        (Answer(400, b'{"error": {"message": "the prompt is too long."}}'), r"status 400: the prompt is too long\.$"),
        (Answer(500, b"<html>"), "status 500: Internal Server Error"),
        (Answer(200, b"<html>hello"), "no JSON object.*OpenAI-compatible"),
        (Answer(200, b'{"choices": []}'), "'choices' with a message was expected"),
        (Answer(200, b'{"error": {"message": "out of memory"}}'), r"failed: out of memory\.$"),
        (Answer(200, [b'{"choi']), "cannot be reached, or broke off"),
    ],
)
def test_what_an_engine_does_not_answer_is_a_sentence(engine, answer, told):
    engine.answers = [answer]
    with pytest.raises(EndpointError, match=told):
        one_reply(Endpoint(engine.url, "ruth"))


def test_an_engine_that_is_not_there(engine):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        with pytest.raises(EndpointError, match=r"cannot be reached.*refused.*Start it, or pass the URL"):
            one_reply(Endpoint(url, "ruth"))


def test_an_engine_that_says_nothing(engine):
    over = threading.Event()
    engine.reply = lambda messages: over.wait(30) and ""
    try:
        with pytest.raises(EndpointError, match=r"sent nothing for 0\.2 s"):
            one_reply(Endpoint(engine.url, "ruth", timeout=0.2))
    finally:
        over.set()


def test_a_redirect_is_not_followed(engine):
    with Engine(lambda messages: "from elsewhere") as other:
        for status in (302, 307, 308):
            engine.answers = [Answer(status, headers={"Location": f"{other.url}/chat/completions"})]
            with pytest.raises(EndpointError, match=r"redirects.*not followed"):
                one_reply(Endpoint(engine.url, "ruth"))
        assert other.asked == []


def test_a_busy_engine_is_asked_again_and_not_for_ever(engine):
    busy = [Answer(429, headers={"Retry-After": "0"}), Answer(503, headers={"Retry-After": "0"})]
    engine.answers = list(busy)
    assert one_reply(Endpoint(engine.url, "ruth")) == "to do you have pets ?"
    assert len(engine.asked) == 3
    engine.answers = busy * 10
    with pytest.raises(EndpointError, match=r"busy each of 6 times \(503\)"):
        one_reply(Endpoint(engine.url, "ruth"))
    assert len(engine.asked) == 9


def test_one_who_waits_for_a_busy_engine_can_break_off(engine):
    engine.answers = [Answer(429, headers={"Retry-After": "60"})]
    call = Call()
    threading.Timer(0.5, call.break_off).start()
    begun = time.monotonic()
    with pytest.raises(EndpointError, match="busy until the request was broken off"):
        next(Endpoint(engine.url, "ruth").stream(PROMPT, Sampling(), call))
    assert time.monotonic() - begun < 30
    assert len(engine.asked) == 1


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        (events(piece("i have")), "ended the connection before the reply had ended"),
        ([*events(piece("i have")), b"data: [DONE]\n\n"], "ended the connection before the reply had ended"),
        ([*events(piece("i have")), b"data: {\n\n"], "no JSON object"),
        ([*events(piece("i have")), *events({"error": {"message": "out of memory"}})], "failed: out of memory"),
    ],
)
def test_a_stream_that_ends_before_the_reply_does(engine, pieces, told):
    engine.answers = [Answer(200, pieces)]
    taken = []
    with pytest.raises(EndpointError, match=told):
        taken += Endpoint(engine.url, "ruth").stream(PROMPT, Sampling())
    engine.answers = [Answer(200, pieces)]
    stream = Endpoint(engine.url, "ruth").stream(PROMPT, Sampling())
    assert next(stream) == "i have"
    stream.close()


def test_a_stream_that_is_not_taken_closes_its_connection(engine):
    closed = threading.Event()

    def pieces():
        try:
            while True:
                yield from events(piece("and " * 1000))
        finally:
            closed.set()

    engine.answers = [Answer(200, pieces())]
    stream = Endpoint(engine.url, "ruth").stream(PROMPT, Sampling())
    next(stream)
    stream.close()
    assert closed.wait(30)


def test_one_failure_ends_all_and_what_was_answered_is_kept(engine):
    prompts = [[{"role": "user", "content": f"number {n}"}] for n in range(50)]
    engine.reply = lambda messages: "" if messages[-1]["content"] != "number 3" else 1 / 0
    replies = Endpoint(engine.url, "ruth", at_once=1).replies(prompts, Sampling())
    assert [next(replies)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(EndpointError):
        next(replies)
    assert len(engine.asked) < 10
