"""The triples of a file's utterances, as JSON Lines."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from idl_hf.corpora.errors import CorpusError
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.persona import patterns
from idl_hf.persona.extractor import PATTERNS, PersonaExtractor
from idl_hf.schema import Triple


@dataclass
class ExtractArguments:
    """From which utterances, and how."""

    file: str = field(
        metadata={
            "help": "Dialogues (.jsonl, see idl_hf.corpora.jsonl), of which the person's own utterances are read, or a "
            "text with one utterance a line."
        }
    )
    extractor: str = field(
        default=PATTERNS,
        metadata={"help": "'patterns' (rules), or an adapter or model: a Hub id, a folder, or 'offline'."},
    )
    output: str | None = field(default=None, metadata={"help": "File for the JSON Lines; default: the terminal."})


def extract_file(args: ExtractArguments) -> None:
    """A line for each utterance, in the order of the file: {"text": ..., "triples": [[subject, relation, object], ...]}."""
    texts = read_utterances(args.file)
    extractor = None if args.extractor == PATTERNS else PersonaExtractor.from_pretrained(args.extractor)
    found = patterns.extract(texts) if extractor is None else extractor.extract(texts)
    with _whole_or_not_at_all(args.output) as target:
        for text, triples in zip(texts, found, strict=True):
            print(json.dumps({"text": text, "triples": _as_lists(triples)}, ensure_ascii=False), file=target)
    counts = [len(triples) for triples in found]
    print(f"{len(texts)} utterances, {sum(map(bool, counts))} with triples, {sum(counts)} triples.", file=sys.stderr)
    for reason, count in extractor.refused.most_common() if extractor else []:
        print(f"  refused {count} x {reason}", file=sys.stderr)


def read_utterances(file: str | Path) -> list[str]:
    """In the order of the file. Raises CorpusError for one that is not there or is no text."""
    path = Path(file)
    if not path.is_file():
        raise CorpusError(f"The file '{file}' does not exist. Expected dialogues (.jsonl) or one utterance a line.")
    if path.suffix == ".jsonl":
        return [text for dialogue in read_dialogues(path) for text in dialogue.texts("self")]
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"'{file}' is not UTF-8 text (byte {error.start}). Expected one utterance a line."
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _as_lists(triples: Sequence[Triple]) -> list[list[str]]:
    return [[triple.subject, triple.relation, triple.object] for triple in triples]


@contextmanager
def _whole_or_not_at_all(output: str | None) -> Iterator[TextIO]:
    """The terminal, or a file that takes its name once all is written."""
    if output is None:
        yield sys.stdout
        return
    target = Path(output)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
