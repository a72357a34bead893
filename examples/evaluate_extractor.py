"""Persona extractors side by side: the rules, an instruct model as it is, fine-tuned ones. Writes a Markdown table.

    python examples/evaluate_extractor.py --data <folder>/validation.jsonl --instruct offline --models runs/extractor

A fine-tuned model stands in two rows: each sentence by itself and without objects that are not in it, which is how the
rows are made, and the paper's stacked form, as the model wrote it.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from idl_hf.arguments import option, required
from idl_hf.command_line import run
from idl_hf.models.lines import generate_lines
from idl_hf.models.loading import load_model
from idl_hf.persona import accuracy, patterns
from idl_hf.persona.extractor import PersonaExtractor
from idl_hf.persona.triples import parse_triples
from idl_hf.schema import Triple
from idl_hf.token_ids import end_ids, prompt_ids

INSTRUCTION = (
    "Say what the sentence states of its speaker as <object, relation, subject>, where object and subject are words "
    "of the sentence and the relation is a label such as like_activity, have_pet, like_food, physical_attribute, "
    "employed_by_general, has_profession, live_in_general. Say <> if it states nothing of the speaker."
)
EXAMPLES = [
    ("i have two dogs at home .", "<two dogs, have_pet, i>"),
    ("how was your weekend ?", "<>"),
    ("my parents live in norway .", "<norway, live_in_general, my parents>"),
]
OF_TURNS = ["precision", "recall", "f1", "object_f1"]
COLUMNS = ["sample_accuracy", "triple_accuracy", "f1", "object_f1", "persona_precision", "persona_recall"]


@dataclass
class Arguments:
    """Which extractors, on which samples."""

    data: str = required("validation.jsonl, as examples/prepare_personaext.py makes it.")
    models: list[str] = field(default_factory=list, metadata={"help": "Fine-tuned extractors."})
    instruct: str | None = option(None, "An instruct model, asked with three examples.")
    max_samples: int | None = option(None, "Scores the first so many samples; default all.")
    batch_size: int = option(32, "Prompts at a time.")
    labels: str | None = option(None, "tests/data/persona_labels.json: 300 ConvAI2 turns.")
    convai2: str | None = option(None, "Folder with ConvAI2's files, for --labels.")
    labels_of: str | None = option(None, "Only of one: valid_self_original_no_cands.txt.")
    output: str = option("runs/extractor.md", "File for the tables.")

    def __post_init__(self) -> None:
        if (self.labels is None) != (self.convai2 is None):
            raise ValueError("--labels and --convai2 go together: where the labels are, and where the turns.")


def main(args: Arguments) -> None:
    """Score one extractor after the other, written after each: a failure with a later model loses nothing."""
    lines = Path(args.data).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()][: args.max_samples]
    turns = accuracy.read_labelled_turns(args.labels, str(args.convai2)) if args.labels is not None else []
    turns = [turn for turn in turns if args.labels_of in (None, turn.file)]
    sentences = sum(len(row["sentences"]) for row in rows)
    titles = ["extractor", *COLUMNS, "sentences/s", *(f"turns: {name}" for name in OF_TURNS if turns)]
    labelled = f" The last columns: {len(turns)} labelled turns of ConvAI2." if turns else ""
    table = [f"{len(rows)} samples of {sentences} sentences in all; scores x 100.{labelled}\n"]
    table += [f"| {' | '.join(titles).replace('_', ' ')} |", "|---" * len(titles) + "|"]
    for label, extract_samples in extractors(args):
        scores = accuracy.evaluate_extractor(extract_samples, rows)
        cells = ["-" if math.isnan(scores[name]) else f"{100 * scores[name]:.1f}" for name in COLUMNS]
        cells.append(f"{scores['sentences_per_second']:.1f}")
        if turns:
            triples = [own for (own,) in extract_samples([[turn.text] for turn in turns])]
            scores = accuracy.score_labelled_turns(turns, triples)
            cells += [f"{100 * scores[name]:.1f}" for name in OF_TURNS]
        table.append(f"| {label} | {' | '.join(cells)} |")
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)
        Path(args.output).write_text("\n".join(table) + "\n", encoding="utf-8")
        print(table[-1])


def extractors(args: Arguments) -> Iterator[tuple[str, accuracy.ExtractSamples]]:
    """Yield the label and the extractor of each row."""
    yield "patterns", accuracy.one_by_one(patterns.extract)
    if args.instruct:
        chat = partial(instructed, *load_model(args.instruct), args.batch_size)
        yield f"{args.instruct}, three examples", accuracy.one_by_one(chat)
    for name in args.models:
        extractor = PersonaExtractor.from_pretrained(name, batch_size=args.batch_size)
        yield name, accuracy.one_by_one(partial(uncached, extractor))
        refused = ", ".join(f"{count} x {reason}" for reason, count in extractor.refused.most_common())
        print(f"Refused: {refused or 'nothing'}.")
        extractor = PersonaExtractor.from_pretrained(name, batch_size=args.batch_size, copy_only=False)
        yield f"{name}, stacked", extractor.extract_samples


def uncached(extractor: PersonaExtractor, sentences: Sequence[str]) -> list[list[Triple]]:
    """Ask the model for each sentence by itself, whatever it wrote before."""
    return [triples for (triples,) in extractor.extract_samples([[sentence] for sentence in sentences])]


def instructed(model: Any, tokenizer: Any, batch_size: int, sentences: Sequence[str]) -> list[list[Triple]]:
    """Ask a chat model for the triples of each sentence, with the examples before it."""
    (first, answer), *others = EXAMPLES
    said = [[f"{INSTRUCTION}\n\n{first}", answer, *chain.from_iterable(others), sentence] for sentence in sentences]
    chats = [[{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(own)] for own in said]
    prompts = [prompt_ids(tokenizer, chat) for chat in chats]
    ends = end_ids(tokenizer, model.generation_config)
    batches = generate_lines(model, tokenizer, prompts, [1] * len(prompts), batch_size, ends)
    written = {i: text for batch in batches for i, text in batch.items()}
    return [parse_triples(written[i].split("\n")[0]) for i in range(len(prompts))]


if __name__ == "__main__":
    run(main, Arguments)
