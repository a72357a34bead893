"""An OpenAI-compatible engine in memory, for tests: it keeps what it was sent, and answers as a test says.

with Engine(lambda messages: "hi") as engine:
    Endpoint(engine.url, "ruth")
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Answer:
    """An answer other than a reply."""

    status: int = 200
    body: bytes | Iterable[bytes] = b""  # pieces are sent as chunks; the last one is not said to be the last
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    """A request as it came."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: dict


class Engine:
    """The server. `reply` writes the reply to messages; `answers` go before it, one a request for a chat."""

    def __init__(self, reply: Callable[[list[dict]], str], models: Iterable[str] = ("ruth", "leroy")) -> None:
        self.reply, self.models = reply, list(models)
        self.answers: list[Answer] = []
        self.asked: list[Asked] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"engine": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "Engine":
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def events(*bodies: dict) -> list[bytes]:
    return [f"data: {json.dumps(body)}\n\n".encode() for body in bodies]


def piece(text: str, finish_reason: str | None = None) -> dict:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}]}


class _Handler(BaseHTTPRequestHandler):
    engine: Engine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._keep({})
        listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.engine.models]}
        known = self.path == "/v1/models"
        self._send(Answer(200, json.dumps(listed).encode()) if known else Answer(404, b"{}"))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._keep(body)
        if self.engine.answers:
            return self._send(self.engine.answers.pop(0))
        if body["model"] not in self.engine.models:
            return self._send(Answer(404, b'{"error": {"message": "no such model"}}'))
        text = self.engine.reply(body["messages"])
        if body.get("stream"):
            pieces = events(*map(piece, text), piece("", "stop"), {"choices": [], "usage": {}})
            return self._send(Answer(200, [b": a comment\n\n", *pieces, b"data: [DONE]\n\n"]))
        message = {"role": "assistant", "content": text}
        reply = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        return self._send(Answer(200, json.dumps(reply).encode()))

    def _keep(self, body: dict) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.engine.asked.append(Asked(self.path, headers, body))

    def _send(self, answer: Answer) -> None:
        whole = isinstance(answer.body, bytes)
        length = {"Content-Length": str(len(answer.body))} if whole else {"Transfer-Encoding": "chunked"}
        self.send_response(answer.status)
        for name, value in {**answer.headers, **length}.items():
            self.send_header(name, value)
        self.end_headers()
        for content in [answer.body] if whole else answer.body:
            self.wfile.write(content if whole else b"%x\r\n%s\r\n" % (len(content), content))
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Silent."""
