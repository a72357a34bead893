"""Rows of people whom no model trained on."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset

from idl_hf.cache import digest
from idl_hf.prompting import SILENCE
from idl_hf.rows.arguments import load

_SHAPING = ("variant", "person", "preset", "on_error")  # the options that say what the dialogues are


class DialogueKey(NamedTuple):
    """Which dialogue a row is about."""

    person_id: str
    dialogue_id: str


class Spoken(NamedTuple):
    """A reply of a person as it was given: at which turn of the dialogue it begins, and what the partner said."""

    turn: int
    said: str
    text: str


@dataclass
class EvaluationData:
    """Rows of held-out people: every reply of every dialogue, under each conditioning."""

    dataset_name: str = "idl_hf/convai2_idl"
    data_dir: str | None = None
    split: str = "validation"
    max_prompt_tokens: int = 2048
    options: Mapping[str, Any] = field(default_factory=dict)  # of the builder
    only: set[DialogueKey] | None = None  # the dialogues of the rows; None: all

    def rows(self, conditioning: str, **options: Any) -> Dataset:
        """Return one row for each dialogue, with all replies of the person as its completion.

        options: of the builder, over those of this data.
        """
        options = {"targets": "all", "reply": "all", **self.options, "conditioning": conditioning, **options}
        rows = load(self.dataset_name, "msl", data_dir=self.data_dir, split=self.split, **options)
        if self.only is None:
            return rows
        return rows.select([place for place, key in enumerate(keys_of(rows)) if key in self.only])

    def choose(
        self, kinds: Sequence[Mapping[str, Any]], min_dialogues: int, people: int | None, per_person: int | None
    ) -> int:
        """Set `only` to dialogues that have a row of each kind (options of `rows`), of so many people, spread over
        those with enough of them. Return how many people only some kinds have rows of.

        per_person: most dialogues of each. Raises ValueError where nobody has enough dialogues.
        """
        keys = [keys_of(self.rows(**kind)) for kind in kinds]
        common = set(keys[0]).intersection(*keys)
        somewhere = {key.person_id for of_kind in keys for key in of_kind}
        dialogues: dict[str, list[DialogueKey]] = defaultdict(list)
        for key in keys[0]:
            if key in common:
                dialogues[key.person_id].append(key)
        enough = [own for own in dialogues.values() if len(own) >= min_dialogues]
        if not enough:
            raise ValueError(
                f"Nobody in the {self.split} split of {self.dataset_name} has {min_dialogues} dialogues with which "
                f"all lines can be made. Of {len(somewhere)} people, {len(dialogues)} have any. Does the corpus have "
                "profiles, if they are asked for?"
            )
        chosen = [enough[place] for place in spread(len(enough), people)]
        self.only = {key for own in chosen for key in own[:per_person]}
        return len(somewhere) - len(dialogues)

    def sessions(self) -> Dataset:
        """Return the dialogues behind the rows, of all people of the split, whatever rows are scored."""
        options = {name: value for name, value in self.options.items() if name in _SHAPING}
        whole_split = self.split.partition("[")[0]
        return load(self.dataset_name, "sessions", data_dir=self.data_dir, split=whole_split, **options)

    def about(self) -> dict[str, Any]:
        """Return which dialogues these are, for a report that names no folder, with a hash of who says what in all of
        the split."""
        said = [
            (
                row["person_id"],
                row["dialogue_id"],
                [(turn["role"], turn["text"]) for turn in row["turns"]],
                row["profile"],
            )
            for row in self.sessions()
        ]
        options = {name: value for name, value in self.options.items() if name in _SHAPING}
        where = {"dataset_name": self.dataset_name, "split": self.split, "options": options}
        return {**where, "dialogues": digest(said).hex()}

    def spoken(self) -> dict[DialogueKey, list[Spoken]]:
        """Return the person's replies in each dialogue: several own turns in a row are one."""
        replies = {}
        for session in self.sessions():
            runs = [(role, list(run)) for role, run in groupby(session["turns"], key=itemgetter("role"))]
            texts = ["\n".join(turn["text"] for turn in run) for _, run in runs]
            begins = [0, *accumulate(len(run) for _, run in runs)]
            replies[DialogueKey(session["person_id"], session["dialogue_id"])] = [
                Spoken(begins[i], texts[i - 1] if i else SILENCE, texts[i])
                for i, (role, _) in enumerate(runs)
                if role == "self"
            ]
        return replies

    def histories(self, keys: Iterable[DialogueKey]) -> list[list[str]]:
        """Return for each of these dialogues all utterances of its person in other dialogues."""
        said: dict[str, dict[str, list[str]]] = defaultdict(dict)
        for session in self.sessions():
            own = [turn["text"] for turn in session["turns"] if turn["role"] == "self"]
            said[session["person_id"]][session["dialogue_id"]] = own
        return [
            [text for name, texts in said[key.person_id].items() if name != key.dialogue_id for text in texts]
            for key in keys
        ]

    def profiles(self) -> dict[DialogueKey, list[str]]:
        """Return each dialogue's profile or, where it has none, that of all the person's dialogues."""
        sessions = list(self.sessions())
        of_person: dict[str, dict[str, None]] = defaultdict(dict)
        for session in sessions:
            of_person[session["person_id"]] |= dict.fromkeys(session["profile"])
        return {
            DialogueKey(session["person_id"], session["dialogue_id"]): list(session["profile"])
            or list(of_person[session["person_id"]])
            for session in sessions
        }


def keys_of(rows: Dataset) -> list[DialogueKey]:
    """Return which dialogue each row is about."""
    return list(map(DialogueKey, rows["person_id"], rows["dialogue_id"]))


def spread(count: int, wanted: int | None) -> list[int]:
    """Return the places of so many of `count` things, evenly from the first to the last; None: of all."""
    if wanted is None or wanted >= count:
        return list(range(count))
    return np.linspace(0, count - 1, wanted).round().astype(int).tolist()
