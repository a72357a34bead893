"""What was measured, before any statistics: the lines of tables, with their values by person."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal

# "theirs": another system's replies, which are compared with ours both ways. "": lines that are not compared
Role = Literal["ours", "baseline", "theirs", "bound", "ablation", ""]


@dataclass(frozen=True)
class Column:
    """One score. Values are multiplied by `scale` where they are shown."""

    key: str
    label: str
    scale: float = 100.0
    lower_is_better: bool | None = False  # None: neither is better
    note: str = ""  # one sentence: what it is and which scorer

    @property
    def digits(self) -> int:
        """Return how many digits are shown after the point: scores x 100 vary in their first, nats in their third."""
        return 1 if self.scale >= 100 else 3


@dataclass(frozen=True)
class OfSeed:
    """What was measured of what one seed of training made: `values` and `whole` of a line."""

    values: dict[str, dict[str, float]]
    whole: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """What was measured of one model under one condition. A column key is in `values`, in `whole` or in neither."""

    name: str
    role: Role
    values: dict[str, dict[str, float]]  # by column key and person_id
    whole: dict[str, float] = field(default_factory=dict)  # without people, such as corpus-level distinct
    rows: dict[str, int] = field(default_factory=dict)  # how many replies or dialogues were scored
    paper: dict[str, float] = field(default_factory=dict)  # the paper's figure of the same scorer, as shown there
    x: float | None = None  # the position on a curve, such as the number of references
    group: str = ""  # which curve, or which test corpus
    by_seed: dict[int, OfSeed] = field(default_factory=dict)  # of training, what the values are means of; {}: no seeds

    def __post_init__(self) -> None:
        twice = sorted(self.values.keys() & self.whole.keys())
        if twice:
            raise ValueError(f"Line '{self.name}' has {', '.join(twice)} both by person and as a whole. Expected one.")

    @property
    def curve(self) -> str:
        """Return the name of the curve that the line is a point of."""
        return self.group or self.name


def over_seeds(lines: Mapping[int, Line]) -> Line:
    """Return one line of the means over seeds of training, person by person, with the values of each seed.

    Raises ValueError where another seed was measured in other columns or on other people.
    """
    first, *others = lines.values()
    for line in others:
        of_both = [{key: of_key.keys() for key, of_key in one.values.items()} for one in (first, line)]
        if of_both[0] != of_both[1] or first.whole.keys() != line.whole.keys():
            raise ValueError(
                f"The seeds {', '.join(map(str, lines))} of '{first.name}' were not all measured on the same people "
                "and in the same columns. Expected each person under each seed; measure those that are missing."
            )
    values = {
        key: {person: fmean(line.values[key][person] for line in lines.values()) for person in of_key}
        for key, of_key in first.values.items()
    }
    whole = {key: fmean(line.whole[key] for line in lines.values()) for key in first.whole}
    by_seed = {seed: OfSeed(line.values, line.whole) for seed, line in lines.items()}
    return replace(first, values=values, whole=whole, by_seed=by_seed)


@dataclass(frozen=True)
class Table:
    """Lines of one kind: all with x (curves) or all without."""

    title: str
    columns: list[Column]
    lines: list[Line]
    x_label: str = ""  # what x counts
    shares: tuple[str, ...] = ()  # columns that make a whole, drawn as one bar a line

    def __post_init__(self) -> None:
        if 0 < sum(line.x is None for line in self.lines) < len(self.lines):
            without = ", ".join(f"'{line.name}'" for line in self.lines if line.x is None)
            raise ValueError(f"'{self.title}' has lines with x and lines without ({without}). Put them in two tables.")
        keys = Counter((line.curve, f"x = {line.x}") if self.on_x else (line.group, line.name) for line in self.lines)
        twice = [", ".join(filter(None, key)) for key, count in keys.items() if count > 1]
        if twice:
            raise ValueError(f"'{self.title}' has several lines for '{twice[0]}'. Expected one.")

    @property
    def on_x(self) -> bool:
        """Return whether the lines are points of curves."""
        return any(line.x is not None for line in self.lines)


@dataclass(frozen=True)
class Span:
    """A piece of a text with its weight, 0 to 1."""

    text: str
    weight: float
    keyword: bool


@dataclass(frozen=True)
class Highlighted:
    """A text whose pieces have weights, for figures of attention. The spans join as they are."""

    title: str
    spans: list[Span]

    def __post_init__(self) -> None:
        outside = [span.weight for span in self.spans if not 0 <= span.weight <= 1]
        if outside:
            raise ValueError(f"'{self.title}' has a span with weight {outside[0]}. Expected weights from 0 to 1.")


@dataclass(frozen=True)
class Utterance:
    """What somebody says in a conversation."""

    speaker: str
    text: str


@dataclass(frozen=True)
class Conversation:
    """A conversation to read, with a sentence about it."""

    title: str
    about: str
    turns: list[Utterance]


@dataclass(frozen=True)
class Report:
    """All that the three files of a report show."""

    title: str
    intro: str
    tables: list[Table]
    examples: list[dict[str, str]] = field(default_factory=list)  # partner, gold, and a reply per condition
    highlighted: list[Highlighted] = field(default_factory=list)
    settings: Mapping[str, object] = field(default_factory=dict)  # a value may be such a mapping itself
    notes: list[str] = field(default_factory=list)  # what was not run and why
    seconds: float = 0.0
    conversations: list[Conversation] = field(default_factory=list)
