"""Counts of what a split was made from and what was left out, gathered from all processes of a build."""

import json
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idl_hf.corpora.errors import ErrorLog
from idl_hf.schema import Person


@dataclass(frozen=True)
class Tally:
    """What the files of a split held, and a folder in which each process of a build leaves what it left out."""

    people: int
    dialogues: int  # those left out too
    log: ErrorLog
    folder: str
    about: Sequence[str]  # sentences on what rows take from elsewhere

    @classmethod
    def begin(cls, persons: Sequence[Person], log: ErrorLog, about: Sequence[str] = ()) -> "Tally":
        """Return the tally of a split of which these persons were read. about: sentences that its report holds too."""
        folder = Path(tempfile.gettempdir(), f"idl_hf-tally-{uuid.uuid4().hex}")
        dialogues = sum(len(person.dialogues) for person in persons) + log.drops.total()
        return cls(len(persons), dialogues, log, str(folder), tuple(about))

    def add(self, drops: Counter[str]) -> None:
        """Leave the counts of one process for `report`."""
        folder = Path(self.folder)
        folder.mkdir(exist_ok=True)
        (folder / f"{uuid.uuid4().hex}.json").write_text(json.dumps(drops))

    @staticmethod
    def lines(split: str, drops: Counter[str]) -> list[str]:
        """Return a sentence for each reason why something was left out."""
        return [f"Left out of {split}: {count} x {reason}." for reason, count in sorted((+drops).items())]

    def report(self, split: str) -> str:
        """Return all counts as text, one sentence a line, and remove the folder.
        Dialogues in the files = dialogues that rows show + those left out as "dialogue ..."."""
        drops = Counter(self.log.drops)
        for file in sorted(Path(self.folder).glob("*.json")):
            drops.update(json.loads(file.read_text()))
        shutil.rmtree(self.folder, ignore_errors=True)
        lines = [f"Read of {split}: {self.dialogues} dialogues, {self.people} people.", *self.about]
        lines += self.lines(split, drops)
        lines += [f"Mended in {split}: {count} x {what}." for what, count in sorted(self.log.notes.items())]
        return "\n".join(lines)
