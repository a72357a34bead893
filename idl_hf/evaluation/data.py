"""Rows of people whom no model trained on."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset, load_dataset


@dataclass
class EvaluationData:
    """Rows of held-out people: every reply of every dialogue, under each conditioning."""

    dataset_name: str = "idl_hf/convai2_idl"
    data_dir: str | None = None
    split: str = "validation"
    max_prompt_tokens: int = 2048
    dialogues_per_person: int | None = None  # None: all
    options: dict[str, Any] = field(default_factory=dict)  # of the builder
    people: int | None = None  # None: all; else so many, spread over the split
    min_dialogues: int = 0  # people with fewer are left out

    def rows(self, conditioning: str, reply: str = "all", **options: Any) -> Dataset:
        """options: of the builder, over those of this data."""
        options = {"targets": "all", "reply": reply, **self.options, "conditioning": conditioning, **options}
        if self.data_dir is not None:
            options["data_dir"] = self.data_dir
        rows = load_dataset(self.dataset_name, "msl", split=self.split, **options)
        return rows.select(self._chosen(rows["person_id"][:]))

    def _chosen(self, persons: list[str]) -> list[int]:
        """The first rows of each person who is chosen. A row is a dialogue, since all are targets."""
        count = Counter(persons)
        enough = [person for person in count if count[person] >= self.min_dialogues]
        if self.people is not None and len(enough) > self.people:
            enough = [enough[i] for i in np.linspace(0, len(enough) - 1, self.people).round().astype(int)]
        left = dict.fromkeys(enough, len(persons) if self.dialogues_per_person is None else self.dialogues_per_person)
        kept = []
        for i, person in enumerate(persons):
            if left.get(person, 0) > 0:
                left[person] -= 1
                kept.append(i)
        return kept

    def sessions(self) -> Dataset:
        """The dialogues behind the rows, with the options that shape them."""
        extra = {k: v for k, v in self.options.items() if k in ("variant", "person", "on_error")}
        if self.data_dir is not None:
            extra["data_dir"] = self.data_dir
        whole_split = self.split.partition("[")[0]  # histories are of all dialogues, whatever rows are scored
        return load_dataset(self.dataset_name, "sessions", split=whole_split, **extra)

    def said(self) -> dict[str, dict[str, list[str]]]:
        """What each person says, by person and dialogue."""
        said: dict[str, dict[str, list[str]]] = defaultdict(dict)
        for session in self.sessions():
            own = [turn["text"] for turn in session["turns"] if turn["role"] == "self"]
            said[session["person_id"]][session["dialogue_id"]] = own
        return said

    def histories(self, rows: Iterable[dict[str, Any]]) -> list[list[str]]:
        """All utterances of each row's person in other dialogues than the row's own."""
        said = self.said()
        return [
            [text for name, texts in said[row["person_id"]].items() if name != row["dialogue_id"] for text in texts]
            for row in rows
        ]

    def profiles(self) -> dict[str, list[str]]:
        """Each profile sentence of any dialogue of a person once."""
        found: dict[str, dict[str, None]] = defaultdict(dict)
        for session in self.sessions():
            found[session["person_id"]] |= dict.fromkeys(session["profile"])
        return {person: list(sentences) for person, sentences in found.items()}
