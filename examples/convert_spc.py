"""Synthetic-Persona-Chat's CSV files as JSON Lines, for load_dataset("idl_hf/dialogues_idl", data_dir=<folder>).

python examples/convert_spc.py Synthetic-Persona-Chat_train.csv Synthetic-Persona-Chat_valid.csv --output_dir spc
"""

import argparse

from idl_hf.corpora.errors import CorpusError
from idl_hf.corpora.spc import convert


def main() -> None:
    """Convert the files that are named, and say what of each was written, left out and mended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="CSV", help="..._train.csv, ..._valid.csv or ..._test.csv")
    parser.add_argument("--output_dir", required=True, help="Folder for train.jsonl, validation.jsonl, test.jsonl.")
    parser.add_argument("--on_error", choices=["raise", "skip"], default="raise", help="What to do at malformed rows.")
    options = parser.parse_args()
    try:
        read = convert(options.files, options.output_dir, options.on_error)
    except (CorpusError, OSError) as error:
        raise SystemExit(f"convert_spc: {error}") from error
    for converted in read:
        drops, notes = converted.log.drops, converted.log.notes
        print(f"{converted.source}: {converted.dialogues + drops.total()} dialogues, two for each conversation.")
        lines = [f"wrote {converted.dialogues} of {converted.persons} people to {converted.target}"]
        lines += [f"left out {count} x {reason}" for reason, count in sorted(drops.items())]
        lines += [f"mended {count} x {what}" for what, count in sorted(notes.items())]
        print(*(f"  {line}" for line in [*lines, *converted.log.messages[:10]]), sep="\n")


if __name__ == "__main__":
    main()
