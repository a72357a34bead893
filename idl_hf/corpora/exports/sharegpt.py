"""ShareGPT: `{"id": "7", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}`,
as JSON Lines or a list. "human" is the speaker "user", "gpt" is "assistant", and any other name a speaker's own."""

from collections.abc import Iterator
from pathlib import Path

from idl_hf.corpora.errors import ErrorLog
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.turns import begins_with_turns, read_turns


def found(path: Path) -> bool:
    """Return whether this is a file of ShareGPT's; some who write it borrow "role" from OpenAI."""
    return any(begins_with_turns(path, "conversations", who) for who in ("from", "role"))


def read(path: Path, log: ErrorLog) -> Iterator[Message]:
    """Yield the turns, conversation by conversation."""
    return read_turns(path, log, "conversations")
