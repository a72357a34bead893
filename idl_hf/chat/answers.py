"""A person's answer while it is written: pieces of text, how it ended, and how many tokens it took."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from transformers import PreTrainedTokenizerBase

from idl_hf import prompting
from idl_hf.chat.api_request import Asked
from idl_hf.models.drawing import Drawer
from idl_hf.models.engine import End, Engine, Reply
from idl_hf.models.writing import Writing
from idl_hf.schema import Message
from idl_hf.token_ids import continue_text


class Usage(NamedTuple):
    """Tokens of a prompt, of these those that did not have to be computed, and tokens that were drawn, the one that
    ended the reply included."""

    prompt: int
    cached: int
    drawn: int


class Answer(Protocol):
    """An answer that is being written; how it ended and its usage count once its pieces have ended."""

    end: End

    @property
    def usage(self) -> Usage:
        """Return how many tokens it took."""
        ...

    def pieces(self) -> AsyncIterator[str]:
        """Yield the text piece by piece. Raises what went wrong."""
        ...

    def close(self) -> None:
        """Stop writing it, if it has not ended."""
        ...


class LocalAnswer:
    """An `Answer` of the engine in this process."""

    def __init__(
        self, engine: Engine, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], asked: Asked
    ) -> None:
        """Hand the prompt to the engine. Raises ValueError where there is no room for it, and EngineStoppedError."""
        loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[int | End | Exception] = asyncio.Queue()

        def emit(event: int | End | Exception) -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(self._events.put_nowait, event)

        self._engine = engine
        self._writing = Writing(tokenizer, asked.stops)
        ids = prompting.prompt_ids(tokenizer, prompt)
        self._reply = Reply(ids, asked.settings.max_new_tokens, _drawer(tokenizer, asked), emit)
        self.end: End = "stop"
        engine.submit(self._reply)

    @property
    def usage(self) -> Usage:
        """Return how many tokens it took."""
        length = len(self._reply.prompt)
        return Usage(length, length - self._reply.computed, len(self._reply.written))

    async def pieces(self) -> AsyncIterator[str]:
        """Yield the text piece by piece. Raises what went wrong."""
        while isinstance(event := await self._events.get(), int):
            if piece := self._writing.add(event):
                yield piece
            if self._writing.stopped:
                self.close()
                return
        if isinstance(event, Exception):
            raise event
        self.end = event
        if piece := self._writing.end():
            yield piece

    def close(self) -> None:
        """Stop writing it, if it has not ended."""
        self._engine.cancel(self._reply)


def _drawer(tokenizer: PreTrainedTokenizerBase, asked: Asked) -> Drawer:
    said = [continue_text(tokenizer, turn.text).ids for turn in asked.context if turn.role == "self"]
    return Drawer(asked.settings, [token for ids in said for token in ids])
