"""OpenAI's chat format: `{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hey"}]}`
as JSON Lines, a list or one object. The speakers are "user" and "assistant", or the `name` of a message."""

from collections.abc import Iterator
from pathlib import Path

from idl_hf.corpora.errors import ErrorLog
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.turns import begins_with_turns, read_turns


def found(path: Path) -> bool:
    """Return whether this is a file of OpenAI's chat format."""
    return begins_with_turns(path, "messages", "role")


def read(path: Path, log: ErrorLog) -> Iterator[Message]:
    """Yield the messages, conversation by conversation."""
    return read_turns(path, log, "messages")
