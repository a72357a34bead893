"""The nouns every other file speaks of, what makes two texts the same, and the columns of each dataset config."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datasets import Features

Role = Literal["self", "partner"]
Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}, the chat format of transformers
CONFIGS = ("sessions", "msl", "dpoc")
APOSTROPHES = "'`\u00b4\u02b9\u02bc\u02c8\u2018\u2019\u201b\u2032\uff07"  # the plain one first
_ONE_APOSTROPHE = str.maketrans(dict.fromkeys(APOSTROPHES, "'"))
# Nothing to see, though neither white space nor a format character: fillers, and selectors of how a sign is drawn
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | set(map(chr, range(0xFE00, 0xFE10)))


def clean(text: str) -> str:
    """Return a text as rows hold it: what was said, in NFC and without white space at its ends."""
    return unicodedata.normalize("NFC", text).strip()


def plain(text: str) -> str:
    """Return a text as rules read it: NFC, one kind of apostrophe and of space, no invisible characters."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(sign for sign in unicodedata.normalize("NFC", text) if _is_seen(sign))
    return "\n".join(" ".join(line.split()) for line in text.translate(_ONE_APOSTROPHE).split("\n"))


def comparable(text: str) -> str:
    """Return what is equal of two texts that read the same, up to case, white space and ways to write a character.
    It is empty where there is nothing to read."""
    folded = unicodedata.normalize("NFKC", plain(text)).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def _is_seen(sign: str) -> bool:
    return sign.isspace() or (unicodedata.category(sign) not in ("Cc", "Cf") and sign not in _UNSEEN)


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance. `self` is the target person, whom the model learns to be; `partner` is whoever they talk to.

    What a corpus does not say is empty. time: ISO 8601. speaker: who of the partners says it, where these are several.
    """

    role: Role
    text: str
    candidates: tuple[str, ...] = ()  # other replies offered for this turn (ConvAI2, LIGHT), without the one given
    time: str = ""
    speaker: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clean(self.text))
        object.__setattr__(self, "candidates", tuple(map(clean, self.candidates)))
        object.__setattr__(self, "speaker", clean(self.speaker))


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One conversation of a person, with what the corpus says of it and where it stands (`file:line`).

    partner_id: whom they talk to, a person or a group, the same in all their dialogues; empty where nobody says.
    """

    person_id: str
    dialogue_id: str
    turns: tuple[Turn, ...]
    profile: tuple[str, ...] = ()
    source: str = ""
    partner_id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "person_id", clean(self.person_id))
        object.__setattr__(self, "dialogue_id", clean(self.dialogue_id))
        object.__setattr__(self, "profile", tuple(map(clean, self.profile)))
        object.__setattr__(self, "partner_id", clean(self.partner_id))

    def texts(self, role: Role) -> list[str]:
        """Return what one side says, turn by turn."""
        return [turn.text for turn in self.turns if turn.role == role]

    def replies(self) -> list[tuple[int, int]]:
        """Return [start, end) in `turns` of each reply of the person; several own turns in a row are one reply."""
        own = [turn.role == "self" for turn in self.turns]
        starts = [i for i, is_own in enumerate(own) if is_own and (i == 0 or not own[i - 1])]
        return [(start, own.index(False, start) if False in own[start:] else len(own)) for start in starts]


@dataclass(frozen=True, slots=True)
class Person:
    """Everything known of one person: all dialogues, in corpus order."""

    person_id: str
    dialogues: tuple[Dialogue, ...]

    @property
    def profile(self) -> list[str]:
        """Return each profile sentence of any dialogue once, in order of appearance."""
        return list(dict.fromkeys(sentence for dialogue in self.dialogues for sentence in dialogue.profile))


@dataclass(frozen=True, slots=True)
class Triple:
    """A persona fact <subject, relation, object> (paper 3.2.1), as in <i, have_pet, two dogs>."""

    subject: str
    relation: str
    object: str


def group_by_person(dialogues: Iterable[Dialogue]) -> list[Person]:
    """Return the persons of the dialogues, in order of first appearance."""
    by_id: dict[str, list[Dialogue]] = {}
    for dialogue in dialogues:
        by_id.setdefault(dialogue.person_id, []).append(dialogue)
    return [Person(person_id, tuple(own)) for person_id, own in by_id.items()]


def features(config: str) -> "Features":
    """Return the columns of a config.
    `msl` and `dpoc` are TRL's conversational formats plus columns to trace a row. Raises ValueError for another."""
    from datasets import Features, List, Value

    if config not in CONFIGS:
        raise ValueError(f"Unknown config '{config}'. The configs are: {', '.join(CONFIGS)}.")
    text, number = Value("string"), Value("int32")
    ids = {"person_id": text, "dialogue_id": text}
    if config == "sessions":
        turn = {"role": text, "text": text, "candidates": List(text), "time": text, "speaker": text}
        own = {"turns": List(turn), "profile": List(text), "source": text, "partner_id": text}
        return Features({**ids, **own})
    messages = List({"role": text, "content": text})
    # where each reference, and last the current dialogue, begins in `prompt` (see prompting.fit_to_budget)
    starts = List({"message": number, "char": number})
    trace = {**ids, "reference_ids": List(text), "dialogue_starts": starts}  # references in prompt order
    if config == "msl":
        return Features({"prompt": messages, "completion": messages, **trace, "cluster": number})
    replies = {"chosen": messages, "criterion": messages, "rejected": messages}
    return Features({"prompt": messages, **replies, "criterion_type": text, **trace})
