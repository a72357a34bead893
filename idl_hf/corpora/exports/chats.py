"""The messages of an export in a temporary file, so that the longest needs no more memory than the shortest."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

_ROWS_AT_ONCE = 1000


class Said(NamedTuple):
    """A message that is a text. time: ISO 8601, "" where the export has none; seconds: the same since 1970."""

    speaker: str
    text: str
    time: str
    seconds: float | None


class Chats:
    """The texts of an export by conversation, in the order in which they were written."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a file without a name, which goes with the connection
        self._database.execute("CREATE TABLE said (chat INTEGER, speaker TEXT, text TEXT, time TEXT, seconds REAL)")
        self._database.execute("CREATE INDEX said_in ON said (chat)")  # else each conversation reads all of them
        self._pending: list[tuple[int, str, str, str, float | None]] = []
        self._numbers: dict[str, int] = {}
        self._speakers: list[dict[str, int]] = []  # of each conversation, with how much they said
        self._steps: list[list[float]] = []  # of each conversation: the last time, and steps ahead minus those back

    def __enter__(self) -> "Chats":
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()

    def add(self, conversation: str, speaker: str, text: str, time: datetime | None) -> None:
        """Add a message; of an empty text nothing is kept but that the speaker is there."""
        chat = self._numbers.setdefault(conversation, len(self._numbers))
        if chat == len(self._speakers):
            self._speakers.append({})
            self._steps.append([float("nan"), 0])
        self._speakers[chat][speaker] = self._speakers[chat].get(speaker, 0) + bool(text)
        if not text:
            return
        seconds = None if time is None else (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        if seconds is not None:
            last, steps = self._steps[chat]
            self._steps[chat] = [seconds, steps + (seconds > last) - (seconds < last)]
        self._pending.append((chat, speaker, text, time.isoformat() if time else "", seconds))
        if len(self._pending) == _ROWS_AT_ONCE:
            self._write()

    def conversations(self) -> list[str]:
        """Return the conversations in their order."""
        return list(self._numbers)

    def speakers(self, conversation: str | None = None) -> dict[str, int]:
        """Return how many texts each speaker said, in a conversation or in all."""
        if conversation is not None:
            return self._speakers[self._numbers[conversation]]
        counts: dict[str, int] = {}
        for speakers in self._speakers:
            for name, count in speakers.items():
                counts[name] = counts.get(name, 0) + count
        return counts

    def said(self, conversation: str) -> Iterator[Said]:
        """Yield the texts of a conversation, the first one first, also where the export begins with the last."""
        self._write()
        chat = self._numbers[conversation]
        order = "DESC" if self._steps[chat][1] < 0 else "ASC"
        query = f"SELECT speaker, text, time, seconds FROM said WHERE chat = ? ORDER BY rowid {order}"
        return map(Said._make, self._database.execute(query, (chat,)))

    def _write(self) -> None:
        self._database.executemany("INSERT INTO said VALUES (?, ?, ?, ?, ?)", self._pending)
        self._pending.clear()
