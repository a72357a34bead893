"""Answers of another engine end there and here once nobody wants them, also while the engine says nothing."""

import asyncio
import socket
import threading
from contextlib import closing

import pytest

from idl_hf.chat.api_request import parse_request
from idl_hf.chat.remote_answers import RemoteAnswers
from idl_hf.models.endpoint import Endpoint
from idl_hf.models.generation import SAMPLED
from tests.models.engine import events, piece

PATIENCE = 60  # seconds, far less than an endpoint waits for an engine
PROMPT = [{"role": "user", "content": "hi"}]
ASKED = parse_request({"model": "ruth", "messages": PROMPT}, SAMPLED)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b"".join(events(piece("hello")))
BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"


async def ended(answers):
    async with asyncio.timeout(PATIENCE):
        while answers.state()["running"]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("sent", [b"", STREAM, BUSY], ids=["nothing", "a piece", "busy"])
def test_one_that_nobody_wants_ends_though_the_engine_says_nothing(tokenizer, sent):
    async def leave(listening):
        answers = RemoteAnswers(Endpoint(f"http://127.0.0.1:{listening.getsockname()[1]}", "ruth"), tokenizer)
        answer = answers.answer(PROMPT, ASKED)
        connection, _ = await asyncio.to_thread(listening.accept)
        with connection:
            connection.settimeout(PATIENCE)
            while b"messages" not in await asyncio.to_thread(connection.recv, 65536):
                pass
            connection.sendall(sent)
            if sent == STREAM:
                assert await anext(answer.pieces()) == "hello"
            else:
                await asyncio.sleep(0.2)
            assert answers.state() == {"running": 1}
            answer.close()
            await ended(answers)
            assert await asyncio.to_thread(connection.recv, 65536) == b""  # the engine is told

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)
        asyncio.run(leave(listening))


def test_one_counts_until_its_thread_has_ended(tokenizer):
    is_over = threading.Event()

    class Deaf:
        def stream(self, prompt, sampling, call):
            is_over.wait(PATIENCE)
            yield "too late"

    async def leave():
        answers = RemoteAnswers(Deaf(), tokenizer)  # type: ignore[arg-type]
        with closing(answers.answer(PROMPT, ASKED)):
            pass
        assert answers.state() == {"running": 1}
        is_over.set()
        await ended(answers)

    asyncio.run(leave())
