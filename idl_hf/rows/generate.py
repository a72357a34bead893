"""A person to the rows of each config: SPI, DPI, criteria and rendering put together. Generators, no `datasets`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from idl_hf import criteria
from idl_hf.prompting import Prompt, render, render_replies
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import Corpus, usable_dialogues
from idl_hf.rows.references import choose, first_predicted, is_chosen, ordered, seed_of, texts_to_choose_by
from idl_hf.schema import Dialogue, Person, Role, Turn


def encoder_texts(persons: Iterable[Person], corpus: Corpus, config: str, options: RowOptions) -> Iterator[str]:
    """Every text whose vector the rows of these persons need, so that all are encoded in one go; of msl not those of
    persons whose references are known from an earlier build."""
    reply = _reply_choice(config, options)
    for person in persons:
        if config == "dpoc" or not is_chosen(person, reply, corpus, options):
            yield from _texts(person, corpus, config, reply)


def extractor_texts(persons: Iterable[Person], config: str) -> Iterator[str]:
    """Every text whose triples the rows of these persons need."""
    for person in persons:
        for dialogue in person.dialogues:
            yield from dialogue.texts("self")
            if config == "dpoc":
                yield from dialogue.texts("partner")
        if config == "dpoc":
            yield from _replies(person.dialogues)


def generate_rows(
    config: str, person: Person, corpus: Corpus, options: RowOptions, drops: Counter[str]
) -> Iterator[dict[str, Any]]:
    """The rows of one person, the same whatever else runs in this process. `drops` counts what made no row, and why: the
    dialogues that rows show as target or reference and the drops called "dialogue ..." are together all that there are.
    So are the rows of dpoc and the drops called "reply ..." of the replies that they may predict; "refused ..." counts
    criterion replies."""
    if config == "sessions":
        yield from (_session(dialogue) for dialogue in person.dialogues)
        return
    dialogues = usable_dialogues(person, drops)
    if not enough_dialogues(dialogues, options):
        drops["dialogue of a person with fewer than two"] += len(dialogues)
        return
    if options.conditioning == "profile" and not person.profile:
        drops["dialogue of a person without a profile"] += len(dialogues)
        return
    reply = _reply_choice(config, options)
    unseen = {dialogue.dialogue_id for dialogue in dialogues}
    for row in _rows(config, person, dialogues, reply, corpus, options, drops):
        own = row["reference_ids"] if options.conditioning != "other_person" else []
        unseen -= {row["dialogue_id"], *own}
        yield row
    drops["dialogue that is neither target nor reference of a row"] += len(unseen)


def enough_dialogues(dialogues: Sequence[Dialogue], options: RowOptions) -> bool:
    """A row needs a target and something to refer to, unless no reference is asked for."""
    return len(dialogues) >= (1 if options.references == 0 else 2)


def _rows(
    config: str,
    person: Person,
    dialogues: list[Dialogue],
    reply: str,
    corpus: Corpus,
    options: RowOptions,
    drops: Counter[str],
) -> Iterator[dict[str, Any]]:
    choices = choose(person, dialogues, reply, corpus, options)
    if config == "dpoc":
        corpus.load_vectors(_texts(person, corpus, config, reply))
    for choice in choices:
        dialogue = dialogues[choice.target]
        rng = np.random.default_rng(seed_of(options, person.person_id, dialogue.dialogue_id))
        references = [dialogues[i] for i in choice.references]
        if options.conditioning == "other_person":
            context = dialogue.turns[: first_predicted(dialogue, reply)]
            references = _other_references(person, len(references), corpus, rng)
            references = ordered(references, context, corpus, options, rng)
        target = _Target(person, dialogue, references, choice.cluster, rng)
        if config == "msl":
            yield from _msl_rows(target, reply, options)
        else:
            yield from _dpoc_rows(target, reply, corpus, options, drops)


def _texts(person: Person, corpus: Corpus, config: str, reply: str) -> Iterator[str]:
    yield from texts_to_choose_by(usable_dialogues(person, Counter()), reply, corpus)
    for dialogue in person.dialogues if config == "dpoc" else []:
        yield from (turn.text for turn in dialogue.turns)
        yield from _replies([dialogue])


@dataclass(frozen=True)
class _Target:
    person: Person
    dialogue: Dialogue
    references: list[Dialogue]
    cluster: int
    rng: np.random.Generator

    def prompt(self, end: int, conditioning: str) -> Prompt:
        context = self.dialogue.turns[:end]
        if conditioning == "none":
            return render([], context)
        if conditioning == "profile":
            # A person of ConvAI2 may be several profiles that share two sentences; the speaker here had only one
            return render([], context, profile=self.dialogue.profile or self.person.profile)
        return render([reference.turns for reference in self.references], context)

    def trace(self, prompt: Prompt) -> dict[str, Any]:
        shown = self.references if len(prompt.starts) > 1 else []
        return {
            "person_id": self.person.person_id,
            "dialogue_id": self.dialogue.dialogue_id,
            "reference_ids": [reference.dialogue_id for reference in shown],
            "dialogue_starts": prompt.starts,
        }


def _msl_rows(target: _Target, choice: str, options: RowOptions) -> Iterator[dict[str, Any]]:
    replies = target.dialogue.replies()
    start = replies[0][0] if choice == "all" else replies[-1][0]
    prompt = target.prompt(start, options.conditioning)
    completion = render_replies(target.dialogue.turns[start : replies[-1][1]])
    yield {"prompt": prompt.messages, "completion": completion, **target.trace(prompt), "cluster": target.cluster}


def _dpoc_rows(
    target: _Target, choice: str, corpus: Corpus, options: RowOptions, drops: Counter[str]
) -> Iterator[dict[str, Any]]:
    replies = target.dialogue.replies()
    for start, end in replies if choice == "each" else replies[-1:]:
        turns = target.dialogue.turns[start:end]
        chosen = _joined(turns)
        rejected = _rejected(target, turns, corpus, options)
        if rejected is None:
            drops["reply without a rejected reply (no candidates and no other person)"] += 1
            continue
        made = _criterion(target, start, chosen, rejected, corpus, options, drops)
        if made is None:
            drops["reply for which no criterion reply could be built"] += 1
            continue
        prompt = target.prompt(start, options.conditioning)
        texts = {"chosen": chosen, "criterion": made[1], "rejected": rejected}
        messages = {name: [{"role": "assistant", "content": text}] for name, text in texts.items()}
        yield {"prompt": prompt.messages, **messages, "criterion_type": made[0], **target.trace(prompt)}


def _rejected(target: _Target, turns: Sequence[Turn], corpus: Corpus, options: RowOptions) -> str | None:
    """One of the candidates; where the corpus has none, a reply of another person."""
    chosen = _joined(turns)
    candidates = [text for text in turns[-1].candidates if text != chosen]
    if candidates:
        return candidates[0] if options.rejected == "first" else candidates[target.rng.integers(len(candidates))]
    other = corpus.other_person(target.person, target.rng)
    texts = [text for dialogue in other.dialogues for text in dialogue.texts("self")] if other else []
    texts = [text for text in texts if text != chosen]
    return texts[target.rng.integers(len(texts))] if texts else None


def _criterion(
    target: _Target, start: int, chosen: str, rejected: str, corpus: Corpus, options: RowOptions, drops: Counter[str]
) -> tuple[str, str] | None:
    """(type, reply) of the first type that can be built and repeats neither other reply. Inconsistency has the first try,
    since few replies allow it; nearly all allow the others, of which one is drawn."""
    scarce, *common = criteria.CRITERION_TYPES
    types = [options.criterion_type] if options.criterion_type else [scarce, *target.rng.permutation(common)]
    taken = {criteria.plain(chosen), criteria.plain(rejected)}
    for kind in map(str, types):
        try:
            reply = _built(kind, target, start, chosen, rejected, corpus)
            if criteria.plain(reply) in taken:
                raise criteria.RefusedError("it would repeat the chosen or the rejected reply")
            return kind, reply
        except criteria.RefusedError as reason:
            drops[f"refused {kind}, where another type may have served: {reason}"] += 1
    return None


def _built(kind: str, target: _Target, start: int, chosen: str, rejected: str, corpus: Corpus) -> str:
    visible = [*target.references, Dialogue("", "", target.dialogue.turns[:start])]
    known, partner = _said(target.person.dialogues, "self", corpus), _said(visible, "partner", corpus)
    if kind == "inconsistency":
        return criteria.inconsistency(chosen, corpus.triples([chosen])[0], known, partner, target.rng)
    if kind == "fabrication":
        near = corpus.statements_near(chosen, _replies(target.person.dialogues))
        return criteria.fabrication(near, known, (chosen, rejected), target.rng)
    vectors = corpus.vectors([chosen, *(text for text, _ in partner)])
    return criteria.inversion(vectors[0], partner, vectors[1:], known, (chosen, rejected))


def _said(dialogues: Iterable[Dialogue], role: Role, corpus: Corpus) -> list[criteria.Statement]:
    """Each utterance of one side, with the triples it states."""
    texts = [text for dialogue in dialogues for text in dialogue.texts(role)]
    return list(zip(texts, corpus.triples(texts), strict=True))


def _other_references(person: Person, count: int, corpus: Corpus, rng: np.random.Generator) -> list[Dialogue]:
    """As many dialogues of one other person: the yardstick that tells persona from mere length and format. Where nobody
    has as many, all of somebody who has the most."""
    others = [dialogues for person_id, dialogues in corpus.usable.items() if person_id != person.person_id]
    if not others:
        raise ValueError("conditioning='other_person' needs a second person in the same split.")
    most = min(count, max(map(len, others)))
    enough = [dialogues for dialogues in others if len(dialogues) >= most]
    dialogues = enough[rng.integers(len(enough))]
    return [dialogues[i] for i in rng.permutation(len(dialogues))[:count]]


def _reply_choice(config: str, options: RowOptions) -> str:
    return options.reply or ("each" if config == "dpoc" else "last")


def _replies(dialogues: Iterable[Dialogue]) -> list[str]:
    return [_joined(dialogue.turns[start:end]) for dialogue in dialogues for start, end in dialogue.replies()]


def _joined(turns: Sequence[Turn]) -> str:
    return "\n".join(turn.text for turn in turns)


def _session(dialogue: Dialogue) -> dict[str, Any]:
    turns = [{"role": turn.role, "text": turn.text, "candidates": list(turn.candidates)} for turn in dialogue.turns]
    return {
        "person_id": dialogue.person_id,
        "dialogue_id": dialogue.dialogue_id,
        "turns": turns,
        "profile": list(dialogue.profile),
        "source": dialogue.source,
    }
