"""Synthetic-Persona-Chat's CSV files as JSON Lines, for load_dataset("idl_hf/dialogues_idl", data_dir=<folder>).

python examples/convert_spc.py Synthetic-Persona-Chat_train.csv Synthetic-Persona-Chat_valid.csv --output_dir spc
"""

import argparse
import sys

from idl_hf.corpora.errors import CorpusError
from idl_hf.corpora.spc import Converted, convert


def main(arguments: list[str] | None = None) -> int:
    """Convert the files that are named and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="CSV", help="..._train.csv, ..._valid.csv or ..._test.csv")
    parser.add_argument("--output_dir", required=True, help="Folder for train.jsonl, validation.jsonl, test.jsonl.")
    parser.add_argument("--on_error", choices=["raise", "skip"], default="raise", help="What to do at malformed rows.")
    options = parser.parse_args(arguments)
    try:
        for converted in convert(options.files, options.output_dir, options.on_error):
            print(summary(converted))
    except (CorpusError, OSError) as error:
        print(f"convert_spc: {error}", file=sys.stderr)
        return 1
    return 0


def summary(converted: Converted) -> str:
    """Return lines on what of a file was written, left out and mended."""
    drops, notes = converted.log.drops, converted.log.notes
    lines = [
        f"{converted.source}: {converted.dialogues + drops.total()} dialogues, two for each conversation.",
        f"  wrote {converted.dialogues} of {converted.persons} people to {converted.target}",
    ]
    lines += [f"  left out {count} x {reason}" for reason, count in sorted(drops.items())]
    lines += [f"  mended {count} x {what}" for what, count in sorted(notes.items())]
    return "\n".join([*lines, *(f"  {message}" for message in converted.log.messages[:10])])


if __name__ == "__main__":
    sys.exit(main())
