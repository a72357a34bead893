"""A file of ratings: pairs of replies that people judge, and below them what each rater said, a line a click.

JSON Lines: first which systems and how many pairs, then a pair a line, then the ratings. It holds dialogues, and which
system wrote which reply, so it is for who runs the study, not for the raters.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from filelock import FileLock, Timeout

from idl_hf.cache import write_whole
from idl_hf.evaluation.ratings import (
    ALL,
    CRITERIA,
    OUTCOMES,
    SKIPPED,
    Pair,
    Rating,
    Ratings,
    Study,
    Verdicts,
    hold,
    standing,
)
from idl_hf.schema import Turn

_VERSION = 1
_ADVICE = "Mend the line, or take the file as it was saved."
logger = logging.getLogger(__name__)


def held(path: Path) -> FileLock:
    """Return the lock of a file of ratings, held. Raises ValueError where another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(f"'{path}' is open in another app. Close that one, or pass another --ratings.") from error
    return lock


def create(path: Path, study: Study) -> None:
    """Write a file of ratings without any rating, readable by its owner alone, and wait until it is on the disk."""
    head = {"version": _VERSION, "systems": study.systems, "pairs": len(study.pairs), "seed": study.seed}
    head |= {"made_from": study.made_from, "notes": study.notes}
    with write_whole(path, private=True) as partial, open(partial, "wb") as file:
        for line in (head, *map(_pair_line, study.pairs)):
            file.write(_encoded(line))
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path.parent)


class RatingsFile:
    """A file of ratings that raters add to. One process holds it at a time; a rating that was added is on the disk.

    Raises ValueError for a file that is malformed or held already, OSError for one that cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        _require(path)  # before a lock is left beside nothing
        self.path = path
        self._lock = Lock()  # raters click at once
        self._held = held(path)
        try:
            content = _read(path)
            self.study = content.study
            self._standing = standing(content.ratings)
            self._file = open(path, "r+b", buffering=0)  # noqa: SIM115  (open as long as the app runs)
        except BaseException:
            self._held.release()
            raise
        self._file.truncate(content.whole)  # a click that was never confirmed
        self._file.seek(content.whole)
        if not content.ends_line:
            self._file.write(b"\n")

    def verdicts(self, rater: str) -> dict[int, Verdicts]:
        """Return what holds of one rater's ratings, by number of the pair."""
        with self._lock:
            return {pair: dict(verdicts) for pair, verdicts in self._standing.get(rater, {}).items()}

    def add(self, rating: Rating) -> None:
        """Add a rating and return once it is on the disk. Raises OSError where it cannot be saved."""
        with self._lock:
            self._append(_encoded(asdict(rating)))
            hold(self._standing, rating)

    def close(self) -> None:
        """Let another process open the file."""
        self._file.close()
        self._held.release()

    def _append(self, line: bytes) -> None:
        end = self._file.tell()
        try:
            if not os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno())):
                raise OSError("another file has taken its place")
            while line:  # a disk that fills up takes a part of it
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(end)
                self._file.seek(end)
            raise OSError(
                f"'{self.path}' cannot be written: {error}. This click is not saved, those before it are. Make room "
                "on the disk, or put the file back, and click again."
            ) from error


def read_ratings(path: Path) -> Ratings:
    """Return what a file of ratings holds. A last line that was cut short, by a kill, is left out and told.

    Raises ValueError, with file and line, for a file that is malformed, OSError for one that cannot be read.
    """
    content = _read(path)
    return Ratings(content.study, content.ratings)


class _Content(NamedTuple):
    study: Study
    ratings: list[Rating]
    whole: int  # bytes of the lines that count
    ends_line: bool


def _require(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file of ratings '{path}'. `idl-hf app --judge_a ... --judge_b ...` makes one."
        )


def _read(path: Path) -> _Content:
    _require(path)
    *lines, last = path.read_bytes().split(b"\n")
    lines_whole = sum(len(line) + 1 for line in lines)
    if last and _is_json(last):  # whole, but for its end: an editor may have taken that
        lines, last, whole = [*lines, last], b"", lines_whole + len(last)
    else:
        whole = lines_whole
    reader = _Reader(path)
    study = reader.study(lines, cut=bool(last))
    first = len(study.pairs) + 1
    ratings = [reader.rating(number, line, study) for number, line in enumerate(lines[first:], first + 1) if line]
    if last:
        logger.warning(f"{path}:{len(lines) + 1}: The last line was cut short while it was saved, and is left out.")
    return _Content(study, ratings, whole, whole == lines_whole)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


@dataclass(frozen=True)
class _Reader:
    """Reads lines of a file of ratings; what is wrong with one is a ValueError that names it."""

    path: Path

    def study(self, lines: Sequence[bytes], cut: bool) -> Study:
        head = self._object(1, lines[0] if lines else b"")
        if head.get("version") != _VERSION:
            raise self._error(1, f"Expected a file of ratings of version {_VERSION}, found {_short(head)}")
        systems, count, seed = head.get("systems"), head.get("pairs"), head.get("seed")
        if not (_are_texts(systems, 2) and type(count) is int and count >= 0 and type(seed) is int):
            raise self._error(1, f"Expected two systems, a number of pairs and a seed, found {_short(head)}")
        if len(lines) <= count:
            where = " and a part of one" if cut else ""
            raise self._error(1, f"Expected {count} pairs below it, found {max(len(lines) - 1, 0)}{where}")
        notes, made_from = head.get("notes", []), head.get("made_from", {})
        if not _are_texts(notes) or not isinstance(made_from, dict):
            raise self._error(1, f"Expected notes and what the pairs were made from, found {_short(head)}")
        pairs = tuple(self._pair(number, line) for number, line in enumerate(lines[1 : count + 1], start=2))
        first, second = systems  # type: ignore[misc]
        return Study((first, second), pairs, seed, made_from, tuple(notes))

    def _pair(self, number: int, line: bytes) -> Pair:
        values = self._object(number, line)
        try:
            past = tuple(_turns(dialogue) for dialogue in values["past"])
            names, turn, replies = (values["person_id"], values["dialogue_id"]), values["turn"], values["replies"]
            if not _are_texts(names, 2) or type(turn) is not int or not _are_texts(replies, 2):
                raise TypeError("ids, turn or replies")
            return Pair(*names, turn, past, _turns(values["context"]), (replies[0], replies[1]))
        except (KeyError, TypeError) as error:
            wanted = "Expected a pair with person_id, dialogue_id, turn, past, context and two replies"
            raise self._error(number, f"{wanted}, found {_short(values)}") from error

    def rating(self, number: int, line: bytes, study: Study) -> Rating:
        values = self._object(number, line)
        rater, pair, left = values.get("rater"), values.get("pair"), values.get("left")
        if not isinstance(rater, str) or not rater:
            raise self._error(number, f"Expected the name of a rater, found {_short(rater)}")
        if type(pair) is not int or not 0 <= pair < len(study.pairs):
            raise self._error(number, f"Expected a pair from 0 to {len(study.pairs) - 1}, found {_short(pair)}")
        criterion, outcome = values.get("criterion"), values.get("outcome")
        is_verdict = criterion in CRITERIA and outcome in OUTCOMES
        if not is_verdict and (criterion, outcome) != (ALL, SKIPPED):
            known = f"one of {', '.join(CRITERIA)} with one of {', '.join(OUTCOMES)}, or {ALL} with {SKIPPED}"
            raise self._error(number, f"Expected {known}, found {_short(criterion)} with {_short(outcome)}")
        if type(left) is not int or left not in (0, 1):
            raise self._error(number, f"Expected the system on the left, 0 or 1, found {_short(left)}")
        return Rating(rater, pair, str(criterion), str(outcome), left)

    def _object(self, number: int, line: bytes) -> dict:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._error(number, f"Expected JSON, found {_short(line.decode(errors='replace'))}") from error
        if not isinstance(values, dict):
            raise self._error(number, f"Expected a JSON object, found {_short(values)}")
        return values

    def _error(self, number: int, problem: str) -> ValueError:
        return ValueError(f"{self.path}:{number}: {problem}. {_ADVICE}")


def _turns(values: Sequence[Mapping[str, str]]) -> tuple[Turn, ...]:
    if not all(turn["role"] in ("self", "partner") for turn in values):
        raise TypeError("a role")
    return tuple(Turn(turn["role"], turn["text"]) for turn in values)  # type: ignore[arg-type]


def _are_texts(value: object, count: int | None = None) -> bool:
    is_list = isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
    return is_list and (count is None or len(value) == count)  # type: ignore[arg-type]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]} ..."


def _pair_line(pair: Pair) -> dict[str, object]:
    """Return a pair as it is written: of its turns who says what."""
    spoken = [[_spoken(turn) for turn in dialogue] for dialogue in (*pair.past, pair.context)]
    return {**asdict(pair), "past": spoken[:-1], "context": spoken[-1]}


def _spoken(turn: Turn) -> dict[str, str]:
    return {"role": turn.role, "text": turn.text}


def _encoded(values: Mapping[str, object]) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where a system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
