"""Cornell Movie-Dialogs (Danescu-Niculescu-Mizil & Lee, 2011), from movie_conversations.txt and movie_lines.txt.

Both are cp1252 with fields parted by ` +++$+++ `: `u0 +++$+++ u2 +++$+++ m0 +++$+++ ['L1', 'L2']` are two characters, their
movie and the lines of one conversation in order, `L1 +++$+++ u0 +++$+++ m0 +++$+++ NAME +++$+++ text` is such a line. Who
speaks is said by the lines only. A conversation is two dialogues: each of its characters in turn is the person.

The corpus has no splits. A person must be in one split only and a character is in one movie, so the split is the movie's:
crc32 of its id modulo 10, where 0 is validation (58 of the 617 movies), 1 is test (70) and the rest is train (489).
"""

import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.files import find_splits
from idl_hf.schema import Dialogue, Turn

CONVERSATIONS = "movie_conversations.txt"
LINES = "movie_lines.txt"
_SEPARATOR = " +++$+++ "
_IDS = re.compile(r"\[\s*'[^']*'(?:\s*,\s*'[^']*')*\s*\]")
_MARKUP = re.compile(r"</?[ubi]>", re.IGNORECASE)
_SHOWN = 300  # characters of a message, which may quote a line without end

Line = tuple[str, str, str]  # character, movie, text


def read_dialogues(
    files: Sequence[str | Path], split: str | None = None, log: ErrorLog | None = None
) -> Iterator[Dialogue]:
    """Dialogues in the order of the conversations; `files` are the two, `split` leaves out the other splits' movies.

    A malformed conversation is reported to `log` with its two dialogues. A malformed line is reported with none: its
    loss shows in the conversation that names it.
    """
    log = log or ErrorLog()
    conversations, said_in = _both(files)
    lines = _read_lines(said_in, log)
    seen: set[str] = set()
    for number, fields, problem in _rows(conversations, 4):
        if split is not None and _split_of(fields) != split:
            continue
        try:
            if problem:
                raise CorpusError(problem)
            first_line, utterances = _utterances(fields, lines)
            if first_line in seen:
                raise CorpusError(f"Expected one conversation from the line {first_line!r} on, found a second.")
        except CorpusError as error:
            log.report(conversations, number, str(error)[:_SHOWN], dialogues=2)
            continue
        seen.add(first_line)
        said = [(character, text) for character, text in utterances if text]
        if len({character for character, _ in said}) < 2:
            log.drop("dialogue in which one side says nothing", 2)
            continue
        for _ in range(len(utterances) - len(said)):
            log.note("empty utterance left out of its conversation")
        for person in fields[:2]:
            turns = tuple(Turn("self" if speaker == person else "partner", text) for speaker, text in said)
            yield Dialogue(person, first_line, turns, source=f"{conversations.name}:{number}")


def movie_split(movie: str) -> str:
    return {0: "validation", 1: "test"}.get(zlib.crc32(movie.encode()) % 10, "train")


def split_files(folder: str | Path) -> dict[str, list[str]]:
    """Both files for each split that has a conversation; the archive's subfolder is found too."""
    names = [CONVERSATIONS, f"cornell movie-dialogs corpus/{CONVERSATIONS}"]
    found = find_splits(folder, lambda split: names, f"Cornell's files {CONVERSATIONS} and {LINES}")
    conversations = Path(found["train"][0])
    lines = conversations.with_name(LINES)
    if not lines.is_file():
        raise CorpusError(f"Expected {LINES} beside '{conversations}', found none.")
    present = {_split_of(fields) for _, fields, _ in _rows(conversations, 4)}
    if not present:
        raise CorpusError(f"Expected conversations in '{conversations}', found nothing.")
    return {split: [str(conversations), str(lines)] for split in ("train", "validation", "test") if split in present}


def _both(files: Sequence[str | Path]) -> tuple[Path, Path]:
    by_name = {Path(file).name: Path(file) for file in files}
    if set(by_name) != {CONVERSATIONS, LINES}:
        raise CorpusError(f"Expected the two files {CONVERSATIONS} and {LINES}, found: {', '.join(by_name)}.")
    return by_name[CONVERSATIONS], by_name[LINES]


def _rows(path: Path, width: int) -> Iterator[tuple[int, list[str], str]]:
    """(line number, its fields, "") of each line, or (line number, no fields, what is wrong with it)."""
    with open(path, "rb") as lines:
        for number, raw in enumerate(lines, start=1):
            if not raw.strip():
                continue
            raw = raw.removesuffix(b"\n").removesuffix(b"\r")  # no more: a line without text ends with its separator
            try:
                fields = raw.decode("cp1252").split(_SEPARATOR)
            except UnicodeDecodeError as error:
                yield number, [], f"Expected cp1252 text, found the byte {raw[error.start]:#x}."
                continue
            if len(fields) != width or not all(field.strip() for field in fields[:3]):
                expected = f"Expected {width} fields, the first three not empty"
                yield number, [], f"{expected}, found {len(fields)} in {raw.decode('cp1252')[:80]!r}."
            else:
                yield number, fields, ""


def _split_of(fields: list[str]) -> str:
    return movie_split(fields[2]) if fields else "train"  # a malformed one, of a movie that nobody knows


def _read_lines(path: Path, log: ErrorLog) -> dict[str, Line | None]:
    """Each line by its id; None where the file has two of that id, since nobody knows which is meant."""
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
                lines[name] = (sys.intern(character), sys.intern(movie), text)
        if problem:
            log.report(path, number, problem[:_SHOWN], dialogues=0)
    return lines


def _utterances(fields: list[str], lines: dict[str, Line | None]) -> tuple[str, list[tuple[str, str]]]:
    """The id of the first line, and (character, text) of each. Raises CorpusError with what is wrong."""
    first, second, movie, listed = fields
    # Only what the corpus writes, rather than any Python literal: nothing nested, nothing to evaluate
    names = re.findall(r"'([^']*)'", listed) if _IDS.fullmatch(listed.strip()) else []
    if not names or len(set(names)) < len(names):
        raise CorpusError(f"Expected a list of different line ids such as ['L194', 'L195'], found {listed[:80]!r}.")
    named = {name: line for name in names if (line := lines.get(name)) is not None}
    if len(named) < len(names):
        lost = next(name for name in names if name not in named)
        raise CorpusError(f"Expected the line {lost!r} in {LINES}, found none that can be read.")
    if first == second or {line[:2] for line in named.values()} != {(first, movie), (second, movie)}:
        speakers = ", ".join(sorted({f"{character} of {home}" for character, home, _ in named.values()}))
        raise CorpusError(f"Expected lines of two characters, {first} and {second} of {movie}, found {speakers}.")
    return names[0], [(character, text) for character, _, text in named.values()]
