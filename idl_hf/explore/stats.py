"""What a dataset holds, in numbers: tables for the terminal, and with plots for a page of HTML."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from idl_hf.models.offline import hub_errors_name_offline, resolve_model
from idl_hf.persona import patterns, triples
from idl_hf.prompting import token_counter
from idl_hf.rows.options import option_names
from idl_hf.schema import CONFIGS, Dialogue, Message, Turn
from idl_hf.training.stages import DataArguments, parse_options

if TYPE_CHECKING:
    from datasets import DatasetInfo

_LEFT_OUT = re.compile(r"^Left out of ([^:\n]+): ([\d,]+) x (.+)\.$", re.MULTILINE)
_SPREAD = ["min", "median", "p90", "max"]


@dataclass
class StatsArguments:
    """What to count."""

    dataset_name: str = field(
        default="idl_hf/convai2_idl",
        metadata={"help": "idl_hf/ with convai2_idl, movie_idl, light_idl, msc_idl or dialogues_idl."},
    )
    data_dir: str | None = field(default=None, metadata={"help": "Folder with the raw files of the corpus."})
    configs: list[str] = field(default_factory=lambda: list(CONFIGS), metadata={"help": "Of sessions, msl, dpoc."})
    dataset_options: dict | str | None = field(default=None, metadata={"help": "Builder options as JSON."})
    encoder: str | None = field(
        default=None, metadata={"help": "Sentence encoder, or 'offline'; goes before the one of dataset_options."}
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Whose tokens prompts are counted in, or 'offline'; words if not given."}
    )
    html: str | None = field(default=None, metadata={"help": "Also writes this page, with plots."})


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
    title: str
    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return f"## {self.title}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def show_stats(args: StatsArguments) -> None:
    """Prints the tables, and writes the page that `args.html` names."""
    if args.html is None:
        print(_report(args, tables(collect(args))))
        return
    from idl_hf.explore.charts import write_page  # charts draw what this file counts

    stats = collect(args)
    print(_report(args, tables(stats)))
    write_page(args.html, args.dataset_name, stats, tables(stats))
    print(f"\nThe page is in {args.html}.")


def _report(args: StatsArguments, made: list[Table]) -> str:
    return "\n\n".join([f"# {args.dataset_name}", *(table.markdown() for table in made)])


def collect(args: StatsArguments) -> Stats:
    unknown = [config for config in args.configs if config not in CONFIGS]
    if unknown:
        raise ValueError(f"Unknown config '{unknown[0]}'. The configs are: {', '.join(CONFIGS)}.")
    options = builder_options(args.dataset_options, args.encoder)
    count, unit = prompt_counter(args.model_name_or_path)
    stats = Stats(unit)
    for config in args.configs:
        chosen = corpus_options(options) if config == "sessions" else options
        splits = DataArguments(args.dataset_name, args.data_dir, chosen).load(config, None)
        infos = [rows.info for rows in splits.values()]
        stats.left_out[config] = {what: number for info in infos for what, number in left_out(info).items()}
        if config == "sessions":
            stats.talk = {split: measure_talk(map(dialogue_of, rows)) for split, rows in splits.items()}
            stats.example = dialogue_of(next(iter(splits.values()))[0])
        else:
            stats.rows[config] = {split: measure_rows(rows, count) for split, rows in splits.items()}
    return stats


def builder_options(dataset_options: dict | str | None, encoder: str | None) -> dict[str, Any]:
    return parse_options(dataset_options) | ({"encoder": encoder} if encoder else {})


def corpus_options(options: dict[str, Any]) -> dict[str, Any]:
    """Those that the dialogues themselves depend on: the sessions need not be built anew for other rows."""
    return {name: value for name, value in options.items() if name not in option_names()}


def prompt_counter(model_name_or_path: str | None) -> tuple[Callable[[Sequence[Message]], int], str]:
    """(the length of a prompt, its unit): tokens by the model's chat template, or words."""
    if model_name_or_path is None:
        return _words, "words (no --model_name_or_path was given)"
    from transformers import AutoTokenizer

    with hub_errors_name_offline(model_name_or_path, "--model_name_or_path offline"):
        tokenizer = AutoTokenizer.from_pretrained(resolve_model(model_name_or_path))
    return token_counter(tokenizer), f"tokens ({model_name_or_path})"


def _words(messages: Sequence[Message]) -> int:
    return sum(len(message["content"].split()) for message in messages)


def dialogue_of(session: dict[str, Any]) -> Dialogue:
    """A row of the sessions config as the dialogue it was made of."""
    turns = tuple(Turn(turn["role"], turn["text"], tuple(turn["candidates"])) for turn in session["turns"])
    profile, source = tuple(session["profile"]), session["source"]
    return Dialogue(session["person_id"], session["dialogue_id"], turns, profile, source)


def shows_persona(dialogue: Dialogue) -> list[bool]:
    """For each turn, whether the person states or repeats a fact that the dialogue tells of them (paper Eq. 2)."""
    facts = [triple for found in patterns.extract(dialogue.texts("self")) for triple in found]
    marked = set(triples.persona_utterances([turn.text for turn in dialogue.turns], facts))
    return [i in marked and turn.role == "self" for i, turn in enumerate(dialogue.turns)]


def measure_talk(dialogues: Iterable[Dialogue]) -> Talk:
    talk = Talk()
    for dialogue in dialogues:
        texts = [turn.text for turn in dialogue.turns]
        talk.dialogues_per_person[dialogue.person_id] += 1
        talk.turns_per_dialogue.append(len(texts))
        talk.words_per_utterance += [len(text.split()) for text in texts]
        talk.characters_per_utterance += map(len, texts)
        talk.own_utterances += len(dialogue.texts("self"))
        talk.persona_utterances += sum(shows_persona(dialogue))
    return talk


def measure_rows(rows: Any, count: Callable[[Sequence[Message]], int]) -> Rows:
    """rows: a Dataset of msl or dpoc."""
    types = Counter(rows["criterion_type"][:]) if "criterion_type" in rows.column_names else Counter()
    return Rows([count(prompt) for prompt in rows["prompt"]], types)


def left_out(info: "DatasetInfo") -> dict[str, int]:
    """What made no row and how often, by "<split>: <reason>", as the description of a built dataset tells it: lines
    "Left out of <split>: <count> x <reason>."."""
    found: Counter[str] = Counter()
    for split, number, reason in _LEFT_OUT.findall(info.description):
        found[f"{split}: {reason}"] += int(number.replace(",", ""))
    return dict(found)


def tables(stats: Stats) -> list[Table]:
    made = [_people(stats.talk), _sizes(stats.talk)] if stats.talk else []
    made += [_row_counts(stats)] if stats.rows else []
    types = {split: rows.criterion_types for split, rows in stats.rows.get("dpoc", {}).items()}
    if types:
        names = sorted({name for found in types.values() for name in found})
        body = [[name, *(_share(found[name], found.total()) for found in types.values())] for name in names]
        made.append(Table("Criterion types", ["type", *types], body))
    reasons = sorted({reason for found in stats.left_out.values() for reason in found})
    if reasons:
        body = [[reason, *(_number(found.get(reason, 0)) for found in stats.left_out.values())] for reason in reasons]
        made.append(Table("Left out", ["what", *stats.left_out], body))
    return made


def _people(talk: dict[str, Talk]) -> Table:
    lines: dict[str, Callable[[Talk], str]] = {
        "people": lambda of: _number(len(of.dialogues_per_person)),
        "dialogues": lambda of: _number(len(of.turns_per_dialogue)),
        "turns": lambda of: _number(sum(of.turns_per_dialogue)),
        "utterances of the people": lambda of: _number(of.own_utterances),
        "of these with a persona fact": lambda of: _share(of.persona_utterances, of.own_utterances),
    }
    body = [[name, *(value(of) for of in talk.values())] for name, value in lines.items()]
    return Table("Dialogues", ["", *talk], body)


def _sizes(talk: dict[str, Talk]) -> Table:
    columns: dict[str, Callable[[Talk], Iterable[int]]] = {
        "dialogues per person": lambda of: of.dialogues_per_person.values(),
        "turns per dialogue": lambda of: of.turns_per_dialogue,
        "words per utterance": lambda of: of.words_per_utterance,
        "characters per utterance": lambda of: of.characters_per_utterance,
    }
    body = [[name, split, *spread(values(of))] for name, values in columns.items() for split, of in talk.items()]
    return Table("Sizes", ["", "split", *_SPREAD], body)


def _row_counts(stats: Stats) -> Table:
    body = [
        [config, split, _number(len(rows.prompt_lengths)), *spread(rows.prompt_lengths)]
        for config, splits in stats.rows.items()
        for split, rows in splits.items()
    ]
    return Table(f"Rows, and their prompts in {stats.unit}", ["config", "split", "rows", *_SPREAD], body)


def spread(values: Iterable[int]) -> list[str]:
    """Minimum, median, 90th percentile and maximum."""
    numbers = list(values)
    return [_number(at) for at in np.percentile(numbers, [0, 50, 90, 100])] if numbers else ["-"] * len(_SPREAD)


def _number(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _share(part: int, whole: int) -> str:
    return f"{_number(part)} ({100 * part / whole:.1f} %)" if whole else "-"
