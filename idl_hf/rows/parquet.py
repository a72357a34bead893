"""The rows of a dataset as Parquet files: `idl-hf build`."""

from dataclasses import dataclass, field
from pathlib import Path

from idl_hf.arguments import option
from idl_hf.cache import write_whole
from idl_hf.models.identity import RECIPE_FILE
from idl_hf.rows.arguments import DatasetArguments
from idl_hf.rows.made import save_made_with


@dataclass
class BuildArguments(DatasetArguments):
    """Which rows to make."""

    configs: list[str] = field(default_factory=lambda: ["msl"], metadata={"help": "Of sessions, msl, dpoc."})
    num_proc: int | None = option(None, "Number of processes.")
    output_dir: str = field(kw_only=True, metadata={"help": "Folder for <config>/<split>.parquet."})


def build_files(args: BuildArguments) -> None:
    """Write a file for each config and split, and print how many rows it holds."""
    for config in args.configs:
        splits = args.load_all(config, args.num_proc)
        folder = Path(args.output_dir, config)
        _refuse_other_splits(folder, list(splits))
        (folder / RECIPE_FILE).unlink(missing_ok=True)  # of earlier rows, until these are whole
        for split, rows in splits.items():
            target = Path(args.output_dir, config, f"{split}.parquet")
            with write_whole(target) as partial:
                rows.to_parquet(partial)
            print(f"{target}: {len(rows)} rows")
        if (options := args.made_with(config)) is not None:
            save_made_with(folder, options)


def _refuse_other_splits(folder: Path, splits: list[str]) -> None:
    """Raise ValueError where a folder holds splits besides these, which would be taken for some of the same rows."""
    if others := sorted({file.stem for file in folder.glob("*.parquet")} - set(splits)):
        raise ValueError(
            f"'{folder}' holds {', '.join(others)} of another build, and this one makes {', '.join(splits)}. "
            "Delete the folder or pass another --output_dir."
        )
