"""A model behind an OpenAI-compatible URL: vLLM, llama.cpp's server, `idl-hf serve`.

The client is the standard library's: `huggingface_hub.InferenceClient` sends the saved token of the Hub to whatever
URL it is given no key for, follows redirects, and reaches no URL at all where HF_HUB_OFFLINE is set.
"""

import http.client
import json
import os
import socket
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager, suppress
from threading import Event
from typing import IO, NoReturn
from urllib.parse import urlsplit

from idl_hf.models.responder import NoLogProbsError, Sampling
from idl_hf.schema import Message

KEY_VARIABLE = "IDL_HF_ENGINE_KEY"
_DRAWING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
)  # options of `generate` that mean something where words are drawn
_PLAIN = {"repetition_penalty": "repetition_penalty", "seed": "seed", "stop_strings": "stop"}
_BUSY = (429, 503)  # too many requests; a model that is being loaded
_WAITS = (1, 2, 4, 8, 16)  # seconds between two tries, where the engine names none
_LONGEST_WAIT = 60


class EndpointError(OSError):
    """What an engine did not answer, as a sentence; a key is never part of it."""


class Call:
    """A request that another thread can break off, also while the engine sends nothing."""

    def __init__(self) -> None:
        self.broken_off = Event()
        self._socket: socket.socket | None = None

    def connected(self, connection: socket.socket) -> None:
        """Take the connection that the answer comes through."""
        self._socket = connection
        if self.broken_off.is_set():
            self._shut()

    def break_off(self) -> None:
        """End the connection, if there is one, and begin no other."""
        self.broken_off.set()
        self._shut()

    def _shut(self) -> None:
        # To close it would wait for whoever reads from it; this wakes them with the end of the answer
        if self._socket is not None:
            with suppress(OSError):  # it has ended
                self._socket.shutdown(socket.SHUT_RDWR)


class Endpoint:
    """A model that an engine at a URL answers with. A `Responder` that can stream too, from several threads at once.

    What a prompt becomes is the engine's: it must be given the chat template of the adapter. It has no log-probs.
    """

    def __init__(
        self, url: str, model: str, api_key: str | None = None, *, at_once: int = 8, timeout: float = 600.0
    ) -> None:
        """Take where the engine is and what it calls the model.

        url: such as http://127.0.0.1:8000/v1; without a path /v1 is added. api_key: None takes that of the environment
        variable IDL_HF_ENGINE_KEY, if it is set; the token of the Hub is never sent. at_once: how many prompts
        `replies` asks for at a time. timeout: seconds without a byte of an answer. Raises ValueError for a URL or a
        key that cannot be one.
        """
        self.url = _checked_url(url)
        self.model = model
        self._key = _checked_key(os.environ.get(KEY_VARIABLE) if api_key is None else api_key)
        self._at_once = at_once
        self._timeout = timeout

    def models(self) -> list[str]:
        """Return the names of the models that the engine has. Raises EndpointError."""
        with self._answered("models") as response:
            answer = self._parsed(self._read(response))
        entries = answer.get("data")
        names = [entry.get("id") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        return [name for name in names if isinstance(name, str)]

    def replies(self, prompts: Sequence[Sequence[Message]], sampling: Sampling) -> Iterator[tuple[int, str]]:
        """Yield (place of the prompt, reply to it) once a reply is written. Raises EndpointError, and ValueError for
        sampling that an engine cannot be asked for."""
        body = request_options(sampling)
        pool = ThreadPoolExecutor(self._at_once)
        try:
            places: dict[Future[str], int] = {
                pool.submit(self._reply, prompt, body): place for place, prompt in enumerate(prompts)
            }
            for future in as_completed(places):
                yield places[future], future.result()
        finally:  # also where one failed, or the caller takes no more
            pool.shutdown(cancel_futures=True)

    def stream(
        self, prompt: Sequence[Message], sampling: Sampling, call: Call | None = None
    ) -> Generator[str, None, str]:
        """Yield the reply piece by piece and return why it ended, such as "stop" or "length"; the connection is closed
        where the caller takes no more, or breaks off the `call`. Raises as `replies` does, also where the engine ends
        before the reply does."""
        body = {**self._asked(prompt, request_options(sampling)), "stream": True}
        end: object = None
        with self._answered("chat/completions", body, call) as response:
            for event in self._events(response):
                choices = event.get("choices") or [{}]  # the last event may tell the usage alone
                end = choices[0].get("finish_reason") or end
                if piece := _text(choices[0].get("delta")):
                    yield piece
        if end is None:
            raise self._error("ended the connection before the reply had ended. Look at its log, and ask again")
        return str(end)

    def logprobs(self, prompt: Sequence[Message], completion: Sequence[Message]) -> NoReturn:
        """Raise NoLogProbsError: the likelihood of a given reply is no part of the OpenAI API."""
        raise NoLogProbsError(
            f"The engine at {self.url} writes replies and gives no log-probs of given ones, so there is no NLL and no "
            "persona gain of it. To have these, evaluate the model itself, without --engine."
        )

    def _reply(self, prompt: Sequence[Message], options: Mapping[str, object]) -> str:
        with self._answered("chat/completions", self._asked(prompt, options)) as response:
            answer = self._parsed(self._read(response))
        try:
            return _text(answer["choices"][0]["message"]).strip()
        except (LookupError, TypeError) as error:
            raise self._error(f"answered {str(answer)[:200]}, where 'choices' with a message was expected") from error

    def _asked(self, prompt: Sequence[Message], options: Mapping[str, object]) -> dict[str, object]:
        messages = [{"role": message["role"], "content": message["content"]} for message in prompt]
        return {"model": self.model, "messages": messages, **options}

    @contextmanager
    def _answered(
        self, path: str, body: Mapping[str, object] | None = None, call: Call | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield the engine's answer of success, asked for again where it is busy, and close it at the end."""
        call = call or Call()
        for wait in (*_WAITS, None):
            with self._asked_once(path, body, call) as response:
                if 200 <= response.status < 300:
                    yield response
                    return
                if response.status not in _BUSY or wait is None:
                    raise self._refusal(response, path)
                seconds = _seconds(response.headers.get("Retry-After"), wait)
            if call.broken_off.wait(seconds):
                raise self._error("was busy until the request was broken off. Ask again")

    @contextmanager
    def _asked_once(
        self, path: str, body: Mapping[str, object] | None, call: Call
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield the engine's answer, whatever its status. Prompts are what people said to each other: `http.client`
        sends them to this URL alone, not to where a proxy of the environment or a redirect would have them."""
        headers = {"Content-Type": "application/json", "User-Agent": "idl-hf", "Connection": "close"}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        data = None if body is None else json.dumps(body).encode()
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        with closing(kind(str(parts.hostname), parts.port, timeout=self._timeout)) as connection:
            try:
                connection.connect()
                call.connected(connection.sock)
                connection.request("GET" if data is None else "POST", f"{parts.path}/{path}", data, headers)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from error
            with closing(response):
                yield response

    def _events(self, response: IO[bytes]) -> Iterator[dict]:
        """Yield the events of a stream up to its end."""
        while line := self._read(response, line=True):
            name, _, value = line.decode(errors="replace").strip().partition(":")
            if name == "data" and value.strip() == "[DONE]":
                return
            if name == "data":
                yield self._parsed(value.encode())

    def _read(self, response: IO[bytes], line: bool = False) -> bytes:
        try:
            return response.readline() if line else response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error

    def _parsed(self, content: bytes) -> dict:
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = content.decode(errors="replace")
        if not isinstance(answer, dict):
            raise self._error(
                f"answered {str(answer)[:200]!r}, which is no JSON object. Is it OpenAI-compatible, and the URL its "
                "base, such as http://127.0.0.1:8000/v1?"
            )
        if answer.get("error"):
            raise self._error(f"failed: {_said(answer)}")
        return answer

    def _refusal(self, response: http.client.HTTPResponse, path: str) -> EndpointError:
        """Return what an answer of another status than success means, with what to do."""
        status = response.status
        if status in (401, 403):
            key = "the key that was given" if self._key else "a request without a key"
            return self._error(f"refused {key} ({status}). Set {KEY_VARIABLE} to one that it takes")
        if status in _BUSY:
            return self._error(
                f"was busy each of {len(_WAITS) + 1} times ({status}). Try again later, with fewer at once"
            )
        if 300 <= status < 400:
            return self._error(
                f"redirects to another address ({status}), which is not followed: prompts hold people's "
                "dialogues. Pass that address itself if it is the engine's"
            )
        try:
            said = _said(json.loads(response.read(100_000)))
        except (OSError, ValueError, RecursionError, http.client.HTTPException):
            said = response.reason
        if status != 404 or path == "models":
            return self._error(f"answered with status {status}: {said}")
        names = self.models()
        if self.model in names:
            return self._error(f"has the model '{self.model}' and no chat completions (404: {said})")
        return self._error(f"has no model '{self.model}'. Its models are: {', '.join(names) or 'none'}")

    def _unreachable(self, error: Exception) -> EndpointError:
        if isinstance(error, TimeoutError):
            return self._error(f"sent nothing for {self._timeout:g} s. Look at its log, and ask again")
        return self._error(
            f"cannot be reached, or broke off ({str(error) or type(error).__name__}). Start it, or pass the URL "
            "where it listens"
        )

    def _error(self, what: str) -> EndpointError:
        """Return the error; what an engine says may repeat the key that it was sent."""
        text = f"The engine at {self.url} {what.rstrip('.')}."
        return EndpointError(text.replace(self._key, "(key)") if self._key else text)


def request_options(sampling: Sampling) -> dict[str, object]:
    """Return what a request says of how the reply is written: greedily, unless words are drawn.

    Beyond OpenAI's own options there are top_k, min_p and repetition_penalty, which vLLM and `idl-hf serve` take.
    Raises ValueError for options of `generate` that no request has.
    """
    given = dict(sampling.options)
    body: dict[str, object] = {"max_tokens": sampling.max_new_tokens, "temperature": 0}
    drawn = {name: given.pop(name) for name in _DRAWING if name in given}
    if given.pop("do_sample", False):
        body |= {"temperature": 1.0, **drawn}
    body |= {name: given.pop(option) for option, name in _PLAIN.items() if option in given}
    if given:
        known = ", ".join(("do_sample", *_DRAWING, *_PLAIN))
        raise ValueError(
            f"An engine cannot be asked for {', '.join(sorted(given))}. The options it can be asked for are: {known}."
        )
    return body


def _checked_url(url: str) -> str:
    if "@" in url:  # a password would be in reports and error messages
        raise ValueError(f"An engine's URL must hold no name and password. Set {KEY_VARIABLE} to the engine's key.")
    wrong = f"An engine's URL must be like http://127.0.0.1:8000/v1, found '{url}'."
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:  # such as a port that is no number
        raise ValueError(wrong) from error
    if not is_url or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise ValueError(wrong)
    return parts._replace(path=parts.path.rstrip("/") or "/v1").geturl()


def _checked_key(key: str | None) -> str | None:
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError("The engine's key must be of ASCII characters without spaces and line breaks.")
    return key or None


def _seconds(retry_after: str | None, default: float) -> float:
    """Return how long a busy engine is left alone; it may say that as a date instead, which is not read."""
    named = retry_after is not None and retry_after.isascii() and retry_after.isdigit()
    return min(float(str(retry_after)), _LONGEST_WAIT) if named else default


def _said(answer: object) -> str:
    """Return the message of an error's body."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    message = error.get("message", error) if isinstance(error, dict) else error
    return str(message)[:300]


def _text(message: object) -> str:
    """Return the text of a message or of a piece of one, in whole characters."""
    content = message.get("content") if isinstance(message, dict) else None
    return content.encode(errors="replace").decode() if isinstance(content, str) else ""
