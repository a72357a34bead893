"""What was measured so far, one JSON object a line, so that a run that breaks off loses none of it."""

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any


class Records:
    """Measurements by a key that holds all they depend on. Each is on disk before the next one begins.

    A last line that was cut off, by a crash or a full disk, is measured anew.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, Any] = {}
        if file.is_file():
            self._read()

    def missing(self, keys: Iterable[str]) -> list[int]:
        """Positions of the keys without a measurement, each key once."""
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        return sorted(i for key, i in first.items() if key not in self._known)

    def __getitem__(self, key: str) -> Any:
        return self._known[key]

    def add(self, key: str, value: Any) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"key": key, "value": value}) + "\n")
        self._known[key] = value

    def _read(self) -> None:
        whole, _, rest = self._file.read_bytes().rpartition(b"\n")
        if rest:
            partial = self._file.with_name(f"{self._file.name}.partial")
            partial.write_bytes(whole + b"\n" if whole else b"")
            partial.replace(self._file)
        for number, line in enumerate(whole.decode().split("\n") if whole else [], 1):
            try:
                record = json.loads(line)
                self._known[record["key"]] = record["value"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self._file}:{number}: expected an object with 'key' and 'value', found {line[:80]!r}. Delete the "
                    "line to have it measured again."
                ) from error


def code_version(files: Iterable[Path], libraries: Iterable[str]) -> str:
    """For a key: what these files and installed libraries are, byte by byte and by version."""
    digest = hashlib.sha256(" ".join(map(version, libraries)).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
