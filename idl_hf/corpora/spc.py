"""Synthetic-Persona-Chat (Jandaghi et al., 2023): what a language model lets two of ConvAI2's personas say.
A CSV file for each split, with the columns "user 1 personas", "user 2 personas" (a sentence a line) and "Best
Generated Conversation", whose lines begin with "User 1: " or "User 2: ". `convert` writes the JSON Lines of
idl_hf.corpora.jsonl, where each of the two is the person once."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from idl_hf.cache import write_whole
from idl_hf.corpora.convai2 import group_persons
from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.files import open_text
from idl_hf.schema import Dialogue, Turn, comparable

COLUMNS = ("user 1 personas", "user 2 personas", "Best Generated Conversation")
_SPLITS = {"train": "train", "valid": "validation", "validation": "validation", "test": "test"}
_SAID = re.compile(r"(\*?) ?User ([12]) ?:(.*)", re.DOTALL)
# "[A few minutes later]", "(Later)", "*At the bar*", "* * *"
_DIRECTION = re.compile(r"\[.*|\(.*\)|\*.*\*", re.DOTALL)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of a byte


@dataclass(frozen=True)
class Converted:
    """What became of a file: dialogues + log.drops.total() = two for each row."""

    source: str
    target: str
    dialogues: int
    persons: int
    log: ErrorLog


def convert(files: Sequence[str | Path], output_dir: str | Path, on_error: str = "raise") -> list[Converted]:
    """Write train.jsonl, validation.jsonl or test.jsonl for each file, by the last part of its name.
    The files are named as published, Synthetic-Persona-Chat_valid.csv. Nothing is written before all were read."""
    targets = [Path(output_dir, f"{_split(file)}.jsonl") for file in files]
    if len(set(targets)) < len(targets):
        raise CorpusError(f"Expected one file for each split, found {', '.join(map(str, files))}.")
    logs = [ErrorLog(on_error) for _ in files]
    read = []
    for file, log in zip(files, logs, strict=True):
        # As in ConvAI2 each conversation shows four or five sentences of a persona. By the set of sentences the
        # validation split has 540 people with one dialogue or more, by two shared sentences 100 with at least 16 each
        read.append(group_persons(list(read_dialogues(file, log)), "persona", log))
        if not read[-1]:
            raise CorpusError(f"{file}:1: Expected at least one conversation, found none that can be read.")
    converted = []
    for file, target, dialogues, log in zip(files, targets, read, logs, strict=True):
        with write_whole(target) as partial, open(partial, "w", encoding="utf-8", newline="\n") as lines:
            for dialogue in dialogues:
                turns = [{"role": turn.role, "text": turn.text} for turn in dialogue.turns]
                ids = {"person_id": dialogue.person_id, "dialogue_id": dialogue.dialogue_id}
                line = json.dumps({**ids, "profile": dialogue.profile, "turns": turns}, ensure_ascii=False)
                lines.write(line + "\n")
        persons = len({dialogue.person_id for dialogue in dialogues})
        converted.append(Converted(str(file), str(target), len(dialogues), persons, log))
    return converted


def _split(file: str | Path) -> str:
    split = _SPLITS.get(Path(file).stem.rpartition("_")[2])
    if split is None:
        raise CorpusError(f"{file}: Expected a name that ends in _train.csv, _valid.csv or _test.csv, as published.")
    return split


def read_dialogues(path: str | Path, log: ErrorLog | None = None) -> Iterator[Dialogue]:
    """Yield two dialogues for each conversation in file order, person_id empty until `group_persons`. A malformed row
    is reported to `log` with its two dialogues; where columns or quotes are broken CorpusError is raised in any case,
    since nobody can tell where the next row begins. dialogue_id counts the rows, those left out too."""
    log = log or ErrorLog()
    for number, (line, row) in enumerate(_rows(path), start=1):
        profiles = [tuple(_lines(row.get(column, ""))) for column in COLUMNS[:2]]
        if problem := _problem(row, profiles):
            log.report(path, line, problem, dialogues=2)
            continue
        utterances = _utterances(row[COLUMNS[2]], log)
        if {user for user, _ in utterances} != {"1", "2"}:
            log.drops["dialogue that does not say who speaks, or in which one is silent"] += 2
            continue
        for user, profile in zip("12", profiles, strict=True):
            turns = tuple(Turn("self" if speaker == user else "partner", text) for speaker, text in utterances)
            yield Dialogue("", f"row-{number}-user-{user}", turns, profile, f"{Path(path).name}:{line}")


def _rows(path: str | Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (first line, values) of each row; no values where there are more or fewer than columns."""
    with open_text(path) as file:
        text = file.read().decode("utf-8-sig", errors="surrogateescape")
    # A field may have the module's default of 131,072 characters, 40 times the longest conversation
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = next(reader, [])
        if not set(COLUMNS) <= set(header):
            raise csv.Error(f"expected the columns {', '.join(COLUMNS)}, found {', '.join(header)[:200]!r}")
        line = reader.line_num + 1
        for row in reader:
            if any(value.strip() for value in row):
                yield line, dict(zip(header, row, strict=True)) if len(row) == len(header) else {}
            line = reader.line_num + 1
    except csv.Error as error:
        raise CorpusError(
            f"{path}:{line}: Expected the row of a CSV file that begins here, found that {error}. Mend it, or fetch "
            "the file again; on_error='skip' cannot help, since nobody can tell where the next row begins."
        ) from error


def _problem(row: dict[str, str], profiles: list[tuple[str, ...]]) -> str | None:
    if not row:
        return "Expected as many values in this row as there are columns."
    if any(_NOT_UTF8.search(row[column]) for column in COLUMNS):
        return "Expected UTF-8 text in this row."
    empty = [column for column, profile in zip(COLUMNS, profiles, strict=False) if not profile]
    return f"Expected sentences in the column '{empty[0]}', found none." if empty else None


def _lines(text: str) -> list[str]:
    # Not splitlines(), which also ends a line at U+2028, a form feed and others
    return [line.strip() for line in re.split(r"\r\n|\r|\n", text) if line.strip()]


def _utterances(conversation: str, log: ErrorLog) -> list[tuple[str, str]]:
    """Return (user, text) of each utterance with the lines that continue it; none where nobody says the first line."""
    utterances: list[tuple[str, str]] = []
    for line in _lines(conversation):
        if match := _SAID.fullmatch(line):
            bold, user, text = match.groups()
            if bold:  # a few conversations: "*User 1:* hi" or "* User 1: hi *"
                text = text[1:] if text.startswith("*") else text.removesuffix("*")
            utterances.append((user, text.strip()))
        elif _DIRECTION.fullmatch(line):
            log.notes["stage direction left out of a conversation"] += 1
        elif utterances:
            user, text = utterances[-1]
            utterances[-1] = (user, f"{text}\n{line}".strip())
        else:
            return []
    spoken = [(user, text) for user, text in utterances if comparable(text)]
    log.notes.update(["empty utterance left out of its conversation"] * (len(utterances) - len(spoken)))
    return spoken
