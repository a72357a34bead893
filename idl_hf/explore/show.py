"""One person as the rows see it: dialogues, persona utterances, clusters, and what the prompt of a target shows."""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idl_hf.arguments import option
from idl_hf.corpora.names import alike
from idl_hf.encoding import SentenceEncoder
from idl_hf.explore.dataset import ExploreArguments, PromptCounter, dialogue_of
from idl_hf.persona.triples import format_triples
from idl_hf.prompting import fit_to_budget, split_prompt
from idl_hf.rows.arguments import BUILT_IN_HELP, DEFAULT_DATASET
from idl_hf.rows.options import OF_OTHERS, RowOptions
from idl_hf.rows.people import People, usable_dialogues
from idl_hf.schema import Dialogue, Message, Person
from idl_hf.shown import visible

if TYPE_CHECKING:
    from datasets import Dataset

ABOUT_FACTS = "what shows the persona, and <...> is the fact that was found"
ABOUT_REFERENCES = "References in prompt order, with convED to the one before and to the context of the target"
_TO_PREDICT = "Reply to predict"
_BOLD, _GREEN, _DIM, _STRUCK, _PLAIN = "\033[1m", "\033[1;32m", "\033[2m", "\033[2;9m", "\033[0m"


@dataclass
class ShowArguments(ExploreArguments):
    """Whom to look at."""

    dataset_name: str = option(DEFAULT_DATASET, f"{BUILT_IN_HELP}.")
    split: str = option("validation", "Split in which the person is.")
    person: str | None = option(None, "person_id; the first of the split if not given.")
    index: int | None = option(None, "Instead of a person_id: position in the split, from 0.")
    target: str | None = option(None, "dialogue_id of which the references, their order and the prompt are shown.")
    max_prompt_tokens: int | None = option(None, "Marks the references that this budget drops from the prompt.")
    html: str | None = option(None, "Writes this page of the same instead, one file that fetches nothing.")


@dataclass(frozen=True)
class PersonView:
    """A person with the msl rows of every dialogue that can be a target."""

    person: Person
    rows: dict[str, dict[str, Any]]  # by dialogue_id, in the order of clustering
    drops: Counter[str]  # what made no row, and why
    people: People  # this one
    options: RowOptions
    past: Person | None = None  # the same person in the training split, where these dialogues are held out

    def dialogues(self, names: Sequence[str]) -> list[Dialogue]:
        """Return the dialogues of these names."""
        known = {dialogue.dialogue_id: dialogue for dialogue in self.person.dialogues}
        return [known[name] for name in names]

    def references(self, target: str) -> list[Dialogue]:
        """Return the references of a target in prompt order."""
        return self.of_target().dialogues(self.rows[target]["reference_ids"])

    def others(self, target: str) -> list[str]:
        """Return the names of the dialogues that a target may refer to."""
        own = usable_dialogues(self.past) if self.past else self.dialogues(list(self.rows))
        return [dialogue.dialogue_id for dialogue in own if self.past or dialogue.dialogue_id != target]

    def clusters(self, names: Sequence[str]) -> dict[str, int]:
        """Return the cluster of each of these dialogues (SPI)."""
        from idl_hf import spi  # not at the top, since `show --help` would pay for scikit-learn

        turns = [dialogue.turns for dialogue in self.dialogues(names)]
        texts = [spi.persona_text(own, self.people.shows_persona(own)) for own in turns]
        most = 1 if len(texts) < self.options.min_dialogues_to_cluster else self.options.clusters
        labels = spi.cluster_dialogues(self.people.encoder.encode(texts), most, self.options.seed)
        return dict(zip(names, labels.tolist(), strict=True))

    def facts(self, text: str) -> str:
        """Return what is stated in a text of the person's own, in one line."""
        return " ".join(format_triples(self.people.triples([text])[0]).split("\n"))

    def of_target(self) -> "PersonView":
        """Return the view of the dialogues that targets refer to."""
        return replace(self, person=self.past) if self.past else self

    def distances(self, target: str) -> NDArray[np.float64]:
        """Return convED between the references of a target in prompt order and, last, its context, (k + 1, k + 1)."""
        from idl_hf.rows.references import context_of, distances

        (dialogue,) = self.dialogues([target])
        shown = [*(past.turns for past in self.references(target)), context_of(dialogue, self.options)]
        return distances(shown, self.people.encoder.encode, self.options)


@dataclass(frozen=True)
class PromptPart:
    """One dialogue of a prompt, what stands before them all, or the reply to predict."""

    title: str
    messages: list[Message]
    dropped: bool = False  # to keep within the budget


@dataclass(frozen=True)
class PromptView:
    """The prompt of a target, part by part, and how long it is."""

    parts: list[PromptPart]
    length: str  # with its unit
    budget: str  # what the budget does to it, "" without one


def prompt_view(row: dict[str, Any], budget: int | None, counter: PromptCounter) -> PromptView:
    """Return the prompt of an msl row. budget: in the counter's unit; None: all references are kept."""
    messages, starts = row["prompt"], row["dialogue_starts"]
    kept, dropped = (messages, 0) if budget is None else fit_to_budget(messages, starts, budget, counter.count)
    parts = split_prompt(messages, starts)
    system = messages[: starts[0]["message"]]
    if dropped and kept[len(system)]["role"] != parts[dropped][0]["role"]:  # the person would open the prompt
        parts[dropped].insert(0, kept[len(system)])
    about = ""
    if budget is not None:
        left, of = counter.count(kept), len(starts) - 1
        about = f"Within {budget}: {dropped} of {of} references are dropped (marked -), which leaves {left}"
        about += "\nThe current dialogue, which is never cut, exceeds the budget by itself." * (left > budget)
    titles = [f"reference {name}" for name in row["reference_ids"]] + [f"current dialogue {row['dialogue_id']}"]
    shown = [
        PromptPart(title + ", dropped" * (i < dropped), part, i < dropped)
        for i, (title, part) in enumerate(zip(titles, parts, strict=True))
    ]
    before = [PromptPart("", system)] if system else []
    length = f"{counter.count(messages)} {counter.unit}"
    return PromptView([*before, *shown, PromptPart(_TO_PREDICT, row["completion"])], length, about)


def show_person(args: ShowArguments) -> None:
    """Print a person, in colour where the output is a terminal, or write the page that `args.html` names. Nothing is
    said by colour alone."""
    if args.html is not None:
        from idl_hf.explore.person_page import write_page  # here, since it draws what this file finds

        write_page(args.html, args)
        print(f"The page is in {args.html}.")
        return
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in describe(args):
        print(line if coloured else re.sub(r"\033\[[0-9;]*m", "", line))


def describe(args: ShowArguments) -> Iterator[str]:
    """Yield the lines of `idl-hf show`, in colour. Raises ValueError for a person or target that is not there."""
    view = load_person(args)
    yield from _person_lines(view)
    if args.target is not None:
        yield from _reference_lines(view, args.target)
        counter = PromptCounter.from_pretrained(args.model_name_or_path)
        yield from _prompt_lines(prompt_view(view.rows[args.target], args.max_prompt_tokens, counter))


def load_person(args: ShowArguments) -> PersonView:
    """Return a person with the rows that the dataset has of them. Raises ValueError for one who is not there, and for
    a target without a row."""
    from datasets import load_dataset_builder

    from idl_hf.rows.generate import RowBuilder

    builder = load_dataset_builder(args.dataset_name, "msl", **args.builder_options("msl"))
    options = replace(builder.config.row_options(), targets="all")
    if options.conditioning in OF_OTHERS:
        raise ValueError(
            f"`show` looks at one person; conditioning='{options.conditioning}' takes dialogues of somebody else."
        )
    person = find_person(args.load("sessions", args.split), args)
    # The rows of a person are the same whoever else is there, and to make them all may take hours
    people = People([person], SentenceEncoder(options.encoder), options.extractor)
    past = _past(args, person.person_id) if builder.REFERS_TO_TRAINING else None
    maker = RowBuilder("msl", people, options, {} if past is None else {person.person_id: past})
    rows = {row["dialogue_id"]: row for row in maker.rows(person)}
    if args.target is not None and args.target not in rows:
        raise ValueError(
            f"'{person.person_id}' has no dialogue '{args.target}' with a reply to predict. Those that have one are: "
            f"{', '.join(rows) or 'none'}."
        )
    return PersonView(person, rows, +maker.drops, people, maker.options, past)


def _past(args: ShowArguments, person_id: str) -> Person | None:
    """Return the person as the training split has them, None where it is the one that is looked at or has them not."""
    if args.split.partition("[")[0] == "train":
        return None
    sessions = args.load_all("sessions").get("train")
    if sessions is None or person_id not in sessions["person_id"][:]:
        return None
    return find_person(sessions, replace(args, person=person_id, index=None, split="train"))


def find_person(sessions: "Dataset", args: ShowArguments) -> Person:
    """Return the person that is asked for, out of a split of the sessions. Raises ValueError where there is none."""
    if args.person is not None and args.index is not None:
        raise ValueError(f"Pass either --person or --index, not both: found '{args.person}' and {args.index}.")
    owners = sessions["person_id"][:]
    names = list(dict.fromkeys(owners))
    where = f"The split '{args.split}' of '{args.dataset_name}'"
    index = args.index or 0
    if not 0 <= index < len(names):
        raise ValueError(f"{where} has {len(names)} people, so --index must be 0 to {len(names) - 1}, found {index}.")
    name = names[index] if args.person is None else args.person
    meant = [name] if name in names else alike(name, names)
    if len(meant) != 1:
        some = ", ".join(names[:10] + ["..."] * (len(names) > 10))
        raise ValueError(f"{where} has no person '{name}'. The {len(names)} people in it are: {some}.")
    own = sessions.select([i for i, owner in enumerate(owners) if owner == meant[0]])
    return Person(meant[0], tuple(map(dialogue_of, own)))


def _person_lines(view: PersonView) -> Iterator[str]:
    clusters = view.clusters(list(view.rows))
    yield f"{_BOLD}{visible(view.person.person_id)}: {len(view.person.dialogues)} dialogues{_PLAIN}"
    yield from _cluster_lines(clusters)
    yield from (f"left out: {number} x {reason}" for reason, number in view.drops.items())
    yield f"A * marks {ABOUT_FACTS}."
    for dialogue in view.person.dialogues:
        name = dialogue.dialogue_id
        where = f"cluster {clusters[name]}" if name in clusters else "left out"
        yield f"\n{_BOLD}{visible(name)} ({where}, {visible(dialogue.source)}){_PLAIN}"
        for turn, shows in zip(dialogue.turns, view.people.shows_persona(dialogue.turns), strict=True):
            facts = view.facts(turn.text) if shows else ""
            line = _spoken(turn.role, turn.text, _GREEN if shows else "", "*" if shows else " ")
            yield line + (f"  {_DIM}{visible(facts)}{_PLAIN}" if facts else "")


def _cluster_lines(clusters: dict[str, int]) -> Iterator[str]:
    for label in sorted(set(clusters.values())):
        names = [visible(name) for name, own in clusters.items() if own == label]
        yield f"cluster {label}, {len(names)} of {len(clusters)}: {', '.join(names)}"


def about_target(view: PersonView, target: str) -> str:
    """Return a sentence on where a target stands."""
    return f"Target {target}: it falls into cluster {view.rows[target]['cluster']} of the other dialogues"


def _reference_lines(view: PersonView, target: str) -> Iterator[str]:
    row, distances = view.rows[target], view.distances(target)
    names = row["reference_ids"]
    yield f"\n{_BOLD}{visible(about_target(view, target))}{_PLAIN}"
    yield from _cluster_lines(view.of_target().clusters(view.others(target)))
    if not names:
        yield "The prompt shows no references."
        return
    yield f"{ABOUT_REFERENCES}:"
    for i, name in enumerate(names):
        before = f"{distances[i - 1, i]:.3f}" if i else "-"
        yield f"  {i + 1}. {visible(name)}  {before:>8}  {distances[i, -1]:8.3f}"
    yield f"  sum over neighbours: {sum(distances[i - 1, i] for i in range(1, len(names))):.3f}"


def _prompt_lines(prompt: PromptView) -> Iterator[str]:
    yield f"\n{_BOLD}Prompt: {prompt.length}{_PLAIN}"
    yield from prompt.budget.splitlines()
    for part in prompt.parts:
        style, mark = (_STRUCK, "-") if part.dropped else ("", " ")
        if part.title == _TO_PREDICT:
            yield f"{_BOLD}{part.title}{_PLAIN}"
        elif part.title:
            yield f"{mark} {_BOLD}[{visible(part.title)}]{_PLAIN}"
        yield from (_spoken(message["role"], message["content"], style, mark) for message in part.messages)


def _spoken(role: str, text: str, style: str = "", mark: str = " ") -> str:
    end = _PLAIN if style else ""
    lines = [f"{style}{line}{end}" for line in visible(text).split("\n")]
    return f"{mark} {role:<9} " + f"\n{mark}{' ' * 11}".join(lines)
