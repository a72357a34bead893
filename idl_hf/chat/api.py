"""The web API: OpenAI's models and chat completions, for which a model is a person."""

import asyncio
import hmac
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Receive, Scope, Send

from idl_hf.chat.answers import Answer
from idl_hf.chat.api_request import Asked, RefusalError, parse_request
from idl_hf.chat.persons import Persons
from idl_hf.command_line import did_you_mean
from idl_hf.models.endpoint import EndpointError
from idl_hf.models.engine import EngineStoppedError
from idl_hf.models.generation import GenerationSettings
from idl_hf.schema import Message
from idl_hf.shown import visible

logger = logging.getLogger(__name__)
_MAX_BODY = 4 << 20  # bytes
_RETRY_AFTER = "2"  # seconds


@dataclass
class Service:
    """What the API answers with. open: requests that are being answered or wait; more than `most_open` are refused.

    answer: begins an answer to a prompt. state: what /health tells besides, or EngineStoppedError.
    """

    persons: Persons
    answer: Callable[[Sequence[Message], Asked], Answer]
    state: Callable[[], dict[str, int]]
    defaults: GenerationSettings
    most_open: int
    api_key: str | None = None
    hosts: Sequence[str] = ("*",)
    open: int = 0
    started: int = field(default_factory=lambda: int(time.time()))


def make_app(service: Service) -> FastAPI:
    """Return the app that serves people."""
    # Without the pages of documentation, which load scripts from elsewhere
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(service.hosts))

    @app.exception_handler(RefusalError)
    async def refused(request: Request, refusal: RefusalError) -> Response:
        headers = {"Retry-After": _RETRY_AFTER} if refusal.status in (429, 503) else None
        return JSONResponse(refusal.body(), refusal.status, headers)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        text = f"{request.method} {request.url.path} is not served: {error.detail}."
        return JSONResponse(RefusalError(error.status_code, text).body(), error.status_code)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return JSONResponse(_as_refusal(error).body(), 500)

    @app.get("/health")
    async def health() -> dict[str, object]:
        try:
            return {"status": "ok", "open": service.open, **service.state()}
        except EngineStoppedError as error:
            raise _as_refusal(error) from error

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, object]:
        _check_key(request, service.api_key)
        return {"object": "list", "data": [_model(service, name) for name in service.persons.people]}

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> dict[str, object]:
        _check_key(request, service.api_key)
        return _model(service, name)

    @app.post("/v1/chat/completions")
    async def completions(request: Request) -> Response:
        _check_key(request, service.api_key)
        asked = parse_request(await _body(request), service.defaults)
        _check_person(service, asked.model)
        return await _completion(service, request, asked)

    return app


def _check_key(request: Request, key: str | None) -> None:
    given = request.headers.get("authorization", "")
    if key is not None and not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
        found = "a wrong one" if given else "none"
        text = f"This server needs an API key and found {found}. Send the header 'Authorization: Bearer KEY'."
        raise RefusalError(401, text, code="invalid_api_key")


def _check_person(service: Service, name: str) -> None:
    people = service.persons.people
    if name not in people:
        shown = visible(name[:200])  # JSON may hold halves of characters, which no answer can
        text = f"There is no person '{shown}'.{did_you_mean(shown, people)} GET /v1/models lists them."
        raise RefusalError(404, text, "model", "model_not_found")


def _model(service: Service, name: str) -> dict[str, object]:
    _check_person(service, name)
    return {"id": name, "object": "model", "created": service.started, "owned_by": "idl_hf"}


async def _body(request: Request) -> object:
    """Return the JSON of a request. Only what says that it is JSON is read: a web page of somebody else's cannot send
    that without being asked for permission by the browser."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusalError(415, "The body must be JSON, sent with the header 'Content-Type: application/json'.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY:
            raise RefusalError(413, f"The body has more than {_MAX_BODY} bytes. Send fewer or shorter messages.")
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise RefusalError(400, f"The body is no JSON: {error}.") from error


async def _completion(service: Service, request: Request, asked: Asked) -> Response:
    """Return the response to a request for a reply; from here on it counts as open until it has ended."""
    if service.open >= service.most_open:
        text = f"{service.open} requests are being answered or wait, which is the limit. Try again in a few seconds."
        raise RefusalError(429, text, code="rate_limit_exceeded")
    service.open += 1
    answer: Answer | None = None
    handed_on = False

    def release() -> None:
        service.open -= 1
        if answer is not None:
            answer.close()

    try:
        length = asked.settings.max_new_tokens
        prompt = await asyncio.to_thread(service.persons.prompt, asked.model, asked.context, asked.system, length)
        answer = service.answer(prompt, asked)
        if asked.stream:
            handed_on = True
            return _Events(_events(answer, asked), release)
        text = await _unless_gone(request, _whole(answer))
        return JSONResponse(_object(asked, answer, "chat.completion", [_choice(answer, text)], _usage(answer)))
    except (ValueError, EngineStoppedError, EndpointError) as error:
        raise _as_refusal(error) from error
    finally:
        if not handed_on:
            release()


class _Events(StreamingResponse):
    """A stream of events that lets go of what it holds however it ends, also before its first event."""

    def __init__(self, events: AsyncIterator[str], release: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()


async def _whole(answer: Answer) -> str:
    return "".join([piece async for piece in answer.pieces()])


async def _unless_gone(request: Request, writing: "asyncio._CoroutineLike[str]") -> str:
    """Return the text once it is written; where the client goes away first, stop."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = asyncio.create_task(writing), asyncio.create_task(gone())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise RefusalError(499, "The client has gone.")
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()


async def _events(answer: Answer, asked: Asked) -> AsyncIterator[str]:
    """Yield the events of a stream, each a chunk of the completion."""
    name = f"chatcmpl-{uuid.uuid4().hex}"
    usage = {"usage": None} if asked.include_usage else {}

    def chunk(delta: dict[str, str], end: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": end, "logprobs": None}
        return _event({**_object(asked, answer, "chat.completion.chunk", [choice], None, name), **usage})

    yield chunk({"role": "assistant", "content": ""})
    try:
        async for piece in answer.pieces():
            yield chunk({"content": piece})
    except Exception as error:
        yield _event(_as_refusal(error).body())
        return
    yield chunk({}, answer.end)
    if asked.include_usage:
        yield _event(_object(asked, answer, "chat.completion.chunk", [], _usage(answer), name))
    yield "data: [DONE]\n\n"


def _event(value: dict[str, object]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _object(
    asked: Asked,
    answer: Answer,
    kind: str,
    choices: list[dict[str, object]],
    usage: dict[str, object] | None,
    name: str | None = None,
) -> dict[str, object]:
    made = {"id": name or f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time())}
    return {**made, "model": asked.model, "choices": choices, **({"usage": usage} if usage else {})}


def _choice(answer: Answer, text: str) -> dict[str, object]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {"index": 0, "message": message, "finish_reason": answer.end, "logprobs": None}


def _usage(answer: Answer) -> dict[str, object]:
    prompt, cached, drawn = answer.usage
    counts = {"prompt_tokens": prompt, "completion_tokens": drawn, "total_tokens": prompt + drawn}
    return {**counts, "prompt_tokens_details": {"cached_tokens": cached}}


def _as_refusal(error: Exception) -> RefusalError:
    """Return what a client is told of an error: of one that it can mend all, of others no insides."""
    if isinstance(error, RefusalError):
        return error
    if isinstance(error, EngineStoppedError):
        return RefusalError(503, str(error), code="server_shutting_down")
    if isinstance(error, EndpointError):
        return RefusalError(502, str(error), code="engine_failed")
    if isinstance(error, ValueError):
        return RefusalError(400, str(error), "messages")
    logger.error("A reply failed", exc_info=error)
    return RefusalError(500, "The reply could not be written; the server's log says why.", code="internal_error")
