"""The triples of a file's utterances, as JSON Lines."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from idl_hf.arguments import option, required
from idl_hf.cache import write_whole
from idl_hf.corpora.errors import CorpusError
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.persona import patterns
from idl_hf.persona.extractor import PATTERNS, PersonaExtractor
from idl_hf.shown import visible


@dataclass
class ExtractArguments:
    """From which utterances, and how."""

    file: str = required(
        "Dialogues (.jsonl, see idl_hf.corpora.jsonl), of which the person's own utterances are read, or "
        "a text with one utterance a line."
    )
    extractor: str = option(PATTERNS, "'patterns' (rules), or an adapter or model: a Hub id, a folder, or 'offline'.")
    output: str | None = option(None, "File for the JSON Lines; default: the terminal.")


def extract_file(args: ExtractArguments) -> None:
    """Write a line {"text": ..., "triples": [[subject, relation, object], ...]} for each utterance, in their order."""
    texts = read_utterances(args.file)
    extractor = None if args.extractor == PATTERNS else PersonaExtractor.from_pretrained(args.extractor)
    extracted = patterns.extract(texts) if extractor is None else extractor.extract(texts)
    lines = ""
    for text, stated in zip(texts, extracted, strict=True):
        triples = [[triple.subject, triple.relation, triple.object] for triple in stated]
        lines += json.dumps({"text": text, "triples": triples}, ensure_ascii=False) + "\n"
    if args.output is None:
        sys.stdout.write(visible(lines))  # the same JSON
    else:
        with write_whole(args.output) as partial:
            partial.write_text(lines, encoding="utf-8")
    counts = list(map(len, extracted))
    print(f"{len(texts)} utterances, {sum(map(bool, counts))} with triples, {sum(counts)} triples.", file=sys.stderr)
    for reason, count in extractor.refused.most_common() if extractor else []:
        print(f"  refused {count} x {reason}", file=sys.stderr)


def read_utterances(file: str | Path) -> list[str]:
    """Return the utterances in the order of the file. Raises CorpusError for one that is not there or is no text."""
    path = Path(file)
    if not path.is_file():
        raise CorpusError(f"The file '{file}' does not exist. Expected dialogues (.jsonl) or one utterance a line.")
    if path.suffix == ".jsonl":
        return [text for dialogue in read_dialogues(path) for text in dialogue.texts("self")]
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise CorpusError(f"'{file}' is not UTF-8 (byte {error.start}). Expected one utterance a line.") from error
    return [line.strip() for line in lines if line.strip()]
