"""What the benchmarks share: taking turns, medians with their spread, rows of tables, a tiny model."""

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from idl_hf.cache import write_whole


class Timed(NamedTuple):
    seconds: float
    result: Any


class Turns(NamedTuple):
    seconds: list[list[float]]  # by way and turn
    results: list[Any]  # of each way the last


def timed(function: Callable[[], Any]) -> Timed:
    start = time.perf_counter()
    result = function()
    return Timed(time.perf_counter() - start, result)


def take_turns(ways: dict[str, Callable[[], Any]], turns: int) -> Turns:
    """Call all ways so many times, in turns. A way that returns Timed has taken its time itself."""
    seconds: list[list[float]] = [[] for _ in ways]
    results: list[Any] = [None] * len(ways)
    for turn, i in itertools.product(range(turns), range(len(ways))):
        i = (i + turn) % len(ways)  # none always follows the same one
        name = [*ways][i]
        call = timed(ways[name])
        took, results[i] = call.result if isinstance(call.result, Timed) else call
        seconds[i].append(took)
        if took > 1:
            progress(f"  {name}, turn {turn + 1} of {turns}: {took:.1f} s")
    return Turns(seconds, results)


def ratios(dividends: Sequence[float], divisors: Sequence[float]) -> list[float]:
    return [dividend / divisor for dividend, divisor in zip(dividends, divisors, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Return "median [least, most]"."""
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def head(*columns: str) -> str:
    return f"{row(*columns)}\n{'|---' * len(columns)}|"


def progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def write(file: Path, content: Any) -> None:
    """Write a text, or anything else as JSON, whole or not at all."""
    with write_whole(file) as partial:
        text = content if isinstance(content, str) else json.dumps(content, indent=1, default=asdict)
        partial.write_text(text, encoding="utf-8")


def arguments(doc: str | None, quick: dict[str, Any], **defaults: Any) -> argparse.Namespace:
    """Return the options on the command line, each of the type of its default; --quick sets those in `quick`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    for name, default in defaults.items():
        kind = {"type": type(default[0]), "nargs": "+"} if isinstance(default, list) else {"type": type(default)}
        parser.add_argument(f"--{name}", default=default, **kind, help=f"default {default}")
    args = parser.parse_args()
    vars(args).update(quick if args.quick else {})
    return args


def run_elsewhere(function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function returns in a new process, which shares no memory with this one."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def memory(name: str) -> int:
    """Return the resident memory of this process in bytes, VmRSS now or VmHWM at its peak.

    Not ru_maxrss, which begins at the peak of the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def tiny_model(**sizes: Any) -> tuple[Any, Any]:
    """Return a Llama of two layers with random weights, the same each time, and the tokenizer of SmolLM2."""
    import torch  # here, since it would stand in the memory of builds that need none
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from idl_hf.models.offline import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("offline"), trust_remote_code=False)
    sizes |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).eval()
    model.generation_config.update(pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)
    return model, tokenizer
