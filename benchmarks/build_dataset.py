"""What building rows takes: its parts against their straightforward form, its stages by what is cached, memory.

    python benchmarks/build_dataset.py                                           # all but scale, on the sample data
    python benchmarks/build_dataset.py --data_dir <ConvAI2 files> --parts cold warm peer memory
    python benchmarks/build_dataset.py --data_dir <ConvAI2 files> --parts scale  # as many dialogues as ConvAI2's train
    python benchmarks/build_dataset.py --quick                                   # all parts, tiny, for the test suite

What is compared takes turns in one process, and a ratio is that of one turn. A build writes its rows into a new
folder; vectors and choices are those of a new cache unless called cached. Only "loading" counts the time to load the
encoder, and nothing that to import it. Writes build_dataset.json and .md, anew after each part.
"""

import functools
import inspect
import itertools
import json
import os
import platform
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from datasets import DatasetDict, disable_progress_bars, load_dataset
from numpy.typing import NDArray
from transformers import HfArgumentParser
from transformers.utils import logging

from common import Timed, head, memory, progress, ratios, row, run_elsewhere, take_turns, timed, write
from idl_hf.arguments import option
from idl_hf.conved import Embedded, pairwise_conved
from idl_hf.demo import SAMPLE_DATA, DemoSettings
from idl_hf.dpi import order_references
from idl_hf.encoding import SentenceEncoder
from idl_hf.explore.dataset import dialogue_of
from idl_hf.models.offline import OFFLINE, resolve_encoder
from idl_hf.rows.generate import RowBuilder
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import People, usable_dialogues
from idl_hf.rows.references import Choice, choose_once, context_of
from idl_hf.schema import Dialogue, Person, Turn, group_by_person

disable_progress_bars()
logging.disable_progress_bar()
BATCH_SIZE = inspect.signature(SentenceEncoder).parameters["batch_size"].default
QUICK = {"repeats": 1, "people": 1, "memory_factor": 2, "dialogues": 6, "configs": ["dpoc"]}
Record = dict[str, Any]  # a row of a table: {column: text, number, truth or the numbers of all turns}
Cosine = Callable[[Any, Any], float]
Distances = list[list[float]]


class Ordered(NamedTuple):
    order: list[int]
    distances: Distances  # of all references


@dataclass
class Settings:
    """What is measured."""

    parts: list[str] = field(default_factory=list, metadata={"help": "conved order cold warm peer memory, or scale."})
    data_dir: str = option(str(SAMPLE_DATA), "Raw ConvAI2 files, or JSON Lines.")
    encoder: str = option(OFFLINE, "Sentence encoder; 'offline' is all-MiniLM-L6-v2.")
    configs: list[str] = field(default_factory=lambda: ["msl", "dpoc"], metadata={"help": "Which rows are built."})
    repeats: int = option(3, "Turns; ten times as many of what takes milliseconds.")
    people: int = option(3, "peer: how many, the first ones.")
    memory_factor: int = option(10, "memory: how many times as many it is compared with.")
    dialogues: int = option(17878, "scale: how many, made by repeating all with new words.")
    output_dir: str = option("runs/build_dataset", "Where the two files go.")
    quick: bool = option(False, "All parts, tiny, one turn: shows that it runs, no more.")

    def __post_init__(self) -> None:
        if self.quick:
            vars(self).update(QUICK)
        self.parts = self.parts or [part for part in PARTS if self.quick or part != "scale"]
        if unknown := set(self.parts) - set(PARTS):
            raise ValueError(f"Unknown part {', '.join(sorted(unknown))}. The parts are: {', '.join(PARTS)}.")


# The straightforward form


def slow_distance(a: Embedded, b: Embedded, cosine: Cosine, scale: float = 5.0) -> float:
    """Return convED (paper A.3) in plain Python: a cosine for each two utterances of one role."""
    (roles_a, vectors_a), (roles_b, vectors_b) = a, b
    lev = [[float(i + j) for j in range(len(roles_b) + 1)] for i in range(len(roles_a) + 1)]
    for i, role in enumerate(roles_a):
        for j, other in enumerate(roles_b):
            best = min(lev[i][j + 1], lev[i + 1][j]) + 1
            if role == other:
                best = min(best, lev[i][j] + scale * (1 - cosine(vectors_a[i], vectors_b[j])))
            lev[i + 1][j + 1] = best
    return lev[-1][-1]


def slow_distances(dialogues: Iterable[Any], cosine: Cosine, embed: Callable = lambda given: given) -> Distances:
    """Return convED of every ordered pair, embedded anew for each, as the released code has it."""
    return [[0.0 if a is b else slow_distance(embed(a), embed(b), cosine) for b in dialogues] for a in dialogues]


def numpy_cosine(a: NDArray, b: NDArray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def torch_cosine(a: Any, b: Any) -> float:  # as the released code takes it
    import torch

    return torch.nn.functional.cosine_similarity(a, b, dim=0).item()


def slow_order(distances: Distances, to_target: list[float]) -> list[int]:
    """Return the best of all permutations; ties as in `order_references`."""
    paths = itertools.permutations(range(len(distances)))
    ranked = ((round(path_cost(path, distances), 6), round(to_target[path[-1]], 6), path) for path in paths)
    return list(min(ranked)[2])


def path_cost(path: Sequence[int], distances: Distances) -> float:
    return sum(distances[i][j] for i, j in itertools.pairwise(path))


def slow_dpi(target: Dialogue, references: list[Dialogue], encode: Callable[[str], Any]) -> Ordered:
    def embed(turns: tuple[Turn, ...]) -> Embedded:
        return [turn.role for turn in turns], [encode(turn.text) for turn in turns]

    said = [reference.turns for reference in references]
    context = context_of(target, RowOptions(reply="last"))
    distances = slow_distances(said, torch_cosine, embed)
    to_target = [slow_distance(embed(turns), embed(context), torch_cosine) for turns in said]
    return Ordered(slow_order(distances, to_target), distances)


def load_rows(config: str, settings: Settings) -> DatasetDict:
    name, folder = DemoSettings(data_dir=settings.data_dir).dataset_name, settings.data_dir
    with tempfile.TemporaryDirectory() as cache:
        return load_dataset(name, config, data_dir=folder, encoder=settings.encoder, cache_dir=cache)


def build(config: str, settings: Settings) -> Record:
    """Return the number of rows, the texts that went through the encoder, and seconds, without loading it in all."""
    with watched() as (stages, texts):
        total, rows = timed(lambda: load_rows(config, settings))
    seconds = {"seconds": total - stages["loading"], **stages, "rest": total - sum(stages.values())}
    return {"rows": sum(rows.num_rows.values()), "texts": texts, **seconds}


@contextmanager
def watched() -> Iterator[tuple[dict[str, float], list[str]]]:
    """Yield seconds by stage, each without the stages within it, and all texts that go through the encoder."""
    from sentence_transformers import SentenceTransformer

    stages = dict.fromkeys(("loading", "encoding", "choosing"), 0.0)
    texts: list[str] = []

    def watch(stage: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            before = sum(stages.values())
            took, result = timed(lambda: function(*args, **kwargs))
            stages[stage] += took - (sum(stages.values()) - before)
            texts.extend(args[1] if stage == "encoding" else ())
            return result

        return run

    with (
        patch.object(SentenceTransformer, "__init__", watch("loading", SentenceTransformer.__init__)),
        patch.object(SentenceTransformer, "encode", watch("encoding", SentenceTransformer.encode)),
        patch("idl_hf.rows.generate.choose_once", watch("choosing", choose_once)),
    ):
        yield stages, texts


@contextmanager
def fresh_cache() -> Iterator[Path]:
    """Yield a cache folder without vectors and choices, which is that of all builds; models are kept elsewhere."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, IDL_HF_CACHE=folder):
        yield Path(folder)


def build_here(config: str, settings: Settings, watching: bool) -> Record:
    """Return the peak memory of this process in MiB with a build, and what it took."""
    # Watching imports torch, beside which the growth of a build that encodes nothing would look small
    took = build(config, settings) if watching else {"rows": load_rows(config, settings).num_rows}
    return {**took, "peak": memory("VmHWM") / 2**20}


def read_people(settings: Settings) -> list[Person]:
    return group_by_person(
        Dialogue(f"{split}-{own.person_id}", own.dialogue_id, own.turns)
        for split, rows in load_rows("sessions", settings).items()
        for own in map(dialogue_of, rows)
    )


def write_dialogues(people: list[Person], folder: str, count: int) -> str:
    """Write so many dialogues as JSON Lines into a new folder in `folder`, and return its path.

    They are those of the people, then of new people who say the same with a number added.
    """
    dialogues = [dialogue for person in people for dialogue in person.dialogues]
    target = Path(tempfile.mkdtemp(dir=folder))
    with open(target / "train.jsonl", "w", encoding="utf-8") as file:
        for i in range(count):
            copy, dialogue = i // len(dialogues), dialogues[i % len(dialogues)]
            mark = f" {copy}" if copy else ""
            said = ((turn.role, turn.text, [text + mark for text in turn.candidates]) for turn in dialogue.turns)
            turns = tuple(Turn(role, text + mark, tuple(candidates)) for role, text, candidates in said)
            file.write(json.dumps(asdict(replace(dialogue, person_id=dialogue.person_id + mark, turns=turns))) + "\n")
    return str(target)


def compared(ours: list[float], peer: list[float], unit: str = "s", factor: float = 1.0) -> Record:
    seconds = {"ours": ours, "peer": peer}
    columns = {f"{way}, {unit}": [factor * value for value in taken] for way, taken in seconds.items()}
    return {**columns, "times faster": ratios(peer, ours)}


def stages_of(builds: list[Record]) -> Record:
    """Return the seconds of each stage, and its share in all but loading."""
    total = sum(took["seconds"] for took in builds)
    columns: Record = {"loading, s": [took["loading"] for took in builds]}
    for stage in ("encoding", "choosing", "rest"):
        columns[f"{stage}, s"] = [took[stage] for took in builds]
        columns[f"{stage}, %"] = 100 * sum(took[stage] for took in builds) / total
    return columns


# Parts


def measure_conved(settings: Settings) -> list[Record]:
    """Measure all distances of a set of dialogues, given random vectors. Peers: a cosine a cell, all ordered pairs."""
    import torch

    count, turns, width = (4, 6, 32) if settings.quick else (16, 14, 768)
    rng = np.random.default_rng(0)
    # Around a few topics, since a substitution pays only where the cosine exceeds 0.6
    topics = rng.standard_normal((8, width))[rng.integers(8, size=(count, turns))]
    vectors = topics + 0.6 * rng.standard_normal((count, turns, width))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    roles = [("partner", "self")[i % 2] for i in range(turns)]
    arrays: list[Embedded] = [(roles, rows) for rows in vectors]
    tensors: list[Any] = [(roles, list(torch.from_numpy(rows))) for rows in vectors]
    ways = {
        "ours": lambda: pairwise_conved(arrays),
        "NumPy": lambda: slow_distances(arrays, numpy_cosine),
        "torch": lambda: slow_distances(tensors, torch_cosine),
    }
    take_turns(ways, 1)  # to warm up
    (ours, *peers), (distances, *others) = take_turns(ways, 10 * settings.repeats)
    records = []
    for name, peer, other in zip(("NumPy", "torch"), peers, others, strict=True):
        first = {"dialogues x turns x width": f"{count} x {turns} x {width}", "cosines by": name}
        difference = float(np.abs(distances - np.array(other)).max())
        records.append({**first, **compared(ours, peer, "ms", 1e3), "largest difference": difference})
    return records


def measure_order(settings: Settings) -> list[Record]:
    """Measure the exact order of k references, given random distances. Peer: all permutations."""
    rng = np.random.default_rng(0)
    halves = [rng.uniform(1, 14, (5, 5)) for _ in range(20)]
    given = [((half + half.T).tolist(), rng.uniform(1, 28, 5).tolist()) for half in halves]
    forms = {"ours": order_references, "peer": slow_order}
    ways = {name: lambda order=order: [order(*case) for case in given] for name, order in forms.items()}
    take_turns(ways, 1)  # to warm up
    (ours, peer), orders = take_turns(ways, 10 * settings.repeats)
    same = sum(own == other for own, other in zip(*orders, strict=True))
    return [{"k": 5, **compared(ours, peer, "ms", 1e3 / len(given)), "orders": len(given), "the same": same}]


def measure_cold(settings: Settings) -> list[Record]:
    """Measure a build with nothing cached against encoding the same unique texts in one call, in batches alike."""
    people = read_people(settings)
    return [_cold_build(people, config, settings) for config in settings.configs]


def _cold_build(people: list[Person], config: str, settings: Settings) -> Record:
    from sentence_transformers import SentenceTransformer

    builds: list[Record] = []
    with fresh_cache():
        everyone = People(people, SentenceEncoder(settings.encoder))
        builder = RowBuilder(config, everyone, RowOptions(encoder=settings.encoder))
        texts = sorted(set(builder.texts_to_encode(people)))

    def whole() -> Timed:
        with fresh_cache():
            builds.append(build(config, settings))
        return Timed(builds[-1]["seconds"], builds[-1]["texts"])

    def alone() -> Timed:
        model = SentenceTransformer(resolve_encoder(settings.encoder), trust_remote_code=False)
        return timed(lambda: model.encode(texts, batch_size=BATCH_SIZE, normalize_embeddings=True))

    ways = {f"{config}, build": whole, f"{config}, encoding alone": alone}
    seconds, (encoded, _) = take_turns(ways, settings.repeats)
    counts = {"config": config, "rows": builds[0]["rows"], "unique texts": len(texts)}
    took = {"build, s": seconds[0], "encoding alone, s": seconds[1], "build / encoding alone": ratios(*seconds)}
    return {**counts, "each encoded once": sorted(encoded) == texts, **took, **stages_of(builds)}


def measure_warm(settings: Settings) -> list[Record]:
    """Measure builds by what is cached. Choosing is SPI and DPI with reading vectors; the rest renders and writes."""
    records = []
    for config in ["sessions", *settings.configs]:  # the former makes no choices
        builds: dict[str, list[Record]] = {"nothing": [], "vectors": [], "vectors and choices": []}
        with fresh_cache() as cache:
            builds["nothing"].append(build(config, settings))
            for turn in range(settings.repeats):
                shutil.rmtree(cache / "references", ignore_errors=True)
                builds["vectors"].append(build(config, settings))
                builds["vectors and choices"].append(build(config, settings))
                progress(f"  {config}, turn {turn + 1} of {settings.repeats}")
        for cached, took in builds.items():
            first = {"config": config, "cached": cached, "texts encoded": len(took[-1]["texts"])}
            records.append({**first, "build, s": [record["seconds"] for record in took], **stages_of(took)})
    return records


def measure_peer(settings: Settings) -> list[Record]:
    """Measure how the references of a person are chosen and ordered, with nothing cached.

    Peer: is told which ones, encodes both dialogues of every ordered pair sentence by sentence, then takes a cosine a
    cell and tries all permutations.
    """
    from sentence_transformers import SentenceTransformer

    people = [person for person in read_people(settings) if len(usable_dialogues(person)) > 1]
    model = SentenceTransformer(resolve_encoder(settings.encoder), trust_remote_code=False)
    encoder = SentenceEncoder(settings.encoder)
    with fresh_cache():
        encoder.encode(["This loads it."])
    return [_compare_person(person, encoder, model) for person in people[: settings.people]]


def _compare_person(person: Person, encoder: SentenceEncoder, model: Any) -> Record:
    dialogues, options = usable_dialogues(person), RowOptions(encoder=encoder.name, reply="last")
    encoded: list[str] = []

    def ours() -> Timed:
        with fresh_cache():
            people = People([person], encoder)
            return timed(lambda: choose_once(dialogues, people, options))

    def encode(text: str) -> Any:
        encoded.append(text)
        return model.encode(text, convert_to_tensor=True, show_progress_bar=False).double()

    before = encoder.encoded_count
    choices: list[Choice] = ours().result
    ours_encoded = encoder.encoded_count - before
    told = [(dialogues[choice.target], [dialogues[i] for i in sorted(choice.references)]) for choice in choices]
    ways = {"ours": ours, "peer": lambda: [slow_dpi(target, references, encode) for target, references in told]}
    (ours_seconds, peer_seconds), (_, orders) = take_turns(ways, 1)
    differences = []
    for choice, (order, distances) in zip(choices, orders, strict=True):
        own = [sorted(choice.references).index(i) for i in choice.references]
        differences.append(abs(path_cost(own, distances) - path_cost(order, distances)))
    counts = {"dialogues": len(dialogues), "targets": len(choices)}
    texts = {"texts encoded, ours": ours_encoded, "texts encoded, peer": len(encoded)}
    return {**counts, **compared(ours_seconds, peer_seconds), **texts, "largest difference in cost": max(differences)}


def measure_memory(settings: Settings) -> list[Record]:
    """Measure the peak resident memory of a process that builds, with vectors cached and choices not."""
    people, records = read_people(settings)[:30], []
    counts = [factor * sum(len(person.dialogues) for person in people) for factor in (1, settings.memory_factor)]
    for config in settings.configs:
        peaks: list[list[float]] = [[], []]
        with fresh_cache() as cache, tempfile.TemporaryDirectory() as folder:
            data = [replace(settings, data_dir=write_dialogues(people, folder, count)) for count in counts]
            build(config, data[1])
            for turn, i in itertools.product(range(settings.repeats), (0, 1)):
                shutil.rmtree(cache / "references", ignore_errors=True)
                peaks[i].append(run_elsewhere(build_here, config, data[i], False)["peak"])
                progress(f"  {config}, {counts[i]} dialogues, turn {turn + 1} of {settings.repeats}")
        growth = [100 * (ratio - 1) for ratio in ratios(peaks[1], peaks[0])]
        few, many = (f"{settings.memory_factor if i else 1} x the people, MiB" for i in (0, 1))
        records.append({"config": config, "people": len(people), few: peaks[0], many: peaks[1], "growth, %": growth})
    return records


def measure_scale(settings: Settings) -> list[Record]:
    """Measure a build of many dialogues with nothing cached, in a process of its own."""
    records = []
    with tempfile.TemporaryDirectory() as folder:
        large = replace(settings, data_dir=write_dialogues(read_people(settings), folder, settings.dialogues))
        for config in settings.configs:
            with fresh_cache():
                took = run_elsewhere(build_here, config, large, True)
            counts = {"dialogues": settings.dialogues, "rows": took["rows"], "unique texts": len(took["texts"])}
            seconds = {"build, s": took["seconds"], **stages_of([took])}
            records.append({"config": config, **counts, **seconds, "peak, MiB": took["peak"]})
    return records


_MEASURED = (
    measure_conved, measure_order, measure_cold, measure_warm, measure_peer, measure_memory, measure_scale,
)  # fmt: skip
PARTS = {measure.__name__.removeprefix("measure_"): measure for measure in _MEASURED}


def table(settings: Settings, results: dict[str, list[Record]]) -> str:
    dialogues = "the beginnings of a few sample dialogues" if settings.quick else Path(settings.data_dir).name
    lines = [f"{machine()}. Data: {dialogues}; encoder: {settings.encoder}. Median [least, most] of turns."]
    for part, records in results.items():
        lines += ["", f"## {part}", " ".join(str(PARTS[part].__doc__).split()), "", head(*records[0])]
        lines += [row(*map(shown, record.values())) for record in records]
    return "\n".join(lines) + "\n"


def shown(value: Any) -> str:
    if isinstance(value, list):
        spread = f" [{shown(min(value))}, {shown(max(value))}]" if len(value) > 1 else ""
        return shown(statistics.median(value)) + spread
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, int | float):
        return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def machine() -> str:
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    packages = ("torch", "sentence-transformers", "numpy", "scikit-learn", "datasets")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {torch.get_num_threads()} threads, Python {platform.python_version()}, {versions}"


def main(settings: Settings) -> None:
    results: dict[str, list[Record]] = {}
    with tempfile.TemporaryDirectory() as folder:
        people = read_people(replace(settings, data_dir=str(SAMPLE_DATA)))[:2]
        few = [replace(own, turns=own.turns[:4]) for person in people for own in person.dialogues[:3]]
        small = replace(settings, data_dir=write_dialogues(group_by_person(few), folder, len(few)))
        with fresh_cache():
            build("dpoc", small)  # what the first build of a process imports is in no number
        for part in settings.parts:
            progress(part)
            results[part] = PARTS[part](small if settings.quick else settings)
            report = table(settings, results)
            described = {"settings": asdict(settings), "machine": machine(), "parts": results}
            write(Path(settings.output_dir, "build_dataset.json"), described)
            write(Path(settings.output_dir, "build_dataset.md"), report)
    print(report)


if __name__ == "__main__":
    main(HfArgumentParser(Settings).parse_args_into_dataclasses()[0])
