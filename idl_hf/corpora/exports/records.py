"""A file of conversations as JSON, one after the other: JSON Lines, a list of them, or objects over many lines."""

import json
from collections.abc import Iterator
from pathlib import Path

from idl_hf.corpora.errors import ErrorLog
from idl_hf.corpora.exports.entry import Entry
from idl_hf.corpora.exports.json_reader import JsonReader, whole_number
from idl_hf.corpora.exports.parts import Part, parts

_MARK = b"\xef\xbb\xbf"  # of the byte order
JSON_FILE = r"[^/]*\.jsonl?"


def read_records(path: Path, log: ErrorLog) -> Iterator[Entry]:
    """Yield the JSON values of a file. Of JSON Lines, one that is broken is reported to `log`; any other
    file that is broken raises CorpusError."""
    with parts(path, JSON_FILE, "a file of JSON Lines") as files:
        for file in files:
            if _is_lines(file):
                yield from _read_lines(file, log)
            else:
                with file.reader() as reader:
                    yield from _read_values(reader)


def _is_lines(file: Part) -> bool:
    """Return whether there is a JSON value in the first line, or one that is broken and goes on in no other line."""
    if file.head().removeprefix(_MARK).lstrip().startswith(b"["):  # its only line may be as long as the file
        return False
    first = next((line for line in file.lines() if line.strip()), b"").strip().removeprefix(_MARK)
    try:
        json.loads(first, parse_int=whole_number)
    except json.JSONDecodeError as error:
        return error.pos < len(error.doc) - 1
    except (ValueError, RecursionError):
        pass
    return True


def _read_lines(file: Part, log: ErrorLog) -> Iterator[Entry]:
    for number, line in enumerate(file.lines(), start=1):
        if line.strip():
            entry = Entry(None, file.path, number, 0, file.name)
            try:
                yield entry._replace(value=json.loads(line.decode("utf-8-sig"), parse_int=whole_number))
            except UnicodeDecodeError as error:
                found = f"{error.object[error.start]:#x}"
                log.report(entry.file, number, f"Expected UTF-8 text, found the byte {found}.")
            except (ValueError, RecursionError) as error:
                log.report(entry.file, number, f"Expected one JSON object on this line: {error}.")


def _read_values(reader: JsonReader) -> Iterator[Entry]:
    number = 0
    while sign := reader.peek():
        if sign == "[" and number == 0:
            yield from reader.entries()
            return
        number += 1
        yield reader.entry(number)
