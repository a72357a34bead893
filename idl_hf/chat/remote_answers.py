"""Answers of another server with an OpenAI-compatible API, such as vLLM: prompts are made here, replies there."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import closing, suppress

from transformers import PreTrainedTokenizerBase

from idl_hf import prompting
from idl_hf.chat.answers import Usage
from idl_hf.chat.api_request import Asked
from idl_hf.models.endpoint import Call, Endpoint
from idl_hf.models.engine import End, EngineStoppedError
from idl_hf.models.responder import Sampling
from idl_hf.schema import Message
from idl_hf.token_ids import continue_text


class RemoteAnswers:
    """The answers of one endpoint that are being written, each in a thread of its own."""

    def __init__(self, endpoint: Endpoint, tokenizer: PreTrainedTokenizerBase) -> None:
        self.endpoint = endpoint
        self.tokenizer = tokenizer
        self._open: set[RemoteAnswer] = set()
        self._stopped = False

    def answer(self, prompt: Sequence[Message], asked: Asked) -> "RemoteAnswer":
        """Return an answer that is being written from now on. Raises EngineStoppedError."""
        if self._stopped:
            raise EngineStoppedError("The server is shutting down.")
        answer = RemoteAnswer(self, prompt, asked)
        self._open.add(answer)
        answer.begin()
        return answer

    def state(self) -> dict[str, int]:
        """Return how many answers are being written."""
        return {"running": len(self._open)}

    def forget(self, answer: "RemoteAnswer") -> None:
        """Count an answer as ended."""
        self._open.discard(answer)

    def stop(self, grace: float) -> None:
        """Refuse what comes, and end what is being written `grace` seconds from now. Returns at once."""
        self._stopped = True
        timer = threading.Timer(grace, self._end_all)
        timer.daemon = True
        timer.start()

    def _end_all(self) -> None:
        for answer in list(self._open):
            answer.emit(EngineStoppedError("The server is shutting down; the reply is cut off."))


class RemoteAnswer:
    """An `Answer` of an endpoint. Its usage is counted by the tokenizer here; what is kept there, nobody says."""

    def __init__(self, answers: RemoteAnswers, prompt: Sequence[Message], asked: Asked) -> None:
        self._answers = answers
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self._call = Call()
        self._text = ""
        self._prompt_tokens = len(prompting.prompt_ids(answers.tokenizer, prompt))
        self.end: End = "stop"
        settings = asked.settings
        options: dict[str, object] = dict(settings.sampling_options())
        if settings.repetition_penalty != 1:
            options["repetition_penalty"] = settings.repetition_penalty
        if settings.seed is not None:
            options["seed"] = settings.seed
        if asked.stops:
            options["stop_strings"] = list(asked.stops)
        sampling = Sampling(settings.max_new_tokens, options)
        self._thread = threading.Thread(target=self._write, args=(list(prompt), sampling), daemon=True)

    def begin(self) -> None:
        """Have it written; whoever counts it has done so, for it may end at once."""
        self._thread.start()

    @property
    def usage(self) -> Usage:
        """Return how many tokens it took."""
        return Usage(self._prompt_tokens, 0, len(continue_text(self._answers.tokenizer, self._text).ids))

    async def pieces(self) -> AsyncIterator[str]:
        """Yield the text piece by piece, without white space before it. Raises what went wrong."""
        while isinstance(event := await self._events.get(), str):
            piece = event if self._text else event.lstrip()
            self._text += piece
            if piece:
                yield piece
        if event is not None:
            raise event

    def close(self) -> None:
        """Stop writing it, if it has not ended; it counts until its thread has."""
        self._call.break_off()

    def emit(self, event: str | Exception | None) -> None:
        """Hand on a piece, the end, or what went wrong, from any thread."""
        with suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def _write(self, prompt: list[Message], sampling: Sampling) -> None:
        try:
            with closing(self._answers.endpoint.stream(prompt, sampling, self._call)) as stream:
                while not self._call.broken_off.is_set():
                    self.emit(next(stream))
        except StopIteration as ended:
            self.end = "length" if ended.value == "length" else "stop"
            self.emit(None)
        except Exception as error:
            self.emit(error)
        finally:
            self._answers.forget(self)
