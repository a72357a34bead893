"""Rows of people whom no model trained on."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
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
    dialogues_per_person: int | None = None  # the first of each; None: all
    options: dict[str, Any] = field(default_factory=dict)  # of the builder
    only: set[tuple[str, str]] | None = None  # (person_id, dialogue_id) of the rows; None: all

    def rows(self, conditioning: str, reply: str = "all", **options: Any) -> Dataset:
        """options: of the builder, over those of this data."""
        options = {"targets": "all", "reply": reply, **self.options, "conditioning": conditioning, **options}
        if self.data_dir is not None:
            options["data_dir"] = self.data_dir
        rows = load_dataset(self.dataset_name, "msl", split=self.split, **options)
        dialogues = list(zip(rows["person_id"], rows["dialogue_id"], strict=True))
        kept = [i for i, dialogue in enumerate(dialogues) if self.only is None or dialogue in self.only]
        return rows.select(_first_of_each([dialogues[i][0] for i in kept], kept, self.dialogues_per_person))

    def choose(
        self, kinds: Sequence[dict[str, Any]], min_dialogues: int, people: int | None, dialogues_per_person: int | None
    ) -> int:
        """Sets `only` to dialogues that have a row of each kind (options of `rows`), of so many people, spread over those
        with enough of them. Returns how many people only some kinds have rows of."""
        found = []
        for kind in kinds:
            rows = self.rows(**kind)
            found.append(list(zip(rows["person_id"], rows["dialogue_id"], strict=True)))
        common = set(found[0]).intersection(*found)
        somewhere = {person for dialogues in found for person, _ in dialogues}
        of_person: dict[str, list[str]] = defaultdict(list)
        for person, dialogue in found[0]:
            if (person, dialogue) in common:
                of_person[person].append(dialogue)
        enough = [person for person, dialogues in of_person.items() if len(dialogues) >= min_dialogues]
        if not enough:
            raise ValueError(
                f"Nobody in the {self.split} split of {self.dataset_name} has {min_dialogues} dialogues with which all "
                f"lines can be made. Of {len(somewhere)} people, {len(of_person)} have any. Does the corpus have profiles, "
                "if they are asked for?"
            )
        chosen = [enough[i] for i in spread(len(enough), people)]
        self.only = {(person, dialogue) for person in chosen for dialogue in of_person[person][:dialogues_per_person]}
        return len(somewhere) - len(of_person)

    def sessions(self) -> Dataset:
        """The dialogues behind the rows, with the options that shape them."""
        extra = {k: v for k, v in self.options.items() if k in ("variant", "person", "preset", "on_error")}
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
        return dict(said)

    def histories(self, rows: Iterable[dict[str, Any]]) -> list[list[str]]:
        """All utterances of each row's person in other dialogues than the row's own."""
        said = self.said()
        return [
            [text for name, texts in said[row["person_id"]].items() if name != row["dialogue_id"] for text in texts]
            for row in rows
        ]

    def profiles(self) -> dict[tuple[str, str], list[str]]:
        """By person and dialogue: the dialogue's profile or, where it has none, that of all the person's dialogues."""
        sessions = list(self.sessions())
        of_person: dict[str, dict[str, None]] = defaultdict(dict)
        for session in sessions:
            of_person[session["person_id"]] |= dict.fromkeys(session["profile"])
        return {
            (one["person_id"], one["dialogue_id"]): list(one["profile"]) or list(of_person[one["person_id"]])
            for one in sessions
        }


def spread(count: int, wanted: int | None) -> list[int]:
    """Places of so many of `count` things, evenly from the first to the last; None: of all."""
    if wanted is None or wanted >= count:
        return list(range(count))
    return np.linspace(0, count - 1, wanted).round().astype(int).tolist()


def _first_of_each(persons: Sequence[str], places: Sequence[int], count: int | None) -> list[int]:
    seen: dict[str, int] = defaultdict(int)
    kept = []
    for person, place in zip(persons, places, strict=True):
        seen[person] += 1
        if count is None or seen[person] <= count:
            kept.append(place)
    return kept
