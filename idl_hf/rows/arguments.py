"""The options that name a dataset, for all verbs: which, where its raw files lie, and how its rows are made."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idl_hf.arguments import option
from idl_hf.rows.made import files_of, is_builder, is_folder_of_rows, made_with, shaping_options

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_UNKNOWN_SPLIT = re.compile(r"Unknown split \"(?P<split>.*)\"\. Should be one of \[(?P<there>.*)\]")
_ABSENT = {"data_dir", "split", "num_proc"}  # what None means nothing of; an option of the rows it is a value of
_OF_LOADING = {"split", "num_proc"}  # what `load_dataset` takes whatever rows there are
DEFAULT_DATASET = "idl_hf/convai2_idl"
BUILT_IN_HELP = "idl_hf/ with convai2_idl, movie_idl, light_idl, msc_idl or dialogues_idl"
DATASET_HELP = f"{BUILT_IN_HELP}, or a Hub dataset."
DATA_DIR_HELP = "Folder with the raw files of the corpus."
OPTIONS_HELP = 'Builder options as JSON, such as {"targets": "all", "encoder": "offline"}.'


@dataclass
class DatasetArguments:
    """Which dataset."""

    dataset_name: str = option(DEFAULT_DATASET, DATASET_HELP)
    data_dir: str | None = option(None, DATA_DIR_HELP)
    dataset_options: dict | str | None = option(None, OPTIONS_HELP)

    def __post_init__(self) -> None:
        self.dataset_options = parse_options(self.dataset_options)

    def builder_options(self, config: str) -> dict[str, Any]:
        """Return what `load_dataset` takes beside the name and the config."""
        where = {} if self.data_dir is None else {"data_dir": self.data_dir}
        return {**parse_options(self.dataset_options), **where}

    def load(self, config: str, split: str) -> "Dataset":
        """Return the rows of a split."""
        return self._load(config, split=split)

    def load_all(self, config: str, num_proc: int | None = None) -> "DatasetDict":
        """Return the rows of all splits; `num_proc` processes build what is not in the cache."""
        return self._load(config, num_proc=num_proc)

    def row_options(self, config: str) -> dict[str, Any]:
        """Return the options that shape prompts, for chats to follow; the encoder too, which differs by machine."""
        made = self.made_with(config)
        return shaping_options({}, config) if made is None else made

    def made_with(self, config: str) -> dict[str, Any] | None:
        """Return the options that shape prompts, None of rows that are made already and do not tell."""
        if is_builder(self.dataset_name):
            return shaping_options(parse_options(self.dataset_options), config)
        return made_with(self.dataset_name, config)

    def _load(self, config: str, **options: str | int | None) -> Any:
        return load(self.dataset_name, config, **self.builder_options(config), **options)


def load(name: str, config: str, **options: Any) -> Any:
    """Return what `load_dataset` does, also of a folder that `idl-hf build` wrote. Raises ValueError for options of
    rows that are made already, and for a split that is not there, naming those that are."""
    from datasets import load_dataset

    given = {option: value for option, value in options.items() if value is not None or option not in _ABSENT}
    if is_folder_of_rows(name, config):
        if of_builder := sorted(set(given) - _OF_LOADING):
            raise ValueError(
                f"'{name}' holds rows that are made already, and {', '.join(of_builder)} needs a builder. Pass what "
                "they were made of, --dataset_name and --data_dir: `datasets` has the same rows in its cache."
            )
        # By its files: a README that was downloaded with them may name others
        name, config, given = "parquet", "default", {**given, "data_files": files_of(name, config)}
    try:
        return load_dataset(name, config, **given)
    except ValueError as error:
        unknown = _UNKNOWN_SPLIT.match(str(error))
        if unknown is None:
            raise
        there = unknown["there"].replace("'", "")
        raise ValueError(
            f"'{name}' has no split '{unknown['split']}', only: {there}. Pass --split with one of these (in a "
            "training --train_split and --eval_split)."
        ) from error


def parse_options(options: Mapping[str, Any] | str | None, name: str = "--dataset_options") -> dict[str, Any]:
    """Return options given as a mapping (YAML) or as JSON (command line) as a dict.
    name: of the argument that holds them. Raises ValueError for anything else."""
    if isinstance(options, str):
        try:
            options = json.loads(options)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name} must be a JSON object, found {options!r}: {error}.") from error
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"{name} must be a JSON object, found {options!r}.")
    return dict(options or {})
