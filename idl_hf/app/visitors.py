"""What visitors of the page share, and what each has alone: people, chats, and the copy of a file that was dropped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from idl_hf.chat.commands import forgotten_lines
from idl_hf.corpora.files import find_splits
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.schema import Dialogue, Person, comparable, group_by_person

if TYPE_CHECKING:
    from idl_hf.chat.persona_chat import PersonaChat


@dataclass(frozen=True)
class Shared:
    """What all visitors share.

    chat: with nobody; its model, encoder and options are those of all chats. people: those of data_dir. lock: held by
    whatever computes, since a model writes one reply at a time.
    """

    chat: "PersonaChat"
    people: Sequence[Person] = ()
    data_dir: Path | None = None
    lock: Lock = field(default_factory=Lock)


@dataclass
class Visitor:
    """What one page, open in one browser, knows: of another's nothing.

    chats: by person_id, as they were left. folder: in which the lines of the people stand, None where in none of the
    user's. copy: of a file that was dropped, until it was read. stopped: whether the reply being written is to end.
    """

    people: dict[str, Person] = field(default_factory=dict)
    chats: dict[str, "PersonaChat"] = field(default_factory=dict)
    person_id: str = ""
    folder: Path | None = None
    copy: Path | None = None
    stopped: bool = False

    def take(self, people: Iterable[Person], folder: Path | None = None) -> None:
        """Know these people in place of those so far."""
        self.people = {person.person_id: person for person in people}
        self.chats, self.person_id, self.folder = {}, "", folder

    def turn_to(self, person_id: str, shared: Shared) -> "PersonaChat":
        """Return the chat with a person of the page, as it was left, or a new one. Raises ValueError for others."""
        if person_id not in self.people:
            raise ValueError(f"There is no person '{person_id}' on this page. Pick one from the list.")
        self.person_id = person_id
        return self._chat(person_id, shared)

    def _chat(self, person_id: str, shared: Shared) -> "PersonaChat":
        if person_id not in self.chats:
            self.chats[person_id] = shared.chat.with_person(self.people[person_id])
        return self.chats[person_id]

    @property
    def chat(self) -> "PersonaChat":
        """The chat that goes on. Raises ValueError where nobody was picked."""
        if self.person_id not in self.chats:
            raise ValueError("Nobody is picked yet. Pick a person on the tab Persona first.")
        return self.chats[self.person_id]

    def forget(self, dialogue_id: str, shared: Shared) -> list[str]:
        """Return what was removed with a dialogue of the person, and what is left.

        The same conversation is forgotten of the others who were in it. Raises what `PersonaChat.forget` raises.
        """
        owners = [(self.person_id, dialogue_id)]
        known = {dialogue.dialogue_id: dialogue for dialogue in self.people[self.person_id].dialogues}
        if dialogue_id in known:
            said = _words(known[dialogue_id])
            others = (person for name, person in self.people.items() if name != self.person_id)
            owners += [
                (other.person_id, dialogue.dialogue_id)
                for other in others
                for dialogue in other.dialogues
                if _words(dialogue) == said
            ]
        return [line for person_id, name in owners for line in self._forget(person_id, name, shared)]

    def _forget(self, person_id: str, dialogue_id: str, shared: Shared) -> list[str]:
        chat, person = self._chat(person_id, shared), self.people[person_id]
        if person_id != self.person_id and dialogue_id not in {own.dialogue_id for own in chat.dialogues}:
            return []  # went with a copy of it
        forgotten = chat.forget(dialogue_id)
        kept = tuple(own for own in person.dialogues if own.dialogue_id not in forgotten.dialogue_ids)
        self.people[person_id] = Person(person_id, kept)
        if person_id == self.person_id:
            return forgotten_lines(forgotten, person_id, self._files(person))
        # What else is left was said of the person's own
        lines = forgotten_lines(replace(forgotten, left=()), person_id, self._files(person))
        return [f"The same conversation, as {person_id} had it:", *lines]

    def _files(self, person: Person) -> dict[str, Path]:
        """Return the file that each dialogue stands in, by dialogue_id."""
        if self.folder is None:
            return {}
        return {own.dialogue_id: self.folder / own.source.rpartition(":")[0] for own in person.dialogues}

    def keep_copy(self, path: Path | None) -> None:
        """Remember the copy of a file that was dropped, and delete the one before it."""
        if self.copy is not None and self.copy != path:
            self.copy.unlink(missing_ok=True)
        self.copy = path


def read_people(folder: str | Path) -> list[Person]:
    """Return the people of all splits of a folder; an id is one person in all of them. Raises CorpusError."""
    files = find_splits(folder, lambda split: [f"{split}.jsonl"], "train.jsonl, validation.jsonl or test.jsonl")
    seen: dict[tuple[str, str], str] = {}
    paths = [file for split in files.values() for file in split]
    return group_by_person(dialogue for path in paths for dialogue in read_dialogues(path, seen=seen))


def _words(dialogue: Dialogue) -> tuple[str, ...]:
    """Return what is said, equal for all who were in one conversation."""
    return tuple(comparable(turn.text) for turn in dialogue.turns)
