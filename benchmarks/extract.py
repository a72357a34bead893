"""Utterances a second of the persona extractors: the rules, and a model one by one against in batches.

    python benchmarks/extract.py --model runs/extractor            # a fine-tuned adapter
    python benchmarks/extract.py --quick                           # a tiny model of random weights, for the test suite

Both take turns on the same utterances in one process, nothing is read from a cache; the ratio is that of one turn. The
last column says for how many utterances the model wrote the very same text.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

import idl_hf
from idl_hf.explore.extract import read_utterances
from idl_hf.models.lines import generate_lines
from idl_hf.models.loading import load_merged
from idl_hf.models.offline import resolve_model
from idl_hf.persona import patterns
from idl_hf.persona.triples import format_prompt

SAMPLE = Path(idl_hf.__file__).parent / "sample_data" / "train.jsonl"


def tiny() -> tuple[Any, Any]:
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("offline"))
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval(), tokenizer


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def write(model: Any, tokenizer: Any, prompts: list[list[int]], batch_size: int) -> dict[int, str]:
    written: dict[int, str] = {}
    for batch in generate_lines(model, tokenizer, prompts, [1] * len(prompts), batch_size):
        written |= batch
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="offline", help="Adapter or model: a Hub id, a folder, or 'offline'.")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--file", default=str(SAMPLE), help="Dialogues (.jsonl) or one utterance a line.")
    parser.add_argument("--utterances", type=int, default=128)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.utterances, args.batch_sizes, args.repeats = 12, [4], 2
    texts = list(dict.fromkeys(read_utterances(args.file)))[: args.utterances]
    model, tokenizer = tiny() if args.quick else load_merged(args.model, args.dtype)
    prompts = [tokenizer(format_prompt([text]))["input_ids"] for text in texts]
    many = list(islice(cycle(texts), 100 * len(texts)))
    rates = [len(many) / timed(lambda: patterns.extract(many))[0] for _ in range(args.repeats)]
    print(f"{len(texts)} utterances. Rules: {statistics.median(rates):,.0f} utterances/s.\n")
    print("| batch | one by one, utterances/s | batched, utterances/s | times faster | same text |")
    print("|---|---|---|---|---|")
    write(model, tokenizer, prompts[:2], 1)  # to warm up
    for batch_size in args.batch_sizes:
        turns = [
            tuple(timed(lambda size=size: write(model, tokenizer, prompts, size)) for size in (1, batch_size))
            for _ in range(args.repeats)
        ]
        alone, batched = (len(texts) / statistics.median(turn[i][0] for turn in turns) for i in (0, 1))
        ratios = [turn[0][0] / turn[1][0] for turn in turns]
        same = sum(turns[-1][0][1][i] == turns[-1][1][1][i] for i in range(len(texts)))
        print(
            f"| {batch_size} | {alone:.2f} | {batched:.2f} | {statistics.median(ratios):.2f} "
            f"[{min(ratios):.2f}, {max(ratios):.2f}] | {same} of {len(texts)} |"
        )


if __name__ == "__main__":
    main()
