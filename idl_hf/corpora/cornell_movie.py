"""Cornell Movie-Dialogs (Danescu-Niculescu-Mizil & Lee, 2011), from movie_conversations.txt and movie_lines.txt.

Both are cp1252, or UTF-8 as many copies are, with fields parted by ` +++$+++ `. `u0 +++$+++ u2 +++$+++ m0 +++$+++
['L1', 'L2']` are two characters, their movie and the lines of one conversation in order, and such a line is
`L1 +++$+++ u0 +++$+++ m0 +++$+++ NAME +++$+++ text`. Who speaks is said by the
lines only. A conversation is two dialogues: each character in turn is the person.

The corpus has no splits. A person must be in one split only and a character is in one movie, so the split is the
movie's: crc32 of its id modulo 10, where 0 is validation (58 of the 617 movies), 1 is test (70) and the rest is train
(489).
"""

import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.files import find_splits, open_text
from idl_hf.schema import Dialogue, Turn, comparable

CONVERSATIONS = "movie_conversations.txt"
LINES = "movie_lines.txt"
_SEPARATOR = " +++$+++ "
_IDS = re.compile(r"\[\s*'[^']*'(?:\s*,\s*'[^']*')*\s*\]")
_MARKUP = re.compile(r"</?[ubi]>", re.IGNORECASE)
_SHOWN = 300  # characters of a message, which may quote a line without end


class Line(NamedTuple):
    """What a character says in a movie."""

    character: str
    movie: str
    text: str


class _Row(NamedTuple):
    """The fields of a line of a file; none where it is malformed, and then the problem with it."""

    number: int
    fields: list[str]
    problem: str = ""


def read_dialogues(
    files: Sequence[str | Path], split: str | None = None, log: ErrorLog | None = None
) -> Iterator[Dialogue]:
    """Yield the dialogues in the order of the conversations. files: the two of the corpus, in any order. split: leaves
    out the movies of the other splits. A malformed conversation is reported to `log` with its two dialogues. A
    malformed line is reported with none: its loss shows in the conversation that names it."""
    log = log or ErrorLog()
    paths = {Path(file).name: Path(file) for file in files}
    if set(paths) != {CONVERSATIONS, LINES}:
        raise CorpusError(f"Expected the two files {CONVERSATIONS} and {LINES}, found: {', '.join(paths)}.")
    conversations, lines = paths[CONVERSATIONS], _read_lines(paths[LINES], log)
    seen: set[str] = set()
    for row in _rows(conversations, 4):
        if split is not None and _split_of(row) != split:
            continue
        try:
            if row.problem:
                raise CorpusError(row.problem)
            utterances = _utterances(row.fields, lines)
            first_line = next(iter(utterances))
            if first_line in seen:
                raise CorpusError(f"Expected one conversation from the line {first_line!r} on, found a second.")
        except CorpusError as error:
            log.report(conversations, row.number, str(error)[:_SHOWN], dialogues=2)
            continue
        seen.add(first_line)
        spoken = [line for line in utterances.values() if comparable(line.text)]
        if len({line.character for line in spoken}) < 2:
            log.drops["dialogue in which one side says nothing"] += 2
            continue
        log.notes.update(["empty utterance left out of its conversation"] * (len(utterances) - len(spoken)))
        for person in row.fields[:2]:
            turns = tuple(Turn("self" if line.character == person else "partner", line.text) for line in spoken)
            yield Dialogue(person, first_line, turns, source=f"{conversations.name}:{row.number}")


def movie_split(movie: str) -> str:
    """Return the split of a movie, which is that of all of its characters."""
    return {0: "validation", 1: "test"}.get(zlib.crc32(movie.encode()) % 10, "train")


def split_files(folder: str | Path) -> dict[str, list[str]]:
    """Return both files for each split that has a conversation; the archive's subfolder is found too."""
    names = [CONVERSATIONS, f"cornell movie-dialogs corpus/{CONVERSATIONS}"]
    files = find_splits(folder, lambda split: names, f"Cornell's files {CONVERSATIONS} and {LINES}")
    conversations = Path(files["train"][0])
    lines = conversations.with_name(LINES)
    if not lines.is_file():
        raise CorpusError(f"Expected {LINES} beside '{conversations}', found none.")
    present = set(map(_split_of, _rows(conversations, 4)))
    if not present:
        raise CorpusError(f"Expected conversations in '{conversations}', found nothing.")
    return {split: [str(conversations), str(lines)] for split in ("train", "validation", "test") if split in present}


def _rows(path: Path, width: int) -> Iterator[_Row]:
    with open_text(path) as lines:
        for number, raw in enumerate(lines, start=1):
            if not raw.strip():
                continue
            raw = raw.removeprefix(b"\xef\xbb\xbf")
            raw = raw.removesuffix(b"\n").removesuffix(b"\r")  # no more: a line without text ends with its separator
            try:
                text = _decode(raw)
            except UnicodeDecodeError as error:
                problem = f"Expected UTF-8 or cp1252 text, found the byte {raw[error.start]:#x}."
                yield _Row(number, [], problem)
                continue
            fields = text.split(_SEPARATOR)
            if len(fields) != width or not all(field.strip() for field in fields[:3]):
                expected = f"Expected {width} fields, the first three not empty"
                yield _Row(number, [], f"{expected}, found {len(fields)} in {text[:80]!r}.")
            else:
                yield _Row(number, fields)


def _decode(raw: bytes) -> str:
    try:
        return raw.decode()  # of the corpus itself no line with a letter beyond ASCII happens to be valid UTF-8
    except UnicodeDecodeError:
        return raw.decode("cp1252")


def _split_of(row: _Row) -> str:
    return movie_split(row.fields[2]) if row.fields else "train"  # a malformed one, of a movie that nobody knows


def _read_lines(path: Path, log: ErrorLog) -> dict[str, Line | None]:
    """Return each line by its id; None where the file has two of that id, since nobody knows which is meant."""
    lines: dict[str, Line | None] = {}
    movies: dict[str, str] = {}
    for number, fields, problem in _rows(path, 5):
        if fields:
            name, character, movie, _, text = fields
            if name in lines:
                problem = f"Expected each line id once, found {name!r} again."
                lines[name] = None
            elif movies.setdefault(character, movie) != movie:  # who would be in two splits
                problem = f"Expected {character!r} in the movie {movies[character]!r} only, found the movie {movie!r}."
            else:
                text = " ".join(_MARKUP.sub("", text).split())
                lines[name] = Line(sys.intern(character), sys.intern(movie), text)
        if problem:
            log.report(path, number, problem[:_SHOWN], dialogues=0)
    return lines


def _utterances(fields: list[str], lines: dict[str, Line | None]) -> dict[str, Line]:
    """Return the lines of a conversation by their ids, in order; raise CorpusError with what is wrong."""
    first, second, movie, listed = fields
    # Only what the corpus writes, rather than any Python literal: nothing nested, nothing to evaluate
    names = re.findall(r"'([^']*)'", listed) if _IDS.fullmatch(listed.strip()) else []
    if not names or len(set(names)) < len(names):
        raise CorpusError(f"Expected a list of different line ids such as ['L194', 'L195'], found {listed[:80]!r}.")
    named = {name: line for name in names if (line := lines.get(name)) is not None}
    if len(named) < len(names):
        lost = next(name for name in names if name not in named)
        raise CorpusError(f"Expected the line {lost!r} in {LINES}, found none that can be read.")
    speakers = {(line.character, line.movie) for line in named.values()}
    if first == second or speakers != {(first, movie), (second, movie)}:
        shown = ", ".join(sorted({f"{character} of {home}" for character, home in speakers}))
        raise CorpusError(f"Expected lines of two characters, {first} and {second} of {movie}, found {shown}.")
    return named
