"""What a report's figures were made from and with, so that anybody can check them: data, code, libraries, machine."""

import functools
import hashlib
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from datasets import load_dataset_builder

import idl_hf
from idl_hf.cache import code_identity
from idl_hf.evaluation.environment import libraries, machine
from idl_hf.registration import dataset_names
from idl_hf.rows.builder import IDLBuilder

SAMPLE_DATA = Path(__file__).parents[1] / "sample_data"
NO_RESULT = "This is no result: its dialogues are the package's sample, which was written to show that all of it runs."
_CODE = ("idl_hf", "dataset_scripts", "metrics", "examples", "setup.cfg")  # of a checkout, what an evaluation runs

Files = dict[str, str]  # the sha256 of files by their name


def raw_files(dataset_name: str, data_dir: str | None, options: Mapping[str, object]) -> Files:
    """Return the raw files that the rows of a dataset are made of or, where it is downloaded, what is published; {} of
    a dataset on the Hub."""
    builder = load_dataset_builder(dataset_name, "sessions", data_dir=data_dir, **options)
    if not isinstance(builder, IDLBuilder):
        return {}
    if builder.config.data_files is None:
        return {url.rpartition("/")[2]: sha256 for url, sha256 in builder.DOWNLOADS}
    files = [Path(file) for of_split in builder.config.data_files.values() for file in of_split]
    above = os.path.commonpath([file.parent for file in files])  # where they lie tells of this machine only
    return {file.relative_to(above).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def is_of_sample_data(data: Mapping[str, Files]) -> bool:
    """Tell whether any of the raw files, by dataset, is one of the package's sample dialogues."""
    sample = {hashlib.sha256(file.read_bytes()).hexdigest() for file in SAMPLE_DATA.glob("*.jsonl")}
    return any(sample & set(files.values()) for files in data.values())


def provenance(data: Mapping[str, Files]) -> dict[str, object]:
    """Return, as settings of a report, what it is made from and with. data: raw files by dataset."""
    built_in = [name for name in data if name in dataset_names()]
    return {
        "is_result": not is_of_sample_data(data),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "idl_hf": {"version": idl_hf.__version__, "commit": commit(Path(__file__).parents[2])},
        "code": {
            "rows": {name: code_identity(f"idl_hf.dataset_scripts.{name}") for name in built_in},
            "training": code_identity("idl_hf.training.stages"),
            "measuring": code_identity("idl_hf.evaluation.scores"),
            "metrics": code_identity("idl_hf.metrics"),  # which measuring loads by name
        },
        "data": {name: dict(files) for name, files in data.items()},
        "libraries": libraries(),
        "machine": machine(),
    }


@functools.cache
def commit(checkout: Path) -> str | None:
    """Return the git commit of a checkout of this package, with "modified" where its code is another by now; None
    where it is no checkout, such as an installed package within somebody's repository."""
    top = _git(checkout, "rev-parse", "--show-toplevel")
    head = _git(checkout, "rev-parse", "HEAD")
    if not head or not top or Path(top).resolve() != checkout.resolve():
        return None
    return f"{head}, modified" if _git(checkout, "status", "--porcelain", "--", *_CODE) else head


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:  # git is not installed
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
