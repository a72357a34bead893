"""One person as the rows see it: dialogues, persona utterances, clusters, and what the prompt of a target shows."""

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from datasets import load_dataset_builder
from numpy.typing import NDArray

from idl_hf import spi
from idl_hf.conved import Embedded, pairwise_conved
from idl_hf.encoding import SentenceEncoder
from idl_hf.explore.stats import builder_options, corpus_options, dialogue_of, prompt_counter, shows_persona
from idl_hf.persona import patterns, triples
from idl_hf.prompting import Start, fit_to_budget
from idl_hf.rows.generate import generate_rows
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import Corpus
from idl_hf.schema import Dialogue, Message, Person
from idl_hf.training.stages import DataArguments

_BOLD, _GREEN, _DIM, _STRUCK, _PLAIN = "\033[1m", "\033[1;32m", "\033[2m", "\033[2;9m", "\033[0m"
_IDS_IN_ERRORS = 10


@dataclass
class ShowArguments:
    """Whom to look at."""

    dataset_name: str = field(
        default="idl_hf/convai2_idl",
        metadata={"help": "idl_hf/ with convai2_idl, movie_idl, light_idl, msc_idl or dialogues_idl."},
    )
    data_dir: str | None = field(default=None, metadata={"help": "Folder with the raw files of the corpus."})
    dataset_options: dict | str | None = field(default=None, metadata={"help": "Builder options as JSON."})
    encoder: str | None = field(
        default=None, metadata={"help": "Sentence encoder, or 'offline'; goes before the one of dataset_options."}
    )
    split: str = field(default="validation", metadata={"help": "Split in which the person is."})
    person: str | None = field(default=None, metadata={"help": "person_id; the first of the split if not given."})
    index: int | None = field(
        default=None, metadata={"help": "Instead of a person_id: position in the split, from 0."}
    )
    target: str | None = field(
        default=None, metadata={"help": "dialogue_id of which the references, their order and the prompt are shown."}
    )
    max_prompt_tokens: int | None = field(
        default=None, metadata={"help": "Marks the reference dialogues that this budget drops from the prompt."}
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Whose tokens prompts are counted in, or 'offline'; words if not given."}
    )


@dataclass(frozen=True)
class PersonView:
    """A person with the msl rows of every dialogue that can be a target, by dialogue_id, in the order of clustering."""

    person: Person
    rows: dict[str, dict[str, Any]]
    drops: Counter[str]  # what made no row, and why
    encoder: SentenceEncoder
    options: RowOptions

    def dialogues(self, names: Sequence[str]) -> list[Dialogue]:
        known = {dialogue.dialogue_id: dialogue for dialogue in self.person.dialogues}
        return [known[name] for name in names]

    def clusters(self, names: Sequence[str]) -> dict[str, int]:
        """The cluster of each of these dialogues (SPI)."""
        texts = [spi.persona_text(dialogue.turns, shows_persona(dialogue)) for dialogue in self.dialogues(names)]
        most = 1 if len(texts) < self.options.min_dialogues_to_cluster else self.options.clusters
        labels = spi.cluster_dialogues(self.encoder.encode(texts), most, self.options.seed)
        return dict(zip(names, labels.tolist(), strict=True))

    def distances(self, target: str) -> NDArray[np.float64]:
        """convED between the references of a target in prompt order and, last, its context: (k + 1, k + 1)."""
        dialogue = self.dialogues([target])[0]
        first_predicted = dialogue.replies()[0 if self.options.reply == "all" else -1][0]
        references = self.dialogues(self.rows[target]["reference_ids"])
        shown = [*(reference.turns for reference in references), dialogue.turns[:first_predicted]]
        embedded: list[Embedded] = [
            ([turn.role for turn in turns], self.encoder.encode([turn.text for turn in turns])) for turns in shown
        ]
        return pairwise_conved(embedded, self.options.scale)


def show_person(args: ShowArguments) -> None:
    """Prints a person; in colour where the output is a terminal. Nothing is said by colour alone."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in describe(args):
        print(line if coloured else re.sub(r"\033\[[0-9;]*m", "", line))


def describe(args: ShowArguments) -> Iterator[str]:
    """The lines of `idl-hf show`, in colour."""
    view = load_person(args)
    if args.target is not None and args.target not in view.rows:
        raise ValueError(
            f"'{view.person.person_id}' has no dialogue '{args.target}' with a reply to predict. Those that have one "
            f"are: {', '.join(view.rows) or 'none'}."
        )
    yield from _person_lines(view)
    if args.target is not None:
        yield from _reference_lines(view, args.target)
        count, unit = prompt_counter(args.model_name_or_path)
        yield from _prompt_lines(view.rows[args.target], args.max_prompt_tokens, count, unit)


def load_person(args: ShowArguments) -> PersonView:
    chosen = builder_options(args.dataset_options, args.encoder)
    where = {} if args.data_dir is None else {"data_dir": args.data_dir}
    options = load_dataset_builder(args.dataset_name, "msl", **where, **chosen).config.row_options()
    if options.conditioning == "other_person":
        raise ValueError("`show` looks at one person; conditioning='other_person' takes dialogues of somebody else.")
    options = replace(options, targets="all")
    data = DataArguments(args.dataset_name, args.data_dir, corpus_options(chosen))
    sessions = data.load("sessions", args.split)
    person = find_person(sessions, args)
    encoder = SentenceEncoder(options.encoder)
    # The rows of a person are the same whoever else is there, and to make them all may take hours
    drops: Counter[str] = Counter()
    rows = list(generate_rows("msl", person, Corpus([person], encoder, options.extractor), options, drops))
    return PersonView(person, {row["dialogue_id"]: row for row in rows}, +drops, encoder, options)


def find_person(sessions: Any, args: ShowArguments) -> Person:
    """sessions: a split of the sessions config."""
    if args.person is not None and args.index is not None:
        raise ValueError(f"Pass either --person or --index, not both: found '{args.person}' and {args.index}.")
    owners = sessions["person_id"][:]
    names = list(dict.fromkeys(owners))
    where = f"The split '{args.split}' of '{args.dataset_name}'"
    index = args.index or 0
    if not 0 <= index < len(names):
        raise ValueError(f"{where} has {len(names)} people, so --index must be 0 to {len(names) - 1}, found {index}.")
    name = names[index] if args.person is None else args.person
    if name not in names:
        some = ", ".join(names[:_IDS_IN_ERRORS]) + (", ..." if len(names) > _IDS_IN_ERRORS else "")
        raise ValueError(f"{where} has no person '{name}'. The {len(names)} people in it are: {some}.")
    own = sessions.select([i for i, owner in enumerate(owners) if owner == name])
    return Person(name, tuple(map(dialogue_of, own)))


def _person_lines(view: PersonView) -> Iterator[str]:
    clusters = view.clusters(list(view.rows))
    yield f"{_BOLD}{_clean(view.person.person_id)}: {len(view.person.dialogues)} dialogues{_PLAIN}"
    yield from _cluster_lines(clusters)
    yield from (f"left out: {number} x {reason}" for reason, number in view.drops.items())
    yield "A * marks what shows the persona, and <...> is the fact that was found."
    for dialogue in view.person.dialogues:
        name = dialogue.dialogue_id
        where = f"cluster {clusters[name]}" if name in clusters else "left out"
        yield f"\n{_BOLD}{_clean(name)} ({where}, {_clean(dialogue.source)}){_PLAIN}"
        yield from _turn_lines(dialogue)


def _cluster_lines(clusters: dict[str, int]) -> Iterator[str]:
    for label in sorted(set(clusters.values())):
        names = [_clean(name) for name, own in clusters.items() if own == label]
        yield f"cluster {label}, {len(names)} of {len(clusters)}: {', '.join(names)}"


def _turn_lines(dialogue: Dialogue) -> Iterator[str]:
    for turn, shows in zip(dialogue.turns, shows_persona(dialogue), strict=True):
        facts = " ".join(triples.format_triples(patterns.extract([turn.text])[0]).split("\n")) if shows else ""
        yield _spoken(turn.role, turn.text, _GREEN if shows else "", "*" if shows else " ") + (
            f"  {_DIM}{_clean(facts)}{_PLAIN}" if facts else ""
        )


def _reference_lines(view: PersonView, target: str) -> Iterator[str]:
    row, distances = view.rows[target], view.distances(target)
    names = row["reference_ids"]
    yield f"\n{_BOLD}Target {_clean(target)}: it falls into cluster {row['cluster']} of the other dialogues{_PLAIN}"
    yield from _cluster_lines(view.clusters([name for name in view.rows if name != target]))
    if not names:
        yield "The prompt shows no references."
        return
    yield "References in prompt order, with convED to the one before and to the context of the target:"
    for i, name in enumerate(names):
        before = f"{distances[i - 1, i]:.3f}" if i else "-"
        yield f"  {i + 1}. {_clean(name)}  {before:>8}  {distances[i, -1]:8.3f}"
    yield f"  sum over neighbours: {sum(distances[i - 1, i] for i in range(1, len(names))):.3f}"


def _prompt_lines(
    row: dict[str, Any], budget: int | None, count: Callable[[Sequence[Message]], int], unit: str
) -> Iterator[str]:
    messages, starts = row["prompt"], row["dialogue_starts"]
    kept, dropped = (messages, 0) if budget is None else fit_to_budget(messages, starts, budget, count)
    parts = split_prompt(messages, starts)
    system = messages[: starts[0]["message"]]
    if dropped and kept[len(system)]["role"] != parts[dropped][0]["role"]:  # the person would open the prompt
        parts[dropped].insert(0, kept[len(system)])
    yield f"\n{_BOLD}Prompt: {count(messages)} {unit}{_PLAIN}"
    if budget is not None:
        yield f"Within {budget}: {dropped} of {len(starts) - 1} references are dropped (marked -), which leaves {count(kept)}"
        if count(kept) > budget:
            yield "The current dialogue, which is never cut, exceeds the budget by itself."
    yield from (_spoken(message["role"], message["content"]) for message in system)
    titles = [f"reference {name}" for name in row["reference_ids"]] + [f"current dialogue {row['dialogue_id']}"]
    for i, (title, part) in enumerate(zip(titles, parts, strict=True)):
        style, mark = (_STRUCK, "-") if i < dropped else ("", " ")
        yield f"{mark} {_BOLD}[{_clean(title)}{', dropped' if i < dropped else ''}]{_PLAIN}"
        yield from (_spoken(message["role"], message["content"], style, mark) for message in part)
    yield f"{_BOLD}Reply to predict{_PLAIN}"
    yield from (_spoken(message["role"], message["content"]) for message in row["completion"])


def split_prompt(messages: Sequence[Message], starts: Sequence[Start]) -> list[list[Message]]:
    """The messages of each reference, and last of the current dialogue; a message that two share is cut in two."""
    parts = []
    for start, end in zip(starts, [*starts[1:], {"message": len(messages), "char": 0}], strict=True):
        part = []
        for i in range(start["message"], end["message"] + (end["char"] > 0)):
            first = start["char"] if i == start["message"] else 0
            last = end["char"] - 1 if i == end["message"] else None  # before the newline that joins them
            part.append({**messages[i], "content": messages[i]["content"][first:last]})
        parts.append(part)
    return parts


def _spoken(role: str, text: str, style: str = "", mark: str = " ") -> str:
    end = _PLAIN if style else ""
    lines = [f"{style}{line}{end}" for line in _clean(text).split("\n")]
    return f"{mark} {role:<9} " + f"\n{mark}{' ' * 11}".join(lines)


def _clean(text: str) -> str:
    """Control characters as escapes: what people wrote must not steer the terminal."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], text)
