"""A persona in a folder: one JSON file with past dialogues, options, settings and the conversation. No model is in it.

The file is for its owner's eyes: it holds what people wrote, and is made readable by nobody else.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from idl_hf.cache import forget_remains, write_whole
from idl_hf.chat.forgetting import says_the_same
from idl_hf.corpora.errors import CorpusError
from idl_hf.corpora.jsonl import is_text, parse_dialogue
from idl_hf.models.generation import GenerationSettings, checked_settings
from idl_hf.schema import Dialogue, Turn

PERSONA_FILE = "persona.json"
_VERSION = 1


@dataclass(frozen=True)
class Exchange:
    """What the partner said, the reply, and the references it was written with, of which the first did not fit."""

    said: str
    reply: str
    references: tuple[Dialogue, ...] = ()
    dropped: int = 0  # how many of them

    @property
    def turns(self) -> tuple[Turn, Turn]:
        """Return both sides."""
        return Turn("partner", self.said), Turn("self", self.reply)

    @property
    def shown(self) -> tuple[Dialogue, ...]:
        """Return the references that were in the prompt, in its order."""
        return self.references[self.dropped :]


@dataclass(frozen=True)
class SavedPersona:
    """All that a chat is, but for the model, which is named.

    options: those of `RowOptions` that shape prompts, as they were saved: a chat checks them.
    """

    person_id: str
    model: str | None
    options: Mapping[str, object]
    max_prompt_tokens: int
    partner_id: str
    choose_every: int | None
    generation: GenerationSettings
    dialogues: tuple[Dialogue, ...]
    conversation: tuple[Exchange, ...]


def write_persona(folder: str | Path, persona: SavedPersona) -> None:
    """Write a persona into a folder, in place of one that is there. Raises OSError where it cannot be written."""
    values = {
        "version": _VERSION,
        "person_id": persona.person_id,
        "model": persona.model,
        "options": dict(persona.options),
        "max_prompt_tokens": persona.max_prompt_tokens,
        "partner_id": persona.partner_id,
        "choose_every": persona.choose_every,
        "generation": asdict(persona.generation),
        "dialogues": [_dialogue_record(dialogue) for dialogue in persona.dialogues],
        "conversation": [_exchange_record(exchange) for exchange in persona.conversation],
    }
    with write_whole(Path(folder, PERSONA_FILE), private=True) as partial:
        partial.write_text(json.dumps(values, ensure_ascii=False, indent=1), encoding="utf-8")


def _dialogue_record(dialogue: Dialogue) -> dict[str, object]:
    turns = [{name: value for name, value in asdict(turn).items() if value} for turn in dialogue.turns]
    partner = {"partner_id": dialogue.partner_id} if dialogue.partner_id else {}
    return {"person_id": dialogue.person_id, "dialogue_id": dialogue.dialogue_id, "turns": turns, **partner}


def _exchange_record(exchange: Exchange) -> dict[str, object]:
    ids = [reference.dialogue_id for reference in exchange.references]
    return {"said": exchange.said, "reply": exchange.reply, "reference_ids": ids, "dropped": exchange.dropped}


def read_persona(folder: str | Path) -> SavedPersona:
    """Return the persona in a folder. Raises ValueError, with what is wrong, for anything that `write_persona` would
    not have written, OSError where there is none."""
    file = Path(folder, PERSONA_FILE)
    if not file.is_file():
        raise FileNotFoundError(f"There is no saved persona in '{folder}': expected a file {PERSONA_FILE} in it.")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{file}' is no JSON ({error}). Save the persona again.") from error
    try:
        return _parsed(values)
    except ValueError as error:
        raise ValueError(f"'{file}' is no saved persona: {error}") from error


def _parsed(values: object) -> SavedPersona:
    if not isinstance(values, dict) or values.get("version") != _VERSION:
        raise ValueError(f"expected an object with version {_VERSION}, found {str(values)[:80]!r}.")
    fields = _Fields(values)
    dialogues = [_dialogue(number, record) for number, record in enumerate(fields.mappings("dialogues"), start=1)]
    by_id = {dialogue.dialogue_id: dialogue for dialogue in dialogues}
    if len(by_id) < len(dialogues):
        raise ValueError("two of its dialogues have the same dialogue_id.")
    persona = SavedPersona(
        person_id=fields.text("person_id"),
        model=None if values.get("model") is None else fields.text("model"),
        options=fields.mapping("options"),
        max_prompt_tokens=fields.whole_number("max_prompt_tokens", 1),
        partner_id=fields.text("partner_id", may_be_empty=True),
        choose_every=None if values.get("choose_every") is None else fields.whole_number("choose_every", 1),
        generation=checked_settings(fields.mapping("generation"), "generation"),
        dialogues=tuple(dialogues),
        conversation=tuple(_exchange(_Fields(record), by_id) for record in fields.mappings("conversation")),
    )
    fields.refuse_others()
    return persona


def _dialogue(number: int, record: Mapping[str, object]) -> Dialogue:
    try:
        return parse_dialogue(record)
    except CorpusError as error:
        raise ValueError(f"dialogue {number}: {error}") from error


def _exchange(fields: "_Fields", by_id: Mapping[str, Dialogue]) -> Exchange:
    ids = fields.texts("reference_ids")
    unknown = [name for name in ids if name not in by_id]
    if unknown:
        raise ValueError(f"the conversation names a dialogue that is not there: {unknown[0][:80]!r}.")
    dropped = fields.whole_number("dropped", 0)
    if dropped > len(ids):
        raise ValueError(f"the conversation has {len(ids)} references and leaves out {dropped} of them.")
    said, reply = fields.text("said"), fields.text("reply", may_be_empty=True)
    fields.refuse_others()
    return Exchange(said, reply, tuple(by_id[name] for name in ids), dropped)


class _Fields:
    """The values of a JSON object, each asked for with its type; ValueError says which is another."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values
        self._asked: set[str] = set()

    def text(self, name: str, may_be_empty: bool = False) -> str:
        value = self._take(name)
        if not is_text(value) or not (may_be_empty or value.strip()):
            raise ValueError(f"expected '{name}' to be a text, found {repr(value)[:80]}.")
        return value

    def texts(self, name: str) -> list[str]:
        value = self._take(name)
        if not isinstance(value, list) or not all(map(is_text, value)):
            raise ValueError(f"expected '{name}' to be a list of texts, found {repr(value)[:80]}.")
        return value

    def whole_number(self, name: str, least: int) -> int:
        value = self._take(name)
        if type(value) is not int or value < least:
            raise ValueError(f"expected '{name}' to be a whole number, {least} or more, found {repr(value)[:80]}.")
        return value

    def mapping(self, name: str) -> dict[str, object]:
        value = self._take(name)
        if not isinstance(value, dict):
            raise ValueError(f"expected '{name}' to be an object, found {repr(value)[:80]}.")
        return value

    def mappings(self, name: str) -> list[dict[str, object]]:
        value = self._take(name)
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise ValueError(f"expected '{name}' to be a list of objects, found {repr(value)[:80]}.")
        return value

    def refuse_others(self) -> None:
        """Raise ValueError for a field that was not asked for."""
        unknown = sorted(set(self._values) - self._asked - {"version", "model", "choose_every"})
        if unknown:
            raise ValueError(f"it has unknown fields: {', '.join(unknown)[:200]}.")

    def _take(self, name: str) -> object:
        self._asked.add(name)
        if name not in self._values:
            raise ValueError(f"the field '{name}' is missing.")
        return self._values[name]


def forget_saved(folder: Path, turns: Sequence[Turn]) -> bool:
    """Write a saved persona anew without the dialogues that say this, and without its conversation, which may quote
    them; return whether it was there with such a dialogue."""
    if not Path(folder, PERSONA_FILE).is_file():
        return False
    forget_remains(folder / PERSONA_FILE)
    persona = read_persona(folder)
    kept = tuple(dialogue for dialogue in persona.dialogues if not says_the_same(dialogue.turns, turns))
    if len(kept) == len(persona.dialogues):
        return False
    write_persona(folder, replace(persona, dialogues=kept, conversation=()))
    return True
