"""Whether what is killed at any point ends, on a second run, as it would have undisturbed.

    python benchmarks/chaos.py                                   # all places, 20 tries each
    python benchmarks/chaos.py --places build msl --tries 5

Each place is a command in a process group of its own. It runs once undisturbed; then, in each try, it is begun with
nothing kept, killed after a time drawn between none and all that it takes (by SIGKILL, SIGTERM or SIGINT in turn), and
run again by the same command, which must end well and make the same: rows, weights, page or figures. The offline
models are used; no try shares a folder or a cache with another. Writes chaos.json and .md, anew after each place.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import arguments, head, progress, row, tiny_model, write

SAMPLE = "idl_hf/sample_data"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
DATA = f"--dataset_name idl_hf/dialogues_idl --data_dir {SAMPLE}"
OPTIONS = ["--dataset_options", '{"encoder": "offline"}']
STEPS = "--max_steps 6 --save_steps 2 --max_rows 8 --max_prompt_tokens 256 --use_cpu true --report_to none"
LORA = "--use_peft --lora_r 4 --lora_target_modules q_proj v_proj --resume_from_checkpoint last"


@dataclass(frozen=True)
class Place:
    """A command, to which the folder it writes is appended, and what is the same whenever it has ended well."""

    words: list[str]
    made: Callable[[Path], Any]  # of the folder


def rows_made(folder: Path) -> dict[str, str]:
    from datasets import load_dataset

    files = {str(file.relative_to(folder)): load_dataset("parquet", data_files=str(file), split="train").to_list()
             for file in folder.rglob("*.parquet")}  # fmt: skip
    return {name: hashlib.sha256(repr(rows).encode()).hexdigest() for name, rows in files.items()}


def weights_made(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


def page_made(folder: Path) -> str:
    return hashlib.sha256((folder / "page.html").read_bytes()).hexdigest()


def figures_made(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())["tables"]


def places(model: Path, adapter: Path) -> dict[str, Place]:
    """Return all places. model: a folder with a tiny model; adapter: where the place "msl" has trained one."""
    build = ["build", *DATA.split(), *OPTIONS, "--configs", "sessions", "msl", "dpoc", "--output_dir"]
    msl = ["msl", *DATA.split(), *OPTIONS, *STEPS.split(), *LORA.split(), "--model_name_or_path", str(model)]
    dpoc = ["dpoc", *DATA.split(), *OPTIONS, *STEPS.split(), "--resume_from_checkpoint", "last"]
    dpoc += ["--model_name_or_path", str(adapter)]
    evaluate = ["evaluate", "--models", str(model), str(adapter), *DATA.split(), "--encoder", "offline"]
    evaluate += "--max_prompt_tokens 256 --dialogues_per_person 1 --generated_replies 4 --output_dir".split()
    return {
        "build": Place(build, rows_made),
        "stats": Place(["stats", *DATA.split(), *OPTIONS, "--html"], page_made),
        "msl": Place([*msl, "--output_dir"], weights_made),
        "dpoc": Place([*dpoc, "--output_dir"], weights_made),
        "precompute": Place([*dpoc, "--precompute_ref_log_probs", "--output_dir"], weights_made),
        "evaluate": Place(evaluate, figures_made),
    }


def start(place: Place, folder: Path) -> subprocess.Popen:
    """Start a place's command, which keeps all that it keeps within the folder."""
    (folder / "made").mkdir(parents=True, exist_ok=True)
    target = folder / "made" / "page.html" if "--html" in place.words else folder / "made"
    caches = {"IDL_HF_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "datasets")}
    environment = {**os.environ, **caches, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "idl_hf.cli", *place.words, str(target)]
    with open(folder / "log.txt", "a") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True, env=environment)


def whole(place: Place, folder: Path) -> Any:
    """Run a command to its end and return what it made. Raises RuntimeError where it fails."""
    if (status := start(place, folder).wait()) != 0:
        raise RuntimeError(f"ended with {status}: {(folder / 'log.txt').read_text()[-800:]}")
    return place.made(folder / "made")


def attempt(place: Place, folder: Path, seconds: float, how: signal.Signals, expected: Any) -> str:
    """Kill a command after so many seconds and run it again; return "" where that makes what was expected."""
    process = start(place, folder)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, how)
        process.wait()
    try:
        return "" if whole(place, folder) == expected else "made something else"
    except RuntimeError as error:
        return str(error)


def measure(place: Place, name: str, scratch: Path, tries: int, seed: int) -> dict[str, Any]:
    """Run a place undisturbed, then kill it so many times, and tell what came of it."""
    begun = time.perf_counter()
    expected = whole(place, scratch / name)
    seconds, failed = time.perf_counter() - begun, []
    rng = random.Random(f"{seed} {name}")
    for number in range(tries):
        how, after = SIGNALS[number % len(SIGNALS)], rng.uniform(0, seconds)
        if problem := attempt(place, scratch / f"{name}-{number}", after, how, expected):
            failed.append({"try": number, "signal": how.name, "after, s": after, "what": problem})
        progress(f"  {name}, try {number + 1} of {tries}: {how.name} after {after:.1f} s{' FAILED' * bool(problem)}")
    return {"undisturbed, s": seconds, "tries": tries, "the same": tries - len(failed), "failed": failed}


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = [head("place", "undisturbed, s", "killed and run again", "ended the same")]
    lines += [row(name, f"{it['undisturbed, s']:.1f}", it["tries"], it["the same"]) for name, it in results.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    args = arguments(
        __doc__, {"tries": 1, "places": ["stats"]}, places=["all"], tries=20, seed=0, output_dir="runs/chaos"
    )
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for part in tiny_model(max_position_embeddings=2048):
            part.save_pretrained(scratch / "model")
        known = places(scratch / "model", scratch / "first" / "made")
        whole(known["msl"], scratch / "first")
        for name in known if args.places == ["all"] else args.places:
            results[name] = measure(known[name], name, scratch, args.tries, args.seed)
            write(Path(args.output_dir, "chaos.json"), {"seed": args.seed, "places": results})
            write(Path(args.output_dir, "chaos.md"), table(results))
    print(table(results))


if __name__ == "__main__":
    main()
