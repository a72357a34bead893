"""Replies a second: prompts that share their beginnings, against `model.generate` on each and in batches.

    python benchmarks/generate.py --dataset_name idl_hf/convai2_idl --data_dir path/to/convai2    # 1,000 replies
    python benchmarks/generate.py --model runs/msl --replies 8 --turns 1          # of an adapter, on the sample data
    python benchmarks/generate.py --quick                             # a tiny random model, for the test suite

The prompts are those of an evaluation: every reply of whole held-out dialogues after their references, cut to 2,048
tokens. They are dealt out in turns; in each, the ways generate the same greedy replies one after the other, and the
ratio is that of one turn. The batches of the peer have the same size and prompts of similar length, padded on the
left. One by one, the slowest, takes part in the first turns only. The last column says how many of its replies are the
very text that the way gives; in half precision close calls fall differently.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from datasets import load_dataset
from tqdm.auto import tqdm

import idl_hf  # noqa: F401 (registers the datasets)
from common import arguments, head, ratios, row, spread, timed, tiny_model
from idl_hf import prompting
from idl_hf.demo import SAMPLE_DATA
from idl_hf.models.loading import load_model
from idl_hf.models.replies import generate_replies, generate_reply
from idl_hf.packing.tree import shared_length
from idl_hf.training.data import fit_rows

Prompts = list[list[dict[str, str]]]


def read_dialogues(args: argparse.Namespace, tokenizer: Any) -> list[Prompts]:
    """Return the prompts of each dialogue, of as many whole dialogues as make so many replies."""
    options = {"data_dir": args.data_dir, "encoder": "offline", "targets": "all", "reply": "all"}
    rows = load_dataset(args.dataset_name, "msl", split=args.split, **options)
    dialogues: list[Prompts] = []
    for target in fit_rows(rows.select(range(min(len(rows), args.replies))), tokenizer, 2048):
        if sum(map(len, dialogues)) >= args.replies:
            break
        messages = [*target["prompt"], *target["completion"]]
        dialogues.append([messages[:i] for i in range(len(target["prompt"]), len(messages), 2)])
    return dialogues


def share(model: Any, tokenizer: Any, prompts: Prompts, args: argparse.Namespace) -> list[str]:
    replies = generate_replies(model, tokenizer, prompts, args.max_new_tokens, batch_size=args.batch_size)
    return [text for _, text in sorted(replies)]


def one_by_one(model: Any, tokenizer: Any, prompts: Prompts, args: argparse.Namespace) -> list[str]:
    shown = tqdm(prompts, desc="One by one")
    return [generate_reply(model, tokenizer, prompt, max_new_tokens=args.max_new_tokens) for prompt in shown]


@torch.inference_mode()
def in_batches(model: Any, tokenizer: Any, prompts: Prompts, args: argparse.Namespace) -> list[str]:
    encoded = [prompting.prompt_ids(tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
    options = {"max_new_tokens": args.max_new_tokens, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
    replies: dict[int, str] = {}
    for start in tqdm(range(0, len(order), args.batch_size), desc="In batches"):
        batch = order[start : start + args.batch_size]
        inputs = tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, padding_side="left", return_tensors="pt")
        output = model.generate(**inputs.to(model.device), **options)
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        replies |= zip(batch, map(str.strip, texts), strict=True)
    return [replies[i] for i in range(len(prompts))]


WAYS: dict[str, Callable[..., list[str]]] = {"shared": share, "in batches": in_batches, "one by one": one_by_one}


def print_prompts(tokenizer: Any, dialogues: list[Prompts], replies: list[str]) -> None:
    encoded = sorted(prompting.prompt_ids(tokenizer, prompt) for dialogue in dialogues for prompt in dialogue)
    tokens = sum(map(len, encoded))
    nodes = tokens - sum(shared_length(*pair) for pair in pairwise(encoded))
    written = statistics.mean(len(ids) for ids in tokenizer(replies)["input_ids"])
    print(
        f"{len(encoded):,} replies of {len(dialogues):,} dialogues, {tokens / len(encoded):,.0f} tokens a prompt, "
        f"{nodes / len(encoded):,.0f} with shared ones counted once; {written:.0f} tokens a reply. "
        "Ratios: median [lowest, highest] of the turns.\n"
    )


def main() -> None:
    args = arguments(
        __doc__, {"replies": 12, "turns": 2, "batch_size": 4, "max_new_tokens": 8}, model="offline",
        dataset_name="idl_hf/dialogues_idl", data_dir=str(SAMPLE_DATA), split="validation", replies=1000, turns=10,
        turns_one_by_one=1, batch_size=8, max_new_tokens=40,
    )  # fmt: skip
    if args.turns_one_by_one < 1:
        raise SystemExit("--turns_one_by_one must be at least 1: one by one is what the replies are compared with.")
    model, tokenizer = tiny_model(num_key_value_heads=2) if args.quick else load_model(args.model)
    dialogues = read_dialogues(args, tokenizer)
    for generate in WAYS.values():  # to warm up
        generate(model, tokenizer, dialogues[0][:1], args)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}  # of each turn
    replies: dict[str, list[str]] = {way: [] for way in WAYS}
    size = -(-len(dialogues) // args.turns)
    for turn, start in enumerate(range(0, len(dialogues), size)):
        prompts = [prompt for dialogue in dialogues[start : start + size] for prompt in dialogue]
        for way, generate in WAYS.items():
            if way != "one by one" or turn < args.turns_one_by_one:
                took, texts = timed(partial(generate, model, tokenizer, prompts, args))
                seconds[way].append(took)
                replies[way] += texts
    print_prompts(tokenizer, dialogues, replies["shared"])
    print(head("way", "seconds", "replies/s", "shared is faster by", "same text"))
    alone = replies["one by one"]
    for way, taken in seconds.items():
        total, faster = sum(taken), spread(ratios(taken, seconds["shared"][: len(taken)]))
        same = sum(a == b for a, b in zip(replies[way], alone, strict=False))
        print(row(way, f"{total:.1f}", f"{len(replies[way]) / total:.2f}", faster, f"{same} of {len(alone)}"))


if __name__ == "__main__":
    main()
