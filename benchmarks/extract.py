"""Utterances a second of the persona extractors: the rules, and a model one by one against in batches.

    python benchmarks/extract.py --model runs/extractor            # a fine-tuned adapter
    python benchmarks/extract.py --file said.txt                   # dialogues as .jsonl, or one utterance a line
    python benchmarks/extract.py --quick                           # a tiny model of random weights, for the test suite

Both take turns on the same utterances in one process, nothing is read from a cache; the ratio is that of one turn. The
last column says for how many utterances the model wrote the very same text.
"""

import statistics
from itertools import cycle, islice

from common import arguments, head, ratios, row, spread, take_turns, timed, tiny_model
from idl_hf.demo import SAMPLE_DATA
from idl_hf.explore.extract import read_utterances
from idl_hf.models.lines import generate_lines
from idl_hf.models.loading import load_merged
from idl_hf.persona import patterns
from idl_hf.persona.triples import format_prompt
from idl_hf.token_ids import end_ids, text_ids


def main() -> None:
    args = arguments(
        __doc__, {"utterances": 6, "batch_sizes": [4], "repeats": 1}, model="offline", dtype="float32",
        file=SAMPLE_DATA / "train.jsonl", utterances=128, batch_sizes=[8, 32, 64], repeats=3,
    )  # fmt: skip
    texts = list(dict.fromkeys(read_utterances(args.file)))[: args.utterances]
    model, tokenizer = (
        tiny_model(num_key_value_heads=2) if args.quick else load_merged(args.model, args.dtype, plain=True)
    )
    prompts = [text_ids(tokenizer, format_prompt([text])) for text in texts]
    ends = end_ids(tokenizer, model.generation_config)

    def write(prompts: list[list[int]], batch_size: int) -> dict[int, str]:
        batches = generate_lines(model, tokenizer, prompts, [1] * len(prompts), batch_size, ends)
        return {i: text for batch in batches for i, text in batch.items()}

    many = list(islice(cycle(texts), 100 * len(texts)))
    rates = [len(many) / timed(lambda: patterns.extract(many)).seconds for _ in range(args.repeats)]
    print(f"{len(texts)} utterances. Rules: {statistics.median(rates):,.0f} utterances/s.\n")
    print(head("batch", "one by one, utterances/s", "batched, utterances/s", "times faster", "same text"))
    write(prompts[:2], 1)  # to warm up
    for size in args.batch_sizes:
        ways = {"one by one": lambda: write(prompts, 1), f"batches of {size}": lambda size=size: write(prompts, size)}
        seconds, (alone, batched) = take_turns(ways, args.repeats)
        speeds = (f"{len(texts) / statistics.median(taken):.2f}" for taken in seconds)
        same = sum(alone[i] == batched[i] for i in range(len(texts)))
        print(row(size, *speeds, spread(ratios(*seconds)), f"{same} of {len(texts)}"))


if __name__ == "__main__":
    main()
