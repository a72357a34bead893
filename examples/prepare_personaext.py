"""Samples to train the persona extractor on, out of PersonaExt's sentences (paper 3.2.1, A.2).

    python examples/prepare_personaext.py --personaext train.jsonl --negatives <folder with ConvAI2> \
        --output_dir extractor

PersonaExt is published with PAED, divided in 15 ways: give one file with each of its sentences once. The negatives are
turns that state nothing, out of ConvAI2's train split or of dialogues as JSON Lines (see the README); several may be
given. PersonaExt's sentences are not quite what people say in a chat: --taught adds such turns, with what the rules
find in them. Writes train.jsonl and validation.jsonl, whose columns "prompt" and "completion" are what TRL's
SFTTrainer trains on.
"""

import json
import random
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from idl_hf.arguments import option, required
from idl_hf.cache import write_whole
from idl_hf.command_line import run
from idl_hf.corpora import convai2, jsonl, personaext
from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.personaext import Sample, is_plainly_no_statement, split_sentences
from idl_hf.persona import patterns
from idl_hf.persona.triples import format_prompt, format_sample
from idl_hf.schema import Dialogue, Triple


@dataclass
class PrepareArguments:
    """What to make samples of, and where to write them."""

    personaext: str = required("PersonaExt's JSON Lines.")
    output_dir: str = required("Folder for train.jsonl and validation.jsonl.")
    negatives: list[str] = field(default_factory=list, metadata={"help": "Folders of ConvAI2, or .jsonl dialogues."})
    negative_share: float = option(0.3, "Share of silent sentences; 0 without --negatives.")
    hard_share: float = option(0.3, "Share of these that are no plain courtesy; rules err.")
    taught: list[str] = field(default_factory=list, metadata={"help": "As --negatives; with what the rules find."})
    taught_turns: int = option(4000, "How many of these.")
    held_out: float = option(0.1, "Share of the sentences for validation.")
    seed: int = option(0, "Which sentences are held out, and what is stacked with what.")
    on_error: Literal["raise", "skip"] = option("raise", "What to do at malformed lines.")

    def __post_init__(self) -> None:
        if not 0 <= self.hard_share < 1:
            raise ValueError(f"--hard_share must be from 0 to below 1, found {self.hard_share}.")


class SilentTurns(NamedTuple):
    """Turns in which the rules find no statement."""

    plain: list[str]  # that make none
    hard: list[str]  # the others, which have the first person and other traps in them


def main(args: PrepareArguments) -> None:
    """Make the samples of both splits and write them."""
    log = ErrorLog(args.on_error)
    sentences = personaext.read_sentences(args.personaext, log)
    print(f"{args.personaext}: {len(sentences)} sentences")
    _show(log)
    plain, hard = silent_turns(args.negatives, {sentence.text for sentence in sentences}, args.on_error)
    wanted = round(len(plain) * args.hard_share / (1 - args.hard_share))
    negatives = plain + random.Random(args.seed).sample(hard, min(wanted, len(hard)))
    if not negatives:
        print("No negatives: an extractor trained on this finds a fact in every utterance.")
    share = args.negative_share if args.negatives else 0.0
    stating = split_sentences(sentences, args.seed, args.held_out)
    silent = split_sentences(negatives, args.seed, args.held_out)
    samples = {split: personaext.stack(stating[split], silent[split], share, args.seed) for split in stating}
    held_out = {text for sample in samples["validation"] for text in sample.sentences}
    samples["train"] += taught(args, {sentence.text for sentence in sentences} | held_out)
    write(args.output_dir, samples)


def taught(args: PrepareArguments, passed: set[str]) -> list[Sample]:
    """Return samples of turns in which the rules find something, which is right in nearly all, or plainly nothing.

    What lies between, where the rules miss facts, is left to the model. passed: texts to leave out.
    """
    known: dict[str, tuple[Triple, ...]] = {}
    for source in args.taught:
        log = ErrorLog(args.on_error)
        stated = _stated(source, passed, log)
        known |= {text: own for text, own in stated.items() if own or is_plainly_no_statement(text)}
        _show(log)
    rng = random.Random(args.seed)
    rows = rng.sample(list(known.items()), min(args.taught_turns, len(known)))
    if rows:
        silent = sum(not triples for _, triples in rows)
        print(f"{len(rows)} turns taught by the rules, {silent} of which state nothing")
    return personaext.in_blocks(rows, rng)


def silent_turns(sources: Sequence[str], sentences: set[str], on_error: str) -> SilentTurns:
    """Return the turns in which the rules find no statement, each once, but for those that are `sentences`.

    Rules miss a fact at times, so those that do not plainly make none are to be used sparingly.
    """
    is_plain: dict[str, bool] = {}
    for source in sources:
        log = ErrorLog(on_error)
        stated = _stated(source, sentences, log)
        plain = {text: is_plainly_no_statement(text) for text, triples in stated.items() if not triples}
        share = f"{len(plain)} of {len(stated)} different turns state nothing"
        print(f"{source}: {share}, {sum(plain.values())} plainly so")
        _show(log)
        is_plain |= plain
    plain_turns = [text for text, plain in is_plain.items() if plain]
    return SilentTurns(plain_turns, [text for text, plain in is_plain.items() if not plain])


def spelled_apart(text: str) -> str:
    """Spell a text as PersonaExt and ConvAI2 do, so that the spelling does not tell which sentences state nothing."""
    return " ".join(re.sub(r"([.,!?;:])", r" \1 ", text.lower()).split())


def _stated(source: str, passed: set[str], log: ErrorLog) -> dict[str, tuple[Triple, ...]]:
    """Return what the rules find in each different turn that is not among `passed`."""
    every = (spelled_apart(turn.text) for dialogue in _dialogues(source, log) for turn in dialogue.turns)
    texts = [text for text in dict.fromkeys(every) if text not in passed]
    return dict(zip(texts, map(tuple, patterns.extract(texts)), strict=True))


def _dialogues(source: str, log: ErrorLog) -> Iterable[Dialogue]:
    if Path(source).is_file():
        return jsonl.read_dialogues(source, log)
    files = convai2.split_files(source)
    if "train" not in files:  # the paper's results are of the validation split, which must stay unseen
        raise CorpusError(f"Expected ConvAI2's train split in '{source}', found only: {', '.join(files)}.")
    return chain.from_iterable(convai2.read_dialogues(file, log) for file in files["train"])


def _show(log: ErrorLog) -> None:
    reasons = [f"left out {count} x {reason}" for reason, count in sorted(log.drops.items())]
    for line in reasons + log.messages[:10]:
        print(f"  {line}")


def write(output_dir: str, splits: dict[str, list[Sample]]) -> None:
    """Write a file for each split, none before all are made: no file of one run stands beside one of another."""
    targets = {split: Path(output_dir, f"{split}.jsonl") for split in splits}
    with ExitStack() as stack:
        for split, samples in splits.items():
            partial = stack.enter_context(write_whole(targets[split]))
            partial.write_text("".join(map(_line, samples)), encoding="utf-8", newline="\n")
    for split, samples in splits.items():
        silent = [not own for sample in samples for own in sample.triples]
        counts = f"{len(samples)} samples of {len(silent)} sentences, {sum(silent)} of which state nothing"
        print(f"{targets[split]}: {counts}")


def _line(sample: Sample) -> str:
    row = {"prompt": format_prompt(sample.sentences), "completion": format_sample(sample.triples)}
    triples = [[[triple.object, triple.relation, triple.subject] for triple in own] for own in sample.triples]
    return json.dumps({**row, "sentences": sample.sentences, "triples": triples}, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    try:
        run(main, PrepareArguments)
    except (OSError, ValueError) as error:
        raise SystemExit(f"prepare_personaext: {error}") from error
