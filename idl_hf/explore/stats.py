"""What a dataset holds, in numbers: tables for the terminal, and with plots for a page of HTML."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from idl_hf.arguments import option
from idl_hf.explore.dataset import ExploreArguments, PromptCounter, dialogue_of
from idl_hf.persona import patterns
from idl_hf.rows.people import shows_persona
from idl_hf.schema import CONFIGS, Dialogue, Message
from idl_hf.shown import visible

if TYPE_CHECKING:
    from datasets import Dataset, DatasetInfo

_LEFT_OUT = re.compile(r"^Left out of ([^:\n]+): ([\d,]+) x (.+)\.$", re.MULTILINE)
_SPREAD = ["min", "median", "p90", "max"]


@dataclass
class StatsArguments(ExploreArguments):
    """What to count."""

    configs: list[str] = field(default_factory=lambda: list(CONFIGS), metadata={"help": "Of sessions, msl, dpoc."})
    html: str | None = option(None, "Also writes this page, with plots.")


@dataclass
class Talk:
    """A split of the sessions config, with a number per person, dialogue or utterance."""

    dialogues_per_person: Counter[str] = field(default_factory=Counter)  # by person_id
    turns_per_dialogue: list[int] = field(default_factory=list)
    words_per_utterance: list[int] = field(default_factory=list)
    characters_per_utterance: list[int] = field(default_factory=list)
    own_utterances: int = 0  # of the persons themselves
    persona_utterances: int = 0  # of these, those that show a persona fact


@dataclass
class Rows:
    """A split of the msl or dpoc config."""

    prompt_lengths: list[int] = field(default_factory=list)
    criterion_types: Counter[str] = field(default_factory=Counter)


@dataclass
class Stats:
    """All that was counted, by split; `rows` and `left_out` by config before."""

    unit: str  # of prompt lengths
    talk: dict[str, Talk] = field(default_factory=dict)
    rows: dict[str, dict[str, Rows]] = field(default_factory=dict)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    example: Dialogue | None = None  # the first dialogue, if the sessions were counted


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header, each of text."""

    title: str
    header: list[str]
    rows: list[list[str]]
    grouped: bool = False  # by the first cell of the rows

    def markdown(self) -> str:
        """Return the table in Markdown, under its title as a heading."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return f"## {self.title}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def show_stats(args: StatsArguments) -> None:
    """Print the tables, and write the page that `args.html` names."""
    stats = collect(args)
    shown = tables(stats)
    print(visible("\n\n".join([f"# {args.dataset_name}", *(table.markdown() for table in shown)])))
    if args.html is not None:
        from idl_hf.explore.charts import write_page  # here, since it draws what this file counts

        write_page(args.html, args.dataset_name, stats, shown)
        print(f"\nThe page is in {args.html}.")


def collect(args: StatsArguments) -> Stats:
    """Count what the configs hold, building what is not in the cache. Raises ValueError for an unknown config."""
    unknown = [config for config in args.configs if config not in CONFIGS]
    if unknown:
        raise ValueError(f"Unknown config '{unknown[0]}'. The configs are: {', '.join(CONFIGS)}.")
    counter = PromptCounter.from_pretrained(args.model_name_or_path)
    stats = Stats(counter.unit)
    for config in args.configs:
        splits = args.load_all(config)
        infos = [rows.info for rows in splits.values()]
        stats.left_out[config] = {what: number for info in infos for what, number in left_out(info).items()}
        if config == "sessions":
            stats.talk = {split: measure_talk(map(dialogue_of, rows)) for split, rows in splits.items()}
            stats.example = dialogue_of(next(iter(splits.values()))[0])
        else:
            stats.rows[config] = {split: measure_rows(rows, counter.count) for split, rows in splits.items()}
    return stats


def measure_talk(dialogues: Iterable[Dialogue]) -> Talk:
    """Count the dialogues, turns, words and persona facts of a split."""
    talk = Talk()
    for dialogue in dialogues:
        texts = [turn.text for turn in dialogue.turns]
        talk.dialogues_per_person[dialogue.person_id] += 1
        talk.turns_per_dialogue.append(len(texts))
        talk.words_per_utterance += [len(text.split()) for text in texts]
        talk.characters_per_utterance += map(len, texts)
        talk.own_utterances += len(dialogue.texts("self"))
        talk.persona_utterances += sum(shows_persona(dialogue.turns, patterns.extract))
    return talk


def measure_rows(rows: "Dataset", count: Callable[[Sequence[Message]], int]) -> Rows:
    """Measure the prompts of a split of msl or dpoc, and count its criterion types."""
    types = Counter(rows["criterion_type"][:]) if "criterion_type" in rows.column_names else Counter()
    return Rows([count(prompt) for prompt in rows["prompt"]], types)


def left_out(info: "DatasetInfo") -> dict[str, int]:
    """Return what made no row and how often, by "<split>: <reason>", as the description of a dataset tells it."""
    counts: Counter[str] = Counter()
    for split, number, reason in _LEFT_OUT.findall(info.description):
        counts[f"{split}: {reason}"] += int(number.replace(",", ""))
    return dict(counts)


def tables(stats: Stats) -> list[Table]:
    """Return the tables of what was counted; those that would be empty are left out."""
    filled = [_people(stats.talk), _sizes(stats.talk)] if stats.talk else []
    if stats.rows:
        body = [
            [config, split, _number(len(rows.prompt_lengths)), *spread(rows.prompt_lengths)]
            for config, splits in stats.rows.items()
            for split, rows in splits.items()
        ]
        title = f"Rows, and their prompts in {stats.unit}"
        filled.append(Table(title, ["config", "split", "rows", *_SPREAD], body, grouped=True))
    types = {split: rows.criterion_types for split, rows in stats.rows.get("dpoc", {}).items()}
    if types:
        names = sorted({name for counts in types.values() for name in counts})
        body = [[name, *(_share(counts[name], counts.total()) for counts in types.values())] for name in names]
        filled.append(Table("Criterion types", ["type", *types], body))
    return [*filled, *(_left_out(config, counts) for config, counts in stats.left_out.items() if counts)]


def _left_out(config: str, counts: dict[str, int]) -> Table:
    """Return what made no row of one config, by split."""
    named = {(split, reason): count for name, count in counts.items() for split, _, reason in [name.partition(": ")]}
    splits, reasons = ([*dict.fromkeys(name[i] for name in named)] for i in (0, 1))
    body = [[reason, *(_number(named.get((split, reason), 0)) for split in splits)] for reason in sorted(reasons)]
    return Table(f"Left out of {config}", ["what", *splits], body)


def _people(talk: dict[str, Talk]) -> Table:
    lines: dict[str, Callable[[Talk], str]] = {
        "people": lambda split: _number(len(split.dialogues_per_person)),
        "dialogues": lambda split: _number(len(split.turns_per_dialogue)),
        "turns": lambda split: _number(sum(split.turns_per_dialogue)),
        "utterances of the people": lambda split: _number(split.own_utterances),
        "of these with a persona fact": lambda split: _share(split.persona_utterances, split.own_utterances),
    }
    body = [[name, *map(value, talk.values())] for name, value in lines.items()]
    return Table("Dialogues", ["", *talk], body)


def _sizes(talk: dict[str, Talk]) -> Table:
    columns: dict[str, Callable[[Talk], Iterable[int]]] = {
        "dialogues per person": lambda split: split.dialogues_per_person.values(),
        "turns per dialogue": lambda split: split.turns_per_dialogue,
        "words per utterance": lambda split: split.words_per_utterance,
        "characters per utterance": lambda split: split.characters_per_utterance,
    }
    body = [[what, name, *spread(values(split))] for what, values in columns.items() for name, split in talk.items()]
    return Table("Sizes", ["", "split", *_SPREAD], body, grouped=True)


def spread(values: Iterable[int]) -> list[str]:
    """Return minimum, median, 90th percentile and maximum, a dash each where there are no values."""
    numbers = list(values)
    return [_number(value) for value in np.percentile(numbers, [0, 50, 90, 100])] if numbers else ["-"] * len(_SPREAD)


def _number(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _share(part: int, whole: int) -> str:
    return f"{_number(part)} ({100 * part / whole:.1f} %)" if whole else "-"
