"""Counts of what a split was made from and what was left out, gathered from all processes of a build."""

import json
import shutil
import tempfile
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from idl_hf.corpora.errors import ErrorLog


@dataclass(frozen=True)
class Tally:
    people: int
    dialogues: int  # in the files, those left out too
    log: ErrorLog
    folder: str  # each process leaves its counts here

    @classmethod
    def begin(cls, people: int, dialogues: int, log: ErrorLog) -> "Tally":
        """dialogues: those that were read."""
        folder = Path(tempfile.gettempdir(), f"idl_hf-tally-{uuid.uuid4().hex}")
        return cls(people, dialogues + log.drops.total(), log, str(folder))

    def add(self, drops: Counter[str]) -> None:
        folder = Path(self.folder)
        folder.mkdir(exist_ok=True)
        (folder / f"{uuid.uuid4().hex}.json").write_text(json.dumps(drops))

    def report(self, split: str) -> str:
        """One sentence a line. Dialogues in the files = dialogues that rows show + those left out as "dialogue ..."."""
        drops = Counter(self.log.drops)
        for file in sorted(Path(self.folder).glob("*.json")):
            drops.update(json.loads(file.read_text()))
        shutil.rmtree(self.folder, ignore_errors=True)
        lines = [f"Read of {split}: {self.dialogues} dialogues, {self.people} people."]
        lines += [f"Left out of {split}: {count} x {reason}." for reason, count in sorted((+drops).items())]
        lines += [f"Mended in {split}: {count} x {what}." for what, count in sorted(self.log.notes.items())]
        return "\n".join(lines)
