"""A person to the rows of each config: SPI, DPI, criteria and rendering put together. Generators, no `datasets`."""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from idl_hf import criteria, dpi, spi
from idl_hf.conved import Embedded, pairwise_conved
from idl_hf.corpus import Corpus
from idl_hf.options import RowOptions
from idl_hf.persona import triples
from idl_hf.prompting import Prompt, render, render_replies
from idl_hf.schema import Dialogue, Person, Triple, Turn


def encoder_texts(persons: Iterable[Person], corpus: Corpus, config: str, options: RowOptions) -> Iterator[str]:
    """Every text whose vector the rows of these persons need, so that all are encoded in one go."""
    for person in persons:
        for dialogue in person.dialogues:
            yield from (turn.text for turn in dialogue.turns)
            for start, end in dialogue.replies() if config == "dpoc" else []:
                yield _joined(dialogue.turns[start:end])
        for dialogue in usable_dialogues(person, Counter()):
            yield from _representations(dialogue, corpus, _reply_choice(config, options))


def generate_rows(
    config: str, person: Person, corpus: Corpus, options: RowOptions, drops: Counter[str]
) -> Iterator[dict[str, Any]]:
    """The rows of one person, the same whatever else runs in this process. `drops` counts what made no row, and why."""
    if config == "sessions":
        yield from (_session(dialogue) for dialogue in person.dialogues)
        return
    dialogues = usable_dialogues(person, drops)
    if len(dialogues) < 2:
        drops["person with fewer than two dialogues"] += 1
        return
    if options.conditioning == "profile" and not person.profile:
        drops["person without a profile"] += 1
        return
    corpus.load_vectors(encoder_texts([person], corpus, config, options))
    choice = _reply_choice(config, options)
    for target in _targets(person, dialogues, choice, corpus, options):
        if config == "msl":
            yield from _msl_rows(target, choice, options)
        else:
            yield from _dpoc_rows(target, choice, corpus, options, drops)


def _targets(
    person: Person, dialogues: list[Dialogue], choice: str, corpus: Corpus, options: RowOptions
) -> Iterator["_Target"]:
    """Each target dialogue with its references (SPI) in prompt order (DPI)."""
    texts = [_representations(dialogue, corpus, choice) for dialogue in dialogues]
    whole, query = (corpus.vectors(column) for column in zip(*texts, strict=True))
    chosen: Iterable[int] = range(len(dialogues))
    if options.targets == "one":
        chosen = spi.choose_targets(query, options.clusters, _seed(options, person.person_id))
    for index in chosen:
        dialogue = dialogues[index]
        rng = np.random.default_rng(_seed(options, person.person_id, dialogue.dialogue_id))
        others = [i for i in range(len(dialogues)) if i != index]
        near, cluster = spi.choose_references(
            whole[others], query[index], options.references, options.clusters, options.seed
        )
        if not options.spi:
            near = rng.permutation(len(others))[: options.references].tolist()
        near = sorted(near) if options.order == "input" else near
        references = [dialogues[others[i]] for i in near]
        if options.conditioning == "other_person":
            references = _other_references(person, len(near), corpus, rng)
        context = dialogue.turns[: _first_predicted(dialogue, choice)]
        yield _Target(person, dialogue, _ordered(references, context, corpus, options, rng), cluster, rng)


def usable_dialogues(person: Person, drops: Counter[str]) -> list[Dialogue]:
    """Those in which the person says something, each once."""
    speaking = [dialogue for dialogue in person.dialogues if dialogue.replies()]
    drops["dialogue without a reply of the person"] += len(person.dialogues) - len(speaking)
    # A copy under another id would be the nearest reference of its twin, with the reply to predict in it
    unique = {dialogue.turns: dialogue for dialogue in reversed(speaking)}
    drops["repetition of another dialogue of the person"] += len(speaking) - len(unique)
    return list(reversed(unique.values()))


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
            return render([], context, profile=self.person.profile)
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
        made = _criterion(target, start, chosen, rejected, corpus, options)
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
    target: _Target, start: int, chosen: str, rejected: str, corpus: Corpus, options: RowOptions
) -> tuple[str, str] | None:
    """(type, reply) of the first type, in random order, that can be built and repeats neither other reply."""
    types = [options.criterion_type] if options.criterion_type else target.rng.permutation(criteria.CRITERION_TYPES)
    visible = [*target.references, Dialogue("", "", target.dialogue.turns[:start])]
    for kind in types:
        if kind == "inversion":
            texts = [text for dialogue in visible for text in dialogue.texts("partner")]
            vectors = corpus.vectors([chosen, *texts])
            reply = criteria.inversion(vectors[0], texts, vectors[1:], {chosen, rejected})
        elif kind == "inconsistency":
            reply = criteria.inconsistency(chosen, corpus.triples([chosen])[0], _known(visible, corpus), target.rng)
        else:
            reply = criteria.fabrication(
                corpus.vectors([chosen])[0],
                *corpus.statements,
                _known(target.person.dialogues, corpus),
                target.rng,
            )
        if reply is not None and reply not in (chosen, rejected):
            return str(kind), reply
    return None


def _known(dialogues: Iterable[Dialogue], corpus: Corpus) -> list[Triple]:
    return [triple for dialogue in dialogues for found in corpus.triples(dialogue.texts("self")) for triple in found]


def _other_references(person: Person, count: int, corpus: Corpus, rng: np.random.Generator) -> list[Dialogue]:
    """As many dialogues of one other person: the yardstick that tells persona from mere length and format. Where nobody
    has as many, all of somebody who has the most."""
    own = {p.person_id: usable_dialogues(p, Counter()) for p in corpus.speakers if p.person_id != person.person_id}
    if not own:
        raise ValueError("conditioning='other_person' needs a second person in the same split.")
    most = min(count, max(len(dialogues) for dialogues in own.values()))
    enough = [dialogues for dialogues in own.values() if len(dialogues) >= most]
    dialogues = enough[rng.integers(len(enough))]
    return [dialogues[i] for i in rng.permutation(len(dialogues))[:count]]


def choose_for_context(person: Person, context: Sequence[Turn], corpus: Corpus, options: RowOptions) -> list[Dialogue]:
    """SPI and DPI for a conversation that is going on: the person's references for it, in prompt order."""
    dialogues = usable_dialogues(person, Counter())
    if not dialogues or options.references == 0:
        return []
    whole = corpus.vectors([_represent(dialogue.turns, corpus) for dialogue in dialogues])
    query = corpus.vectors([_represent(context, corpus)])[0]
    near, _ = spi.choose_references(whole, query, options.references, options.clusters, options.seed)
    near = sorted(near) if options.order == "input" else near
    return _ordered([dialogues[i] for i in near], context, corpus, options, np.random.default_rng(options.seed))


def _ordered(
    references: list[Dialogue], context: Sequence[Turn], corpus: Corpus, options: RowOptions, rng: np.random.Generator
) -> list[Dialogue]:
    """DPI: the references in prompt order. context: the turns of the current dialogue before the reply."""
    if options.order == "input":
        return references
    if options.order == "random":
        return [references[i] for i in rng.permutation(len(references))]
    embedded: list[Embedded] = [
        ([turn.role for turn in turns], corpus.vectors([turn.text for turn in turns]) if turns else [])
        for turns in [*(reference.turns for reference in references), context]
    ]
    distances = pairwise_conved(embedded, options.scale)
    mode: dpi.OrderMode = "target_last" if options.order == "target_last" else "free"
    order = dpi.order_references(distances[:-1, :-1], distances[-1, :-1], mode)
    return [references[i] for i in order]


def _representations(dialogue: Dialogue, corpus: Corpus, choice: str) -> tuple[str, str]:
    """What stands for a dialogue: as a whole, where it is a reference, and as known before the first reply that a row
    predicts, where it is the target."""
    end = _first_predicted(dialogue, choice)
    return _represent(dialogue.turns, corpus), _represent(dialogue.turns[:end], corpus)


def _first_predicted(dialogue: Dialogue, choice: str) -> int:
    """Where the first reply that a row predicts begins: all before it may steer the prompt, nothing after."""
    return dialogue.replies()[-1 if choice == "last" else 0][0]


def _represent(turns: Sequence[Turn], corpus: Corpus) -> str:
    own = [turn.text for turn in turns if turn.role == "self"]
    facts = [triple for found in corpus.triples(own) for triple in found]
    return spi.persona_text(turns, [bool(triples.persona_utterances([turn.text], facts)) for turn in turns])


def _reply_choice(config: str, options: RowOptions) -> str:
    return options.reply or ("each" if config == "dpoc" else "last")


def _joined(turns: Sequence[Turn]) -> str:
    return "\n".join(turn.text for turn in turns)


def _seed(options: RowOptions, *names: str) -> int:
    return zlib.crc32(repr((options.seed, *names)).encode())


def _session(dialogue: Dialogue) -> dict[str, Any]:
    turns = [{"role": turn.role, "text": turn.text, "candidates": list(turn.candidates)} for turn in dialogue.turns]
    return {
        "person_id": dialogue.person_id,
        "dialogue_id": dialogue.dialogue_id,
        "turns": turns,
        "profile": list(dialogue.profile),
        "source": dialogue.source,
    }
