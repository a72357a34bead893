"""A person to the rows of a config: SPI, DPI, criteria and rendering put together. No `datasets`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from idl_hf import criteria
from idl_hf.cache import digest
from idl_hf.prompting import Prompt, render, render_replies
from idl_hf.rows.options import OF_OTHERS, RowOptions
from idl_hf.rows.people import People, as_read, usable_dialogues
from idl_hf.rows.references import (
    choose_for_context,
    choose_once,
    context_of,
    is_chosen,
    ordered,
    texts_to_choose_by,
)
from idl_hf.rows.strangers import strangers_of
from idl_hf.schema import Dialogue, Person, Role, Turn, comparable

Row = dict[str, Any]  # {column: value}, see idl_hf.schema.features


class _Dialogues(NamedTuple):
    """The usable dialogues of a person."""

    past: list[Dialogue]  # of the training split, where those of this one are held out
    own: list[Dialogue]  # of this split


@dataclass(frozen=True)
class _Target:
    """A dialogue of which rows predict a reply or more, with its references in prompt order."""

    person: Person
    dialogue: Dialogue
    references: list[Dialogue]
    cluster: int
    known: criteria.Known  # of the person; nothing where no criterion reply is built


@dataclass(frozen=True)
class _Reply:
    """A reply of a target that a dpoc row predicts."""

    target: _Target
    start: int  # of its turns in the dialogue
    turns: Sequence[Turn]

    @property
    def text(self) -> str:
        return _joined(self.turns)

    @property
    def name(self) -> tuple[str, str, int]:
        """What all that is drawn for its row is drawn under."""
        return self.target.person.person_id, self.target.dialogue.dialogue_id, self.start


class RowBuilder:
    """Maker of the rows of one config, a person at a time: the same rows whatever else runs in this process.
    people: everyone of the split. past: those of them who were trained on, by person_id, with their training
    dialogues, to which alone the held-out ones refer. `drops` counts what made no row, and why: the dialogues that
    rows show as target or reference and the drops called "dialogue ..." are together all that there are. So are the
    rows of dpoc and the drops called "reply ..." of the replies that they may predict; "refused ..." counts criterion
    replies."""

    def __init__(
        self, config: str, people: People, options: RowOptions, past: Mapping[str, Person] | None = None
    ) -> None:
        self.config = config
        self.people = people
        self.past = past or {}
        self.options = options.for_config(config)
        self.drops: Counter[str] = Counter()

    def rows(self, person: Person) -> Iterator[Row]:
        """Yield the rows of one person."""
        if self.config == "sessions":
            yield from map(asdict, person.dialogues)
            return
        dialogues = self._dialogues(person)
        if not dialogues.own:
            return
        unseen = {dialogue.dialogue_id for dialogue in dialogues.own}
        for target in self._targets(person, dialogues):
            for row in self._msl_rows(target) if self.config == "msl" else self._dpoc_rows(target):
                elsewhere = self.options.conditioning in OF_OTHERS or dialogues.past
                unseen -= {row["dialogue_id"], *([] if elsewhere else row["reference_ids"])}
                yield row
        self.drops["dialogue that is neither target nor reference of a row"] += len(unseen)

    def _dialogues(self, person: Person) -> _Dialogues:
        """Return the usable dialogues of the person, none where they allow no row."""
        dialogues = self._usable(person, self.drops)
        if not self._enough(dialogues):
            reason = "dialogue of a person with fewer than two"
        elif self.options.conditioning == "profile" and not person.profile:
            reason = "dialogue of a person without a profile"
        else:
            return dialogues
        self.drops[reason] += len(dialogues.own)
        return _Dialogues([], [])

    def _usable(self, person: Person, drops: Counter[str] | None = None) -> _Dialogues:
        """Return the usable dialogues of the person, without those that repeat one of the past, which would be shown
        as its own answer; `drops` counts what is left out."""
        own = usable_dialogues(person, drops)
        past = usable_dialogues(self.past[person.person_id]) if person.person_id in self.past else []
        seen = set(map(as_read, past))
        held_out = [dialogue for dialogue in own if as_read(dialogue) not in seen]
        if drops is not None:
            drops["dialogue that repeats one that was trained on"] += len(own) - len(held_out)
        return _Dialogues(past, held_out)

    def _enough(self, dialogues: _Dialogues) -> bool:
        # A target and something to refer to, unless no reference is asked for
        return len(dialogues.own) >= (1 if self.options.references == 0 or dialogues.past else 2)

    def _targets(self, person: Person, usable: _Dialogues) -> Iterator[_Target]:
        dialogues = [*usable.past, *usable.own]
        person = Person(person.person_id, (*usable.past, *person.dialogues))  # with all facts that they state
        choices = choose_once(dialogues, self.people, self.options, len(usable.past))
        if self.config == "dpoc" or self.options.conditioning in OF_OTHERS:
            self.people.load_vectors(self._texts_of(person))
        known = criteria.Known(self._said(person.dialogues, "self") if self.config == "dpoc" else [])
        for choice in choices:
            dialogue, references = dialogues[choice.target], [dialogues[i] for i in choice.references]
            if self.options.conditioning == "out_of_cluster" and not references and self.options.references != 0:
                self.drops["dialogue of a person whose other dialogues are one cluster"] += 1
                continue
            target = _Target(person, dialogue, references, choice.cluster, known)
            if self.options.conditioning == "strangers":
                yield from self._before_strangers(target)
                continue
            if self.options.conditioning == "other_person":
                rng = np.random.default_rng(self.options.seed_of(person.person_id, dialogue.dialogue_id))
                others = self.people.other_dialogues(dialogue, len(references), self.options.seed)
                context = context_of(dialogue, self.options)
                shown = ordered(others, context, self.people.vectors, self.options, rng)
                target = replace(target, references=shown)
            yield target

    def _before_strangers(self, target: _Target) -> Iterator[_Target]:
        """Yield a target once with the references of each stranger, so many as its person's."""
        dialogue, count = target.dialogue, len(target.references)
        options = replace(self.options, references=count, clusters=1)  # a cluster may be too small
        context = context_of(dialogue, self.options)
        for stranger in strangers_of(target.person, dialogue, count, self.people, self.options.seed):
            references = choose_for_context(stranger, context, self.people, options)
            yield replace(target, references=references)

    def _msl_rows(self, target: _Target) -> Iterator[Row]:
        start, end = len(context_of(target.dialogue, self.options)), target.dialogue.replies()[-1][1]
        completion = render_replies(target.dialogue.turns[start:end])
        yield {**self._row(target, start, {"completion": completion}), "cluster": target.cluster}

    def _dpoc_rows(self, target: _Target) -> Iterator[Row]:
        replies = target.dialogue.replies()
        for start, end in replies if self.options.reply == "each" else replies[-1:]:
            reply = _Reply(target, start, target.dialogue.turns[start:end])
            rejected = self._rejected(reply)
            if rejected is None:
                self.drops["reply without a rejected reply (no candidates and no other person)"] += 1
                continue
            criterion = self._criterion(reply, rejected)
            if criterion is None:
                self.drops["reply for which no criterion reply could be built"] += 1
                continue
            kind, text = criterion
            texts = {"chosen": reply.text, "criterion": text, "rejected": rejected}
            messages = {name: [{"role": "assistant", "content": text}] for name, text in texts.items()}
            yield self._row(target, start, {**messages, "criterion_type": kind})

    def _row(self, target: _Target, start: int, columns: Row) -> Row:
        """Return a row that predicts what is said from turn `start` on: the prompt, `columns`, and their source."""
        prompt = self._prompt(target, target.dialogue.turns[:start])
        shown = target.references if len(prompt.starts) > 1 else []
        return {
            "prompt": prompt.messages,
            **columns,
            "person_id": target.person.person_id,
            "dialogue_id": target.dialogue.dialogue_id,
            "reference_ids": [reference.dialogue_id for reference in shown],
            "dialogue_starts": prompt.starts,
        }

    def _prompt(self, target: _Target, context: Sequence[Turn]) -> Prompt:
        if self.options.conditioning == "none":
            return render([], context)
        if self.options.conditioning == "profile":
            # A person of ConvAI2 may be several profiles that share two sentences; the speaker here had only one
            return render([], context, profile=target.dialogue.profile or target.person.profile)
        shown = [reference.turns for reference in target.references]
        return render(shown, context, own_turns=self.options.own_turns)

    def _rejected(self, reply: _Reply) -> str | None:
        """Return one of the candidates; where the corpus has none, a reply of another person."""
        same = {"", comparable(reply.text), comparable(reply.turns[-1].text)}
        offered = reply.turns[-1].candidates
        candidates = [text for text in offered if comparable(text) not in same]
        self.drops["candidate that is empty or reads as the chosen reply"] += len(offered) - len(candidates)
        if candidates:
            first = self.options.rejected == "first"
            return candidates[0] if first else self.options.drawn(candidates, "rejected", *reply.name)
        entered = digest(self.options.seed, "rejected", *reply.name)
        others = self.people.other_replies(reply.target.person, entered)
        return next((text for text in others if comparable(text) not in same), None)

    def _criterion(self, reply: _Reply, rejected: str) -> tuple[str, str] | None:
        """Return (type, text) of a reply of the first type that can be built and repeats neither other reply.
        Inconsistency has the first try, since few replies allow it; nearly all allow the others, and one is drawn."""
        scarce, *common = criteria.CRITERION_TYPES
        wanted = self.options.criterion_type
        taken = {criteria.plain(reply.text), criteria.plain(rejected)}
        order = sorted(common, key=lambda kind: digest(self.options.seed, kind, *reply.name))
        for kind in [wanted] if wanted else [scarce, *order]:
            try:
                text = self._wrong_reply(kind, reply, rejected)
                if criteria.plain(text) in taken:
                    raise criteria.RefusedError("it would repeat the chosen or the rejected reply")
                return kind, text
            except criteria.RefusedError as reason:
                self.drops[f"refused {kind}, where another type may have served: {reason}"] += 1
        return None

    def _wrong_reply(self, kind: str, reply: _Reply, rejected: str) -> str:
        target, chosen = reply.target, reply.text
        draw = partial(self._drawn, kind, reply.name)
        visible = [*target.references, Dialogue("", "", target.dialogue.turns[: reply.start])]
        known, partner = target.known, self._said(visible, "partner")
        if kind == "inconsistency":
            return criteria.inconsistency(chosen, self.people.triples([chosen])[0], known, partner, draw)
        if kind == "fabrication":
            asked_with = (text for dialogue in target.person.dialogues for text in _replies(dialogue))
            near = self.people.statements_near(chosen, asked_with)
            return criteria.fabrication(near, known, (chosen, rejected), draw)
        vectors = self.people.vectors([chosen, *(text for text, _ in partner)])
        return criteria.inversion(vectors[0], partner, vectors[1:], known, (chosen, rejected))

    def _drawn(self, kind: str, name: tuple[str, str, int], texts: Sequence[str]) -> str:
        return self.options.drawn(texts, kind, *name)

    def _said(self, dialogues: Iterable[Dialogue], role: Role) -> list[criteria.Statement]:
        """Return each utterance of one side with the triples that it states."""
        texts = [text for dialogue in dialogues for text in dialogue.texts(role)]
        return list(zip(texts, self.people.triples(texts), strict=True))

    # Ahead of all rows

    def why_none(self) -> str | None:
        """Return why nobody can have a row, None where somebody may."""
        if self.config == "sessions":
            return None
        if not any(self._enough(self._usable(person)) for person in self.people.persons):
            return (
                "nobody in it has at least two dialogues in which they speak, so there is nothing to refer to "
                "(references=0 makes rows without references)"
            )
        alone = len(self.people.persons) < 2 and not self.people.elsewhere
        if self.options.conditioning in OF_OTHERS and alone:
            return f"conditioning='{self.options.conditioning}' needs two people, it has one"
        return None

    def encode_ahead(self, persons: Sequence[Person]) -> None:
        """Put into the caches what models make of these persons' texts.
        All at once, for long batches, and before any worker is forked, for workers to need no model."""
        if self.config != "sessions":
            self.people.extract_ahead(self._texts_to_extract_from(persons))
            self.people.encoder.encode_ahead(self.texts_to_encode(persons))

    def texts_to_encode(self, persons: Iterable[Person]) -> Iterator[str]:
        """Yield every text whose vector the rows of these persons need.
        Of msl not those of persons whose references are known from an earlier build."""
        for person in persons:
            past, own = self._usable(person)
            chosen = is_chosen([*past, *own], self.people, self.options, len(past))
            if self.config == "dpoc" or not chosen:
                yield from self._texts_of(person)
        for dialogue in (dialogue for person in self.people.elsewhere for dialogue in person.dialogues):
            yield from (turn.text for turn in dialogue.turns)

    def _texts_of(self, person: Person) -> Iterator[str]:
        past, own = self._usable(person)
        yield from texts_to_choose_by([*past, *own], self.people, self.options)
        for dialogue in person.dialogues if self.config == "dpoc" else ():
            yield from (turn.text for turn in dialogue.turns)
            yield from _replies(dialogue)

    def _texts_to_extract_from(self, persons: Iterable[Person]) -> Iterator[str]:
        read = [*persons, *self.past.values(), *self.people.elsewhere]
        for dialogue in (dialogue for person in read for dialogue in person.dialogues):
            yield from dialogue.texts("self")
            if self.config == "dpoc":
                yield from (*dialogue.texts("partner"), *_replies(dialogue))


def _replies(dialogue: Dialogue) -> list[str]:
    return [_joined(dialogue.turns[start:end]) for start, end in dialogue.replies()]


def _joined(turns: Sequence[Turn]) -> str:
    return "\n".join(turn.text for turn in turns)
