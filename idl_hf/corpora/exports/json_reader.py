"""A document of JSON read piece by piece: exports are larger than memory should be."""

import codecs
import json
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from idl_hf.corpora.errors import CorpusError
from idl_hf.corpora.exports.entry import Entry

_BLOCK = 1 << 16  # bytes read at a time, at least
_MARGIN = 16  # an error this close to what was read so far may come from where it was cut: "-Infinity", "\ud83d"
_SPACE = re.compile(r"[ \t\r\n]*")
DAMAGED = (
    *(OSError, EOFError, ValueError, RuntimeError),  # also of a zip with a password, or packed in an unknown way
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)


def shortened(error: Exception) -> str:
    """Return what an error says; that of a zip may quote a page of it."""
    return str(error)[:120].rstrip(".")


def whole_number(digits: str) -> int | float:
    """Return a whole number; one of more digits than Python reads in linear time is infinite."""
    return int(digits) if len(digits) < 400 else float(digits)


class JsonReader:
    """A cursor in a stream of JSON, which reads on in blocks. Its methods raise CorpusError with file and line for
    what is no JSON, ends too early or is another value than was asked for."""

    def __init__(self, stream: IO[bytes], path: Path, name: str = "") -> None:
        self.path, self.name = path, name
        self.line = 1  # on which the next value begins, after `peek`
        self._stream, self._decoder = stream, codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer, self._at, self._ended = "", 0, False
        self._json = json.JSONDecoder(parse_int=whole_number)

    def error(self, problem: str) -> CorpusError:
        """Return the error for what is wrong here."""
        file = f"{self.path}/{self.name}" if self.name else self.path
        return CorpusError(f"{file}:{self.line}: {problem}")

    def peek(self) -> str:
        """Return the next character that is no white space, "" at the end of the stream."""
        while True:
            match = _SPACE.match(self._buffer, self._at)
            self._go_to(match.end() if match else self._at)
            if self._at < len(self._buffer) or not self._read_on():
                return self._buffer[self._at : self._at + 1]

    def value(self) -> object:
        """Return the next value, whatever it is."""
        self.peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._buffer, self._at)
                if self._ended or end + _MARGIN < len(self._buffer):  # else a number may go on
                    self._go_to(end)
                    return value
            except json.JSONDecodeError as error:
                is_open = error.msg.startswith("Unterminated string")
                if self._ended or not (is_open or error.pos + _MARGIN > len(self._buffer)):
                    self._go_to(len(self._buffer) if is_open else error.pos)
                    raise self._broken() from error
            except RecursionError as error:
                raise self.error("Expected a chat, found JSON that is nested a thousand levels deep.") from error
            self._read_on()

    def members(self) -> Iterator[str]:
        """Yield each key of an object, with the cursor at its value, which must be taken before the next."""
        for _ in self._separated("{", "}"):
            if self.peek() != '"':
                raise self._broken()
            key = str(self.value())
            self._take(":")
            yield key

    def elements(self) -> Iterator[int]:
        """Yield the number, from 1, of each element of a list, with the cursor at it; it must be taken."""
        yield from self._separated("[", "]")

    def entries(self) -> Iterator[Entry]:
        """Yield the elements of a list."""
        for number in self.elements():
            yield self.entry(number)

    def entry(self, number: int) -> Entry:
        """Return the next value with its place."""
        self.peek()
        line = self.line
        return Entry(self.value(), self.path, line, number, self.name)

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.peek():
            raise self.error("Expected the end of the file after its JSON, found more. Export the chat again.")

    def _separated(self, opening: str, closing: str) -> Iterator[int]:
        self._take(opening)
        number = 0
        if self.peek() != closing:
            while number == 0 or self.peek() == ",":
                self._go_to(self._at + (number > 0))
                number += 1
                yield number
        self._take(closing)

    def _take(self, sign: str) -> None:
        if self.peek() != sign:
            raise self._broken(f"'{sign}'")
        self._go_to(self._at + 1)

    def _broken(self, expected: str = "JSON") -> CorpusError:
        if found := self.peek():
            return self.error(f"Expected {expected}, found {found!r}. Export the chat again.")
        return self.error("The file ends within its JSON, so a part of it is missing. Export the chat again.")

    def _go_to(self, end: int) -> None:
        self.line += self._buffer.count("\n", self._at, end)
        self._at = end

    def _read_on(self) -> bool:
        """Read as much as is held already, so that a long value takes linear time; return whether there was more."""
        held = self._buffer[self._at :]
        try:
            block = self._stream.read(max(_BLOCK, len(held)))
            self._buffer, self._at = held + self._decoder.decode(block, final=not block), 0
        except UnicodeDecodeError as error:
            found = f"{error.object[error.start]:#x}"
            raise self.error(f"Expected UTF-8 text from here on, found the byte {found}.") from error
        except DAMAGED as error:
            raise self.error(f"The file cannot be read on from here ({shortened(error)}).") from error
        self._ended = not block
        return not self._ended
