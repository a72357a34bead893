"""Whether what is disturbed at any point ends, on a second run, as it would have undisturbed.

    python benchmarks/chaos.py                                   # all places, 20 tries each
    python benchmarks/chaos.py --places build msl --tries 5

Each place is a command in a process group of its own. It runs once undisturbed; then, in each try, it is begun with
nothing kept, killed once it has computed for a time drawn between none and all that it takes (by SIGKILL, SIGTERM or
SIGINT in turn; by processor time, which other work on the machine does not move), and run again by the same command,
which must end well and make the same: rows, vectors, weights, page or figures. A push is killed at one of its
requests, drawn among all; in turn with that the Hub is gone from there on, or answers 500. Then the Hub must hold the
same. "two builds" and "two evaluations" are not killed: the same command, on the same folders and caches, begins a
second time while it runs, and both must end well and make the same. The offline models are used; no try shares a
folder or a cache with another. Writes chaos.json and .md, anew after each place.
"""

import functools
import hashlib
import itertools
import json
import math
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

ROOT = Path(__file__).parents[1]
SAMPLE = "idl_hf/sample_data"
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
TWICE, GONE, FAILING = "begun twice", "Hub gone", "Hub answers 500"
TOKEN = "hf_ofRuth"
DATA = f"--dataset_name idl_hf/dialogues_idl --data_dir {SAMPLE}"
OPTIONS = ["--dataset_options", '{"encoder": "offline"}']
STEPS = "--max_steps 6 --save_steps 2 --max_rows 8 --max_prompt_tokens 256 --use_cpu true --report_to none"
LORA = "--use_peft --lora_r 4 --lora_target_modules q_proj v_proj --resume_from_checkpoint last"
QUICK = "examples/experiments/scales/quick.yaml"
ENCODE = """
import sys
from pathlib import Path
import numpy as np
from idl_hf import encoding
from idl_hf.corpora import jsonl
encoding._AHEAD = 16  # of 800 texts, so that some parts are written and others are not
texts = [turn.text for dialogue in jsonl.read_dialogues(sys.argv[1]) for turn in dialogue.turns]
encoder = encoding.SentenceEncoder("offline", show_progress=False)
encoder.encode_ahead(texts)
np.save(Path(sys.argv[2], "vectors.npy"), encoder.encode(texts))
"""


@dataclass(frozen=True)
class Place:
    """A command, in which MADE is the folder it writes, and what is the same whenever it has ended well."""

    words: list[str]
    made: Callable[[Path], Any]  # of the folder
    disturbed_by: tuple[str, ...] = SIGNALS


def rows_made(folder: Path) -> dict[str, str]:
    import pyarrow.parquet

    files = {str(file.relative_to(folder)): pyarrow.parquet.read_table(file) for file in folder.rglob("*.parquet")}
    return {name: hashlib.sha256(repr(rows.to_pylist()).encode()).hexdigest() for name, rows in files.items()}


def file_made(name: str) -> Callable[[Path], str]:
    return lambda folder: hashlib.sha256((folder / name).read_bytes()).hexdigest()


def figures_made(folder: Path) -> Any:
    return [json.dumps(json.loads(file.read_text())["tables"]) for file in sorted(folder.rglob("report.json"))]


def pushed(folder: Path) -> dict[str, Any]:
    return {
        name: (repository.private, {path: hashlib.sha256(data).hexdigest() for path, data in repository.files.items()})
        for name, repository in hub_of(folder.parent).repositories.items()
    }


def places(model: Path, first: Path) -> dict[str, Place]:
    """Return all places. model: a folder with a tiny model; first: where "msl" and "build" have made an adapter and
    rows."""
    build = [*cli("build", DATA), *OPTIONS, "--configs", "sessions", "msl", "dpoc", "--output_dir", "MADE"]
    msl = [*cli("msl", DATA, STEPS, LORA, "--output_dir MADE --model_name_or_path"), str(model), *OPTIONS]
    dpoc = [*cli("dpoc", DATA, STEPS, "--resume_from_checkpoint last --output_dir MADE"), *OPTIONS]
    dpoc += ["--model_name_or_path", str(first)]
    replies = "--encoder offline --max_prompt_tokens 256 --dialogues_per_person 1 --generated_replies 4"
    evaluate = [*cli("evaluate", DATA, replies, "--output_dir MADE --models"), str(model), str(first)]
    table = cli(
        "evaluate --experiment table3 --conditions idl wo_dpa --output_dir MADE --runs_dir MADE --scale", QUICK
    )
    weights = file_made("adapter_model.safetensors")
    return {
        "build": Place(build, rows_made),
        "encoding": Place(["-c", ENCODE, f"{SAMPLE}/train.jsonl", "MADE"], file_made("vectors.npy")),
        "stats": Place([*cli("stats", DATA, "--html MADE/page.html"), *OPTIONS], file_made("page.html")),
        "msl": Place(msl, weights),
        "dpoc": Place(dpoc, weights),
        "trees": Place([*dpoc, "--prefix_sharing", "dialogue"], weights),
        "precompute": Place([*dpoc, "--precompute_ref_log_probs"], weights),
        "evaluate": Place(evaluate, figures_made),
        "experiment": Place([*table, "--model_name_or_path", str(model)], figures_made),
        "push": Place(
            [*cli("push-dataset --repo_id ruth/rows --dataset_name"), str(first)], pushed, (*SIGNALS, GONE, FAILING)
        ),
        "two builds": Place(build, rows_made, (TWICE,)),
        "two evaluations": Place(evaluate, figures_made, (TWICE,)),
    }


def cli(*words: str) -> list[str]:
    return ["-m", "idl_hf.cli", *" ".join(words).split()]


@functools.cache
def hub_of(folder: Path) -> Any:
    """Return the Hub of a try, which runs until this process ends."""
    sys.path.append(str(ROOT))
    from tests.hub_server import Hub

    return Hub({TOKEN: "ruth"}).__enter__()


def start(place: Place, folder: Path) -> subprocess.Popen:
    """Start a place's command, which keeps all that it keeps within the folder."""
    (folder / "made").mkdir(parents=True, exist_ok=True)
    caches = {"IDL_HF_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "datasets")}
    environment = {**os.environ, **caches, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    if place.made is pushed:
        environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        environment |= {"HF_HOME": str(folder / "home"), "HF_TOKEN": TOKEN, "HF_ENDPOINT": hub_of(folder).endpoint}
    words = [sys.executable, *(word.replace("MADE", str(folder / "made")) for word in place.words)]
    with open(folder / "log.txt", "a") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True, env=environment)


def ended(process: subprocess.Popen, place: Place, folder: Path) -> Any:
    """Wait for a command and return what it made. Raises RuntimeError where it failed."""
    if (status := process.wait()) != 0:
        raise RuntimeError(f"ended with {status}: {(folder / 'log.txt').read_text()[-800:]}")
    return place.made(folder / "made")


def attempt(place: Place, folder: Path, how: str, after: float, expected: Any) -> str:
    """Disturb a command and run it again; return "" where that makes what was expected.
    after: seconds of computing, or of a push how many requests."""
    runs = []
    if place.made is pushed:
        push(place, folder, how, math.ceil(after))
        log = (folder / "log.txt").read_text()
        if how in (GONE, FAILING) and "Traceback" in log:
            return f"said no sentence: {log[-800:]}"
    elif how == TWICE:
        runs.append(start(place, folder))
        compute(runs[0], after)
    else:
        kill(start(place, folder), how, after)
    runs.append(start(place, folder))
    try:
        made = [ended(run, place, folder) for run in runs]
        return "" if made == [expected] * len(runs) else "made something else"
    except RuntimeError as error:
        runs[-1].wait()
        return str(error)


def kill(process: subprocess.Popen, how: str, seconds: float) -> None:
    compute(process, seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.Signals[how])
        process.wait()


def compute(process: subprocess.Popen, seconds: float) -> None:
    """Wait until a process has computed for so long, or has ended."""
    while process.poll() is None:
        times = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        if sum(map(int, times)) >= seconds * os.sysconf("SC_CLK_TCK"):
            return
        time.sleep(0.02)


def push(place: Place, folder: Path, how: str, at: float) -> int:
    """Push, disturbed at a request, and return how many requests there were."""
    from tests.hub_server import RefusedError

    hub = hub_of(folder)
    answer, numbers = hub.answer, itertools.count(1)

    def disturbed(*request: Any) -> Any:
        number = next(numbers)
        if number == at and how in SIGNALS:
            os.killpg(process.pid, signal.Signals[how])  # what it asked for is done, and nobody is there to know
        if number >= at and how == FAILING:
            raise RefusedError(500, "Internal Error")
        if number >= at and how == GONE:
            raise SystemExit  # ends the thread of this request, without a word to the other side
        return answer(*request)

    hub.answer = disturbed
    process = start(place, folder)
    process.wait()
    hub.answer = answer
    return next(numbers) - 1


def measure(place: Place, name: str, scratch: Path, tries: int, seed: int) -> dict[str, Any]:
    """Run a place undisturbed, then disturb it so many times, and tell what came of it."""
    begun = os.times()
    expected = ended(start(place, scratch / name), place, scratch / name)
    now = os.times()
    most = seconds = now.children_user + now.children_system - begun.children_user - begun.children_system
    if place.made is pushed:
        most = push(place, scratch / f"{name}, counted", "", math.inf)
    failed, rng = [], random.Random(f"{seed} {name}")
    for number, how in enumerate(itertools.islice(itertools.cycle(place.disturbed_by), tries)):
        after = rng.uniform(0, most)
        if problem := attempt(place, scratch / f"{name}-{number}", how, after, expected):
            failed.append({"try": number, "how": how, "after": after, "what": problem})
        when = f"{how} after {after:.1f} of {most:.1f}"
        progress(f"  {name}, try {number + 1} of {tries}: {when}{' FAILED' * bool(problem)}")
    return {"computes, s": seconds, "tries": tries, "the same": tries - len(failed), "failed": failed}


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = [head("place", "computes, s", "disturbed and run again", "ended the same")]
    lines += [row(name, f"{it['computes, s']:.1f}", it["tries"], it["the same"]) for name, it in results.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    quick = {"tries": 1, "places": ["stats", "push"]}
    args = arguments(__doc__, quick, places=["all"], tries=20, seed=0, output_dir="runs/chaos")
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for part in tiny_model(max_position_embeddings=2048):
            part.save_pretrained(scratch / "model")
        known = places(scratch / "model", scratch / "first" / "made")
        names = list(known) if args.places == ["all"] else args.places
        for name in ["msl", "build"] if "push" in names else ["msl"]:
            ended(start(known[name], scratch / "first"), known[name], scratch / "first")
        for name in names:
            results[name] = measure(known[name], name, scratch, args.tries, args.seed)
            write(Path(args.output_dir, "chaos.json"), {"seed": args.seed, "places": results})
            write(Path(args.output_dir, "chaos.md"), table(results))
    print(table(results))


if __name__ == "__main__":
    main()
