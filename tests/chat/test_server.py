"""The server as its clients see it: the real openai client and bare sockets against a real uvicorn."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
import uvicorn

from idl_hf import PersonaChat
from idl_hf.chat.api import make_app
from idl_hf.chat.persons import read_all_people
from idl_hf.chat.recipe import Recipe
from idl_hf.chat.server import ServeArguments, _service, serve_endpoint, serve_model
from idl_hf.cli import main
from idl_hf.models.generation import GenerationSettings
from idl_hf.models.loading import LoadedModel
from idl_hf.rows.options import RowOptions
from tests.dpoc.models import tiny

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds until an answer counts as none; a machine may be busy
WORDS = {"ruth": "herring", "kit": "violin", "bo": "saffron", "zoë": "glacier", "a/b": "tractor"}
GREEDY = {"temperature": 0, "max_tokens": 6, "extra_body": {"repetition_penalty": 1}}
KEY = "a-secret"


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A folder with the dialogues of five people in two splits, each of whom has a word of their own."""
    folder = tmp_path_factory.mktemp("logs")
    for split, names in (("train", ["ruth", "kit", "bo"]), ("validation", ["zoë", "a/b"])):
        lines = [
            {"person_id": name, "dialogue_id": f"{name}-{i}",
             "turns": [{"role": "partner", "text": asked}, {"role": "self", "text": f"{told} {WORDS[name]}"}]}
            for name in names
            for i, (asked, told) in enumerate([("any plans ?", "i think of my"), ("and you ?", "always a")])
        ]  # fmt: skip
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def make_model(tokenizer):
    """A tiny model that says other things to other prompts, the same each time it is made."""
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 4096, "num_hidden_layers": 2}
    return lambda: tiny("Llama", **sizes, **special).float()


@pytest.fixture(scope="module")
def serve(logs, make_model, tokenizer):
    """Starts a server of this process and returns its port and engine."""
    started = []

    def begin(model="tiny", **options):
        args = ServeArguments(model, str(logs), port=0, cache_gib=0.05, **options)
        recipe = Recipe(RowOptions(encoder="offline"), 2048, GenerationSettings())
        people = read_all_people(logs)
        if args.engine:
            served = serve_endpoint(args, people, recipe)
        else:
            served = serve_model(args, people, recipe, LoadedModel(make_model(), tokenizer))
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(make_app(served.service), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        started.append((server, thread, served))
        return listening.getsockname()[1], getattr(served.join, "__self__", None)

    yield begin
    for server, thread, served in reversed(started):
        served.stop(0)
        server.should_exit = True
        thread.join()
        served.join()


@pytest.fixture(scope="module")
def served(serve):
    return serve()


@pytest.fixture(scope="module")
def small(serve):
    """One that writes one reply at a time, lets another wait, and has a key."""
    return serve(max_running=1, max_queued=1, api_key=KEY)


def client_of(port, key="any"):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0, timeout=PATIENCE)


@pytest.fixture(scope="module")
def client(served):
    with client_of(served[0]) as client:
        yield client


def said(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def health(port):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return json.loads(read_all(connection).split(b"\r\n\r\n", 1)[1])


def read_all(connection):
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def chats(logs, make_model, tokenizer, encoder):
    """Makes a chat with a person, in which nothing is shared with others."""
    people, model = read_all_people(logs), make_model()
    chat = PersonaChat(model, tokenizer, encoder, RowOptions(encoder="offline"))
    return lambda name: chat.with_person(people[name])


# Models


def test_each_person_of_all_splits_is_a_model(client):
    assert [model.id for model in client.models.list()] == list(WORDS)
    assert client.models.retrieve("a/b").owned_by == "idl_hf"


@pytest.mark.parametrize(("name", "meant"), [("rut", " Did you mean ruth?"), ("nobody-like-this", "")])
def test_an_unknown_person_is_not_found(client, name, meant):
    asks = (
        lambda: client.models.retrieve(name),
        lambda: client.chat.completions.create(model=name, messages=said("hi")),
    )
    for ask in asks:
        with pytest.raises(openai.NotFoundError) as refused:
            ask()
        assert refused.value.body["message"] == f"There is no person '{name}'.{meant} GET /v1/models lists them."
        assert (refused.value.body["code"], refused.value.body["param"]) == ("model_not_found", "model")


# Replies


@pytest.mark.parametrize("name", WORDS)
def test_replies_are_those_of_a_chat(client, chats, name):
    chat, messages = chats(name), []
    for text in ("hi , any plans ?", "really ? tell me more"):
        messages += said(text)
        answer = client.chat.completions.create(model=name, messages=messages, **GREEDY)
        [choice] = answer.choices
        assert choice.message.content == chat.reply(text, max_new_tokens=6)
        assert answer.usage.prompt_tokens == chat.prompt_tokens
        messages.append({"role": "assistant", "content": choice.message.content})
    assert WORDS[name] in str(chat._prompt("so ?", 6))


def test_a_stream_is_the_reply_in_pieces(client):
    asked = {"model": "kit", "messages": said("hi"), **GREEDY}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content for chunk in chunks[:-1]]
    assert "".join(piece or "" for piece in pieces) == whole.choices[0].message.content
    assert len(pieces) > 3
    assert [chunk.choices[0].finish_reason for chunk in chunks[-3:-1]] == [None, whole.choices[0].finish_reason]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_second_turn_computes_its_new_tokens_only(client):
    messages = said("tell me of the sea", "it is wide", "how deep is it ?")
    for count in (1, 3):
        usage = client.chat.completions.create(model="bo", messages=messages[:count], **GREEDY).usage
        new = usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    # The client's reply was never written here, so that it is new too
    assert usage.prompt_tokens > 60 > 30 > new > 0
    again = client.chat.completions.create(model="bo", messages=messages, **GREEDY).usage
    assert again.prompt_tokens_details.cached_tokens >= again.prompt_tokens - 1


def test_a_reply_ends_at_its_length_or_before_a_stop(client):
    asked = {"model": "ruth", "messages": said("hi"), "temperature": 0}
    for name in ("max_tokens", "max_completion_tokens"):
        answer = client.chat.completions.create(**asked, **{name: 5})
        assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (5, "length")
    text = answer.choices[0].message.content
    for stop in (text[3:5], ["never said", text[3:]]):
        cut = client.chat.completions.create(**asked, max_tokens=5, stop=stop)
        assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == (text[:3].strip(), "stop")
        stream = client.chat.completions.create(**asked, max_tokens=5, stop=stop, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == text[:3].strip()


def test_a_seed_gives_the_same_reply_again(client):
    def reply(seed):
        asked = {"model": "ruth", "messages": said("hi"), "temperature": 1.5, "max_tokens": 8, "seed": seed}
        return client.chat.completions.create(**asked).choices[0].message.content

    assert reply(1) == reply(1)
    assert len({reply(seed) for seed in (1, 2, None, None)}) == 4


def test_an_instruction_goes_before_the_past_dialogues(client):
    plain = client.chat.completions.create(model="ruth", messages=said("hi"), **GREEDY)
    told = [{"role": "system", "content": "Answer like a pirate."}, *said("hi")]
    answer = client.chat.completions.create(model="ruth", messages=told, **GREEDY)
    assert answer.choices[0].message.content != plain.choices[0].message.content


def test_a_long_message_is_answered_and_one_that_is_too_long_refused(client, chats):
    long = "how is the weather at sea today my friend ? " * 230
    assert len(long) > 10_000
    answer = client.chat.completions.create(model="ruth", messages=said(long), **GREEDY)
    assert answer.choices[0].message.content == chats("ruth").reply(long, max_new_tokens=6)
    for text in ("word " * 5000, "x" * 200_000):
        with pytest.raises(openai.BadRequestError, match="but the model has 4096 positions"):
            client.chat.completions.create(model="ruth", messages=said(text), **GREEDY)
    with pytest.raises(openai.APIStatusError, match="more than 4194304 bytes"):
        client.chat.completions.create(model="ruth", messages=said("x" * 5_000_000), **GREEDY)


def test_fifty_conversations_at_once_mix_no_persons(served, client, chats):
    port, engine = served
    texts = ("what do you do all day ?", "do you sing ?")
    expected = {(name, text): chats(name).reply(text, max_new_tokens=6) for name in WORDS for text in texts}
    assert len(set(expected.values())) == len(expected)  # whoever got another's prompt would say another thing
    together = threading.Barrier(50)

    def talk(place):
        name, text = list(expected)[place % len(expected)]
        together.wait()
        if place % 3:
            answer = client.chat.completions.create(model=name, messages=said(text), **GREEDY)
            return (name, text), answer.choices[0].message.content
        stream = client.chat.completions.create(model=name, messages=said(text), **GREEDY, stream=True)
        return (name, text), "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    with ThreadPoolExecutor(50) as pool:
        for asked, reply in pool.map(talk, range(50)):
            assert reply == expected[asked]
    wait_for(lambda: health(port)["open"] == 0)
    assert all(not node.users for node in engine.tree.nodes())


# What goes wrong


def request_of(fields, *headers):
    body = json.dumps({"model": "ruth", "messages": said("hi"), **fields}).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


JSON = "Content-Type: application/json"
HALF = json.dumps({"model": "\ud800", "messages": said("hi")}).encode()  # of a character


@pytest.mark.parametrize("stream", [True, False])
def test_clients_that_are_killed_free_their_places(served, stream):
    port, engine = served
    before = engine.state().cached_tokens
    asked = request_of({"max_tokens": 3000, "stream": stream, "temperature": 0, "stop": ["\x00"]}, JSON)
    connections = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(4)]
    for connection in connections:
        connection.sendall(asked)
    wait_for(lambda: health(port)["running"] == 4)
    for connection in connections:
        connection.close()
    wait_for(lambda: health(port)["open"] == health(port)["running"] == 0)
    assert engine.state().cached_tokens < before + 3000  # they were cut off, not written to their end


def test_a_client_that_is_killed_while_it_waits_is_gone(small):
    port, _ = small
    asked = request_of({"max_tokens": 3000, "stream": True, "temperature": 0}, JSON, f"Authorization: Bearer {KEY}")
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as first:
        first.sendall(asked)
        wait_for(lambda: health(port)["running"] == 1)
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as second:
            second.sendall(asked)
            wait_for(lambda: health(port)["waiting"] == 1)
        wait_for(lambda: health(port)["waiting"] == 0 and health(port)["open"] == 1)
    wait_for(lambda: health(port)["open"] == 0)


def test_too_many_are_told_to_come_again(small):
    port, _ = small
    client = client_of(port, KEY)
    asked = {"model": "ruth", "messages": said("hi"), "temperature": 0}
    with client:
        streams = [client.chat.completions.create(**asked, max_tokens=3000, stream=True) for _ in range(2)]
        with pytest.raises(openai.RateLimitError, match="2 requests are being answered or wait") as refused:
            client.chat.completions.create(**asked)
        assert int(refused.value.response.headers["Retry-After"]) > 0
        assert refused.value.body["code"] == "rate_limit_exceeded"
        for stream in streams:
            stream.close()
        wait_for(lambda: health(port)["open"] == 0)
        assert client.chat.completions.create(**asked, max_tokens=2).usage.completion_tokens == 2


def test_a_wrong_key_or_none_is_refused(small):
    port, _ = small
    for key in ("another", KEY + "x", "Ω"):
        asked = (
            f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(asked.encode())
            assert read_all(connection).startswith(b"HTTP/1.1 401")
    with client_of(port, "x") as client, pytest.raises(openai.AuthenticationError, match="found a wrong one") as no:
        client.models.list()
    assert no.value.body["code"] == "invalid_api_key"
    with client_of(port, KEY) as client:
        assert len(list(client.models.list())) == len(WORDS)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(request_of({}, JSON))
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"found none" in answer


@pytest.mark.parametrize(
    ("request_line", "headers", "body", "status", "text"),
    [
        ("POST /v1/chat/completions", [JSON], b"{", 400, "The body is no JSON"),
        ("POST /v1/chat/completions", [JSON], b"[1]", 400, "must be a JSON object"),
        ("POST /v1/chat/completions", [JSON], b"[" * 100_000, 400, "The body is no JSON"),
        ("POST /v1/chat/completions", ["Content-Type: text/plain"], b"{}", 415, "Content-Type: application/json"),
        ("POST /v1/chat/completions", [JSON], HALF, 404, "There is no person '\\ud800'. GET /v1/models lists them."),
        ("POST /v1/chat/completions", [JSON], b'{"\\ud800": 1}', 400, "'\\ud800' is unknown here"),
        ("GET /v1/chat/completions", [], b"", 405, "GET /v1/chat/completions is not served"),
        ("GET /v1/embeddings", [], b"", 404, "GET /v1/embeddings is not served"),
    ],
)
def test_other_requests_get_a_sentence_in_an_error_body(served, request_line, headers, body, status, text):
    lines = [f"{request_line} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", "Connection: close"]
    with socket.create_connection(("127.0.0.1", served[0]), timeout=PATIENCE) as connection:
        connection.sendall("\r\n".join([*lines, *headers, "", ""]).encode() + body)
        head, _, answer = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert text in json.loads(answer)["error"]["message"]


def test_a_page_that_calls_itself_another_host_is_refused(served):
    with socket.create_connection(("127.0.0.1", served[0]), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("host", ["::1", "0:0:0:0:0:0:0:1"])
def test_an_ipv6_address_is_a_host_that_is_answered(host):
    hosts = _service(ServeArguments("tiny", "logs", host=host), None, None, None, None).hosts  # type: ignore[arg-type]
    assert f"[{host}]" in hosts
    assert f"[{host}]:8000".split(":")[0] in hosts  # all that Starlette 0.40 reads of the header


def test_an_engine_that_has_ended_is_not_healthy(serve):
    port, engine = serve()
    assert health(port)["status"] == "ok"
    engine.stop()
    engine.join()
    assert "writes no more replies" in health(port)["error"]["message"]
    with client_of(port) as client, pytest.raises(openai.APIStatusError, match="shutting down") as refused:
        client.chat.completions.create(model="ruth", messages=said("hi"))
    assert refused.value.status_code == 503


# Replies of another engine


def test_an_engine_at_a_url_writes_the_replies(serve, make_model, tokenizer, tmp_path_factory, client):
    folder = tmp_path_factory.mktemp("model")
    make_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # The engine is another server of ours, with "ruth" for its model
    port, engine = serve(model=str(folder), max_running=1)
    with pytest.raises(ValueError, match=r"has no model 'vllm'\. Its models are: ruth, kit"):
        serve(model=str(folder), engine=f"http://127.0.0.1:{port}/v1", engine_model="vllm")
    before, _ = serve(model=str(folder), engine=f"http://127.0.0.1:{port}", engine_model="ruth", api_key=KEY)
    asked = {"model": "kit", "messages": said("hi"), "temperature": 0, "max_tokens": 5}
    with client_of(before, KEY) as ours:
        whole = ours.chat.completions.create(**asked)
        *pieces, last = ours.chat.completions.create(**asked, stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole.choices[0].message.content
        assert whole.choices[0].finish_reason == last.choices[0].finish_reason == "length"
        assert whole.usage.prompt_tokens == client.chat.completions.create(**asked).usage.prompt_tokens
        with socket.create_connection(("127.0.0.1", before), timeout=PATIENCE) as killed:
            killed.sendall(
                request_of(
                    {"max_tokens": 3000, "stream": True, "temperature": 0}, JSON, f"Authorization: Bearer {KEY}"
                )
            )
            wait_for(lambda: health(port)["running"] == 1)
        wait_for(lambda: health(before)["open"] == health(before)["running"] == health(port)["open"] == 0)
        assert engine.state().cached_tokens < 3000
        with pytest.raises(openai.APIStatusError, match="positions") as refused:
            ours.chat.completions.create(**asked | {"max_tokens": 4090})
        assert refused.value.status_code == 400


# The command


def test_a_server_under_load_ends_when_it_is_told_to(logs, make_model, tokenizer, tmp_path):
    make_model().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    words = ["serve", "--model", str(tmp_path / "model"), "--data_dir", str(logs), "--port", "0"]
    command = [sys.executable, "-m", "idl_hf.cli", *words, "--encoder", "offline", "--max_running", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, env=os.environ | {"PYTHONPATH": str(ROOT)}) as server:
        try:
            line = next(line for line in server.stdout if "Serving" in line)
            assert "Serving 5 people at http://127.0.0.1:" in line
            port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
            with client_of(port) as client, ThreadPoolExecutor(5) as pool:
                ends = [pool.submit(how_it_ends, client, place) for place in range(5)]
                wait_for(lambda: (health(port)["running"], health(port)["waiting"]) == (2, 3))
                server.send_signal(signal.SIGTERM)
                for end in ends:
                    assert end.result() in ("stop", "length") or "The server is shutting down" in end.result()
            assert server.wait(timeout=PATIENCE) == 0
            assert "Traceback" not in server.stderr.read()
        finally:
            server.kill()


def how_it_ends(client, place):
    """The reason that a reply ends with, or the error that the client is given."""
    asked = {"model": "ruth", "messages": said("hi"), "max_tokens": 3500, "temperature": 0}
    try:
        if place == 0:
            return client.chat.completions.create(**asked).choices[0].finish_reason
        *_, last = client.chat.completions.create(**asked, stream=True)
        return last.choices[0].finish_reason
    except openai.APIError as error:
        return str(error)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines, where anybody could talk to these people. Pass"),
        (["--port", "70000"], "--port must be from 0 to 65535, found 70000."),
        (["--cache_gib", "0"], "--cache_gib must be a number above 0, found 0.0."),
        (["--api_key", ""], "--api_key must be a text of ASCII characters that is not empty."),
    ],
)
def test_options_that_cannot_be_are_told(logs, capsys, options, text):
    assert main(["serve", "--model", "offline", "--data_dir", str(logs), *options]) == 1
    assert text in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(logs, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--model", "offline", "--data_dir", str(logs), "--port", port]) == 1
    assert f"Cannot listen at 127.0.0.1 port {port}: Address already in use" in capsys.readouterr().err
