"""Lines of tables that were measured before, as small files beside the reports, which hold figures and no texts.

An experiment of hours goes on from them: also on another machine, without the adapters, and with more conditions or
seeds than before.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idl_hf.cache import digest, write_whole


@dataclass(frozen=True)
class KeptLine:
    """What was measured of one condition under one seed, as a line of a table holds it, and what a report says of
    it."""

    label: str
    values: dict[str, dict[str, float]]  # by column key and person_id
    whole: dict[str, float]
    rows: dict[str, int]
    notes: dict[str, list[str]] = field(default_factory=dict)  # with the labels of the lines that they are about
    made: Mapping[str, Any] = field(default_factory=dict)  # date, commit, machine, libraries

    def notes_of(self, label: str) -> dict[str, list[str]]:
        """Return the notes as they are of a line that is called otherwise."""
        return {
            note: [label + about.removeprefix(self.label) for about in labels] for note, labels in self.notes.items()
        }

    @property
    def origin(self) -> str:
        """When, from which code and where it was measured."""
        commit = self.made["idl_hf"]["commit"] or f"version {self.made['idl_hf']['version']}"
        machine = self.made["machine"]
        return f"{self.made['date']}, {commit[:12]}, {machine['processor']}, {machine['cores']} cores"


def read_line(file: Path) -> KeptLine:
    """Return the line in a file. Raises ValueError, naming the file, for anything else, such as one with texts."""
    try:
        found = KeptLine(**json.loads(file.read_text(encoding="utf-8")))
        by_person = [value for column in found.values.values() for value in column.values()]
        figures = [*by_person, *found.whole.values(), *found.rows.values()]
        labels = [label for of_note in found.notes.values() for label in of_note]
        sound = [isinstance(figure, int | float) for figure in figures] + [isinstance(one, str) for one in labels]
        if not all(sound) or not isinstance(found.label + found.origin, str):
            raise ValueError("a figure is no number, or a note no text")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"'{file}' is no line as `idl-hf evaluate` writes it ({error}).") from error
    return found


class KeptLines:
    """The lines in a folder, by all that they depend on: settings, data, code and precision, and not the machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, *made_of: object) -> KeptLine | None:
        """Return the line that is made of these parts, None where there is none. Raises ValueError, naming the file,
        for one that is damaged."""
        file = self._file(made_of)
        if not file.is_file():
            return None
        try:
            return read_line(file)
        except ValueError as error:
            raise ValueError(f"{error} Delete it, and it is measured anew.") from error

    def write(self, line: KeptLine, *made_of: object) -> None:
        """Keep a line, whole or not at all."""
        with write_whole(self._file(made_of)) as partial:
            partial.write_text(json.dumps(vars(line), indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def _file(self, made_of: tuple[object, ...]) -> Path:
        return self._folder / f"{digest(*made_of).hex()[:16]}.json"
