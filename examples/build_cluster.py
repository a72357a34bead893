"""The rows of a corpus on many machines, by datatrove's executors: here (local), with Slurm or with Ray.

    python examples/build_cluster.py --dataset_name idl_hf/convai2_idl --config_name dpoc --data_dir <folder> \
        --output_dir rows --tasks 64 --workers 8

Each task makes the rows of its share of the persons by the very function that `load_dataset` calls, so the rows are
the same, in the same order. Run it again to continue: finished tasks are skipped. Train on the rows with
`--dataset_name rows`, or read them with `load_dataset("parquet", data_files={"train": "rows/dpoc/train-*.parquet"})`.
Tasks share what they encode if `IDL_HF_CACHE` is a folder that all machines see and that supports file locks.
"""

import json
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import pyarrow
import pyarrow.parquet
from datasets import load_dataset_builder
from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor

import idl_hf  # noqa: F401 (registers the datasets)
from idl_hf.arguments import option, required
from idl_hf.cache import write_whole
from idl_hf.command_line import run
from idl_hf.corpora.errors import ErrorLog
from idl_hf.rows.arguments import DatasetArguments
from idl_hf.rows.made import save_made_with


@dataclass(kw_only=True)
class ClusterArguments(DatasetArguments):
    """Which rows to make, and where."""

    data_dir: str = required("Folder with the raw files of the corpus, which all machines see.")
    output_dir: str = required("Folder for <config>/<split>-<task>.parquet, which all machines see.")
    dataset_name: str = option("idl_hf/convai2_idl", "A built-in dataset.")
    config_name: str = option("msl", "sessions, msl or dpoc.")
    executor: Literal["local", "slurm", "ray"] = option("local", "Where the tasks run.")
    tasks: int = option(8, "Number of shares, and of files of each split.")
    workers: int = option(1, "Tasks at a time.")
    partition: str | None = option(None, "Slurm: its partition.")
    time: str = option("04:00:00", "Slurm: the time limit of a task.")


def main(args: ClusterArguments) -> None:
    """Run the tasks that are not finished. Exits where the folder holds the rows of another build."""
    builder = load_dataset_builder(args.dataset_name, args.config_name, **args.builder_options(args.config_name))
    output = Path(args.output_dir, args.config_name).absolute()
    # A file of another build among these would be taken for one of this
    made_of = sha256(f"{builder.cache_dir} {args.tasks}".encode()).hexdigest()[:16]
    logs = output / "logs" / made_of
    unlogged = not logs.exists() and any(output.glob("*.parquet"))  # of `idl-hf build`
    if unlogged or any(path != logs for path in output.glob("logs/*")):
        raise SystemExit(f"'{output}' holds the rows of another build. Delete it or name another --output_dir.")
    pipeline, options = [partial(make_share, args, str(output))], {}
    if args.executor == "slurm":
        if args.partition is None:
            raise SystemExit("--executor slurm needs --partition.")
        options = {"time": args.time, "partition": args.partition, "job_name": "idl_hf"}
    executor = {"local": LocalPipelineExecutor, "slurm": SlurmPipelineExecutor, "ray": RayPipelineExecutor}
    shared = {"tasks": args.tasks, "workers": args.workers, "logging_dir": str(logs)}
    executor[args.executor](pipeline, **shared, **options).run()


def make_share(args: ClusterArguments, output: str, _: object, rank: int, world_size: int) -> None:
    """Write the rows of the rank-th of `world_size` equal shares of each split's persons."""
    builder = load_dataset_builder(args.dataset_name, args.config_name, **args.builder_options(args.config_name))
    by_split = {
        split: builder.read_persons(split, [str(file) for file in files], ErrorLog(builder.config.on_error))
        for split, files in builder.config.data_files.items()
    }
    for split, everyone in by_split.items():
        persons = everyone[len(everyone) * rank // world_size : len(everyone) * (rank + 1) // world_size]
        row_builder = builder.row_builder(builder.company(split, by_split))
        row_builder.encode_ahead(persons)
        rows = chain.from_iterable(map(row_builder.rows, persons))
        target = Path(output, f"{split}-{rank:05d}-of-{world_size:05d}.parquet")
        schema = builder.info.features.arrow_schema
        with write_whole(target) as partial_file, pyarrow.parquet.ParquetWriter(partial_file, schema) as writer:
            while batch := list(islice(rows, builder.DEFAULT_WRITER_BATCH_SIZE)):
                writer.write_table(pyarrow.Table.from_pylist(batch, schema))
        target.with_suffix(".left_out.json").write_text(json.dumps(+row_builder.drops))
    if len(list(Path(output).glob("*.parquet"))) == world_size * len(by_split):  # by the last task, for who trains
        save_made_with(output, args.row_options(args.config_name))


if __name__ == "__main__":
    run(main, ClusterArguments)
