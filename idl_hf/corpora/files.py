"""Which files of a folder are which split, and whether a download is what its publisher published."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from idl_hf.corpora.errors import CorpusError

_SPLITS = {"train": ("train",), "validation": ("valid", "validation", "val", "dev"), "test": ("test",)}


def find_splits(folder: str | Path, names: Callable[[str], list[str]], expected: str) -> dict[str, list[str]]:
    """{split: [absolute file]} for the splits present. `names` gives the file names to try, the best first, for a split's
    prefix ("train", "valid", ...). Raises CorpusError with what was found where there is none."""
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise CorpusError(f"The folder '{root}' does not exist. data_dir must be a folder with {expected}.")
    found: dict[str, list[str]] = {}
    for split, prefixes in _SPLITS.items():
        paths = [root / name for prefix in prefixes for name in names(prefix)]
        present = next((path for path in paths if path.is_file()), None)
        if present is not None:
            found[split] = [str(present)]
    if not found:
        names_there = sorted(path.name for path in root.iterdir())
        shown = ", ".join(names_there[:12]) + (" ..." if len(names_there) > 12 else "") or "nothing"
        raise CorpusError(f"Expected {expected} in '{root}', found: {shown}.")
    return found


def check_sha256(path: str | Path, expected: str) -> None:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    found = digest.hexdigest()
    if found != expected:
        raise CorpusError(
            f"'{path}' has the sha256 {found}, expected {expected}: the download is damaged or not the published file. "
            "Delete it and try again, or pass data_dir='<folder>' with files you trust."
        )
