"""The files of an export, which is one file, a folder or the zip of a folder, and what they begin with."""

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from idl_hf.corpora.errors import CorpusError
from idl_hf.corpora.exports.json_reader import DAMAGED, JsonReader, shortened, whole_number
from idl_hf.corpora.files import MAX_UNPACKED, open_text

_HEAD = 1 << 17  # bytes that tell a format
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_DEEPEST = 100


class Part(NamedTuple):
    """A file of an export. name: its path within the export, "" where it is the export."""

    path: Path
    name: str
    open: Callable[[], IO[bytes]]

    def stream(self) -> IO[bytes]:
        """Return the file, opened for its bytes. Raises CorpusError where it cannot be read."""
        try:
            return self.open()
        except CorpusError:
            raise
        except DAMAGED as error:
            raise _unreadable(self.path, error) from error

    def head(self) -> bytes:
        """Return what the file begins with. Raises CorpusError where it cannot be read."""
        with self.stream() as stream:
            try:
                return stream.read(_HEAD)
            except DAMAGED as error:
                raise _unreadable(self.path, error) from error

    def beginning(self) -> object:
        """Return the JSON that the file begins with, cut where it becomes long; None of any other file. Lists and
        objects hold what came before the cut."""
        try:
            return json.loads(_closed(self.head().decode("utf-8-sig", errors="replace")), parse_int=whole_number)
        except DAMAGED:  # CorpusError and broken JSON are of them
            return None

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the file. Raises CorpusError where it cannot be read on."""
        with self.stream() as stream:
            try:
                yield from stream
            except DAMAGED as error:
                raise _unreadable(self.path, error) from error

    @contextmanager
    def reader(self) -> Iterator[JsonReader]:
        """Open a reader of the file, at whose end nothing may follow."""
        with self.stream() as stream:
            reader = JsonReader(stream, self.path, self.name)
            yield reader
            reader.end()


@contextmanager
def parts(path: Path, names: str, what: str) -> Iterator[list[Part]]:
    """Open an export and give its files, by name; an export that is no folder and no zip is itself the only one.
    names: pattern of the names in a folder that are read, from their last slash on. what: they are, for the
    CorpusError where there is none. It is raised too where the export cannot be read."""
    wanted = re.compile(rf"(?:.*/)?(?:{names})", re.DOTALL)
    try:
        is_zip = path.is_file() and _bytes(path, 4) == b"PK\x03\x04"
        archive = zipfile.ZipFile(path) if is_zip else None
        found = _parts_of_zip(path, archive, wanted) if archive else _parts_on_disk(path, wanted)
    except CorpusError:
        raise
    except DAMAGED as error:
        raise _unreadable(path, error) from error
    with archive or nullcontext():
        if not found:
            raise CorpusError(f"{path}: Expected {what} in here, found none. Pass the export as it was written.")
        yield found


def _parts_of_zip(path: Path, archive: zipfile.ZipFile, wanted: re.Pattern[str]) -> list[Part]:
    members = [member for member in archive.infolist() if wanted.fullmatch(member.filename)]
    if sum(member.file_size for member in members) > MAX_UNPACKED:
        raise CorpusError(f"{path}: Expected chats, found a zip that unpacks to more than {MAX_UNPACKED:,} bytes.")
    members = [member for member in members if not member.filename.startswith("__MACOSX/")]  # no part of the export
    members.sort(key=lambda member: member.filename)
    return [Part(path, member.filename, partial(archive.open, member)) for member in members]


def _parts_on_disk(path: Path, wanted: re.Pattern[str]) -> list[Part]:
    if path.is_file():
        return [Part(path, "", partial(open_text, path))]
    if not path.is_dir():
        raise CorpusError(f"{path}: Expected a file or a folder, found neither.")
    walk = (Path(folder, name) for folder, _, files in os.walk(path) for name in files)
    names = sorted(filter(wanted.fullmatch, (file.relative_to(path).as_posix() for file in walk)))
    return [Part(path, name, partial(open_text, path / name)) for name in names if (path / name).is_file()]


def _unreadable(path: Path, error: Exception) -> CorpusError:
    return CorpusError(
        f"{path}: Expected an export that can be read, found: {shortened(error)}. Export the chat again."
    )


def _bytes(path: Path, count: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(count)


def beginning(path: Path, names: str) -> object:
    """Return what the first file of an export begins with, as `Part.beginning` does; None of what cannot be read."""
    try:
        with parts(path, names, "JSON") as found:
            return found[0].beginning()
    except DAMAGED:
        return None


def _closed(head: str) -> str:
    """Return the first value of a text; where it is cut, without what follows its last comma, and closed."""
    open_ones: list[str] = []
    whole = ""
    for token in _TOKEN.finditer(head):
        sign = token[0]
        if sign in ("[", "{"):
            open_ones.append("]" if sign == "[" else "}")
            if len(open_ones) > _DEEPEST:
                break
        elif sign in ("]", "}") and open_ones:
            open_ones.pop()
            if not open_ones:
                return head[: token.end()]
        elif sign == ",":
            whole = head[: token.start()] + "".join(reversed(open_ones))
    return whole
