"""Bytes by key on disk: sentence vectors and choices of references, shared by configs, runs and processes."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

_QUERY_SIZE = 500  # SQLite's oldest limit on parameters is 999


class Cache:
    """One SQLite file. Several processes may read and write at once; one that is killed leaves what it had written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are there."""
        return dict(self._select("key, value", keys))

    def known(self, keys: Sequence[bytes]) -> set[bytes]:
        return {row[0] for row in self._select("key", keys)}

    def write(self, values: Mapping[bytes, bytes]) -> None:
        with closing(self._open()) as connection, connection:
            connection.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?)", values.items())

    def _select(self, columns: str, keys: Sequence[bytes]) -> Iterator[tuple]:
        with closing(self._open()) as connection:
            for start in range(0, len(keys), _QUERY_SIZE):
                batch = keys[start : start + _QUERY_SIZE]
                marks = ",".join("?" * len(batch))
                yield from connection.execute(f"SELECT {columns} FROM entries WHERE key IN ({marks})", batch)

    def _open(self) -> sqlite3.Connection:
        # Opened anew each time: a connection must not be carried through a fork
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=120)
        connection.execute("CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        return connection
