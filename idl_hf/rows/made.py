"""Rows that are made already, in a folder of `idl-hf build` or on the Hub: what they were made with, beside them."""

import glob
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from idl_hf.cache import write_whole
from idl_hf.encoding import default_encoder
from idl_hf.models.identity import RECIPE_FILE, check_recipe
from idl_hf.registration import ORGANIZATION, dataset_names
from idl_hf.rows.options import check_options, option_names, with_preset


def shaping_options(given: Mapping[str, Any], config: str) -> dict[str, Any]:
    """Return those of a builder's options that shape prompts: what a preset sets too, and the encoder, whose default
    differs by machine. Without `negatives`, which names a folder."""
    shaping = set(option_names()) - {"negatives"}
    named = {name: value for name, value in with_preset(given, shaping, config).items() if name in shaping}
    return {"encoder": default_encoder(), **named}


def is_builder(name: str) -> bool:
    """Tell whether a name is that of a built-in dataset, whose rows are made when they are asked for."""
    return name in (f"{ORGANIZATION}/{known}" for known in dataset_names()) and not Path(name).exists()


def is_folder_of_rows(name: str, config: str) -> bool:
    """Tell whether a name is that of a folder with rows of this config: of `idl-hf build`, or copied from the Hub."""
    return any(Path(name, config).glob("*.parquet"))


def files_of(name: str, config: str) -> dict[str, list[str]]:
    """Return the files of each split in a folder of rows, as `load_dataset("parquet", data_files=...)` takes them.
    Raises ValueError where parts of one are missing."""
    found: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(Path(name, config).glob("*.parquet")):
        found[file.stem.partition("-")[0]].append(file)
    for split, files in found.items():
        of = {file.stem.rpartition("-of-")[2] for file in files if "-of-" in file.stem}
        if (of or len(files) > 1) and of != {f"{len(files):05d}"}:
            raise ValueError(
                f"The {split} rows in '{Path(name, config)}' are not whole, or of two builds: found "
                f"{', '.join(file.name for file in files[:5])}. Build them again, into another folder."
            )
    return {split: [glob.escape(str(file)) for file in files] for split, files in found.items()}


def save_made_with(folder: str | Path, options: Mapping[str, Any]) -> None:
    """Save beside the rows of a config what they were made with."""
    with write_whole(Path(folder, RECIPE_FILE)) as partial:
        partial.write_text(made_with_text(options), encoding="utf-8")


def made_with_text(options: Mapping[str, Any]) -> str:
    """Return what lies beside rows that were made with these options."""
    return json.dumps({"options": dict(options)}, indent=2, sort_keys=True)


def made_with(name: str, config: str) -> dict[str, Any] | None:
    """Return the options that rows were made with, in a folder or on the Hub; None where nothing says so.

    Raises ValueError where it holds anything else, and OSError where the Hub cannot be reached.
    """
    path = Path(name, config, RECIPE_FILE) if Path(name).exists() else _from_hub(name, f"{config}/{RECIPE_FILE}")
    if path is None or not path.is_file():
        return None
    where = f"{RECIPE_FILE} of the {config} rows of '{name}'"
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON ({error}). Build the rows again, or delete the file.") from error
    options = check_recipe(recipe, where, foreign=not Path(name).exists()).get("options", {})
    check_options(where, options)
    return options


def _from_hub(name: str, file: str) -> Path | None:
    if "/" not in name:  # a dataset of somebody else, or a format such as "parquet"
        return None
    try:
        return Path(hf_hub_download(name, file, repo_type="dataset"))
    except LocalEntryNotFoundError as error:
        kept = try_to_load_from_cache(name, file, repo_type="dataset")
        if kept is not None and not isinstance(kept, str):  # the Hub said before that there is no such file
            return None
        raise OSError(
            f"The Hub could not be reached for {file} of '{name}', which tells what its rows were made with. Try "
            "again with a connection; once read it is kept on this machine."
        ) from error
    except (EntryNotFoundError, RepositoryNotFoundError, HFValidationError):
        return None  # whether there are such rows is for `load_dataset` to say
