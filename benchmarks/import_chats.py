"""How long `idl-hf import` takes for a long chat, and how much memory it needs.

    python benchmarks/import_chats.py [--messages 100000] [--mask]

Makes the export itself (WhatsApp, two people, a few lines each), imports it for both of them and prints a line of
seconds, of CPU too, and of the largest memory of the process, before and after.
"""

import argparse
import contextlib
import io
import random
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from common import memory
from idl_hf.corpora.import_chats import ImportArguments, import_chats

WORDS = (
    "the tea is cold again and nobody told me that trains to the lake leave at nine on a sunday , so I walked".split()
)
SPECIAL = (
    "<Media omitted>", "This message was deleted", "call me: +49 170 1234567", "see https://example.org/lake",
    "two lines\nof text", "my card 4111 1111 1111 1111",
)  # fmt: skip


def write_export(path: Path, messages: int) -> None:
    rng, now = random.Random(0), datetime(2020, 1, 1, 9)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(messages):
            now += timedelta(minutes=rng.choice((0, 1, 1, 2, 10, 500)))
            text = rng.choice(SPECIAL) if rng.random() < 0.05 else " ".join(rng.choices(WORDS, k=rng.randint(2, 20)))
            file.write(f"{now:%d/%m/%Y, %H:%M} - {rng.choice(('Ann', 'Ben Okafor'))}: {text}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--mask", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        export = Path(place, "WhatsApp Chat with Ben Okafor.txt")
        write_export(export, args.messages)
        before, start, start_cpu = memory("VmHWM"), time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()) as said:
            import_chats(
                ImportArguments(
                    "auto", str(export), "all", f"{place}/made", mask=args.mask, hide=["Okafor"] if args.mask else []
                )
            )
        seconds, cpu, after = time.perf_counter() - start, time.process_time() - start_cpu, memory("VmHWM")
    table = said.getvalue().split("\n\n")[1]
    print(f"{table}\n\n{seconds:.1f} s ({cpu:.1f} s of CPU), {before >> 20} MiB before, {after >> 20} MiB at most")


if __name__ == "__main__":
    main()
