"""Which files of a folder are which split, and whether a download is what its publisher published."""

import glob
import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from idl_hf.cache import write_whole
from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.schema import Dialogue

_SPLITS = {"train": ("train",), "validation": ("valid", "validation", "val", "dev"), "test": ("test",)}
_COMPRESSED = {
    b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
}  # fmt: skip
MAX_UNPACKED = 4 << 30  # bytes; a corpus of text that unpacks to more is not one that is read here
_DAMAGED = (
    *(tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError),
    *(FileExistsError, IsADirectoryError, NotADirectoryError, ValueError),  # names that no folder can hold together
)


def find_splits(folder: str | Path, names: Callable[[str], list[str]], expected: str) -> dict[str, list[str]]:
    """Return {split: [absolute file]} for the splits that a folder has.
    names: gives the file names to try, the best first, for a split's prefix ("train", "valid", ...). Raises
    CorpusError with what was found where there is no split."""
    return find_parts(folder, [names], expected)


def find_parts(folder: str | Path, parts: Sequence[Callable[[str], list[str]]], expected: str) -> dict[str, list[str]]:
    """Return what `find_splits` does for splits in several files: of each part the best name that is there."""
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise CorpusError(f"The folder '{root}' does not exist. data_dir must be a folder with {expected}.")
    files: dict[str, list[str]] = {}
    for split, prefixes in _SPLITS.items():
        for names in parts:
            paths = [root / name for prefix in prefixes for name in names(prefix)]
            present = next((path for path in paths if path.is_file()), None)
            if present is not None:
                files.setdefault(split, []).append(str(present))
    if not files:
        names_there = sorted(path.name for path in root.iterdir())
        shown = ", ".join(names_there[:12]) + (" ..." if len(names_there) > 12 else "") or "nothing"
        raise CorpusError(f"Expected {expected} in '{root}', found: {shown}.")
    return files


def open_text(path: str | Path) -> BinaryIO:
    """Return a file of text, opened for its bytes. Raises CorpusError, with what to do, for one that is compressed or
    in UTF-16 or UTF-32, of which no line can be read."""
    with open(path, "rb") as file:
        head = file.read(4096)
    packed = next((kind for start, kind in _COMPRESSED.items() if head.startswith(start)), None)
    # Half of the bytes of Latin letters are 0 in UTF-16, three quarters in UTF-32; a byte order mark is no must
    wide = head.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")) or any(
        half.count(0) > 0.4 * len(half) for half in (head[::2], head[1::2]) if len(half) > 7
    )
    if not packed and not wide:
        return open(path, "rb")
    if packed:
        raise CorpusError(f"{path}:1: Expected plain text, found a {packed} file. Unpack it and pass what it holds.")
    raise CorpusError(
        f"{path}:1: Expected UTF-8 text, found UTF-16 or UTF-32, as PowerShell and Notepad write it. Save the file as "
        "UTF-8, for example with 'iconv -f UTF-16 -t UTF-8'."
    )


def text_lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of each line that is not blank, without byte order mark and end."""
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            if (line := line.removeprefix(b"\xef\xbb\xbf").strip(b"\r\n")).strip():
                yield number, line


def each_once(dialogues: Iterable[Dialogue], log: ErrorLog) -> Iterator[Dialogue]:
    """Yield the dialogues of the files of a split; one whose ids another has is reported to `log`."""
    seen: dict[tuple[str, str], str] = {}
    for dialogue in dialogues:
        key = (dialogue.person_id, dialogue.dialogue_id)
        if key in seen:
            file, _, line = dialogue.source.rpartition(":")
            name = dialogue.dialogue_id[:80]
            log.report(
                file, int(line), f"The dialogue_id '{name}' occurs twice for this person, first at {seen[key]}."
            )
        else:
            seen[key] = dialogue.source
            yield dialogue


def _sha256(path: str | Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_sha256(path: str | Path, expected: str) -> None:
    """Raise CorpusError for a file that has another sha256 than expected."""
    if (actual := _sha256(path)) != expected:
        raise CorpusError(
            f"'{path}' has the sha256 {actual}, expected {expected}: the download is damaged or not the published "
            "file. Delete it and try again, or pass data_dir='<folder>' with files you trust."
        )


def contents_identity(data_files: str | Path | Sequence | Mapping) -> str:
    """Return what tells local files from others: the hash of what they hold. data_files: names or patterns, also in
    lists and by split."""
    if isinstance(data_files, Mapping):
        return repr([(str(split), contents_identity(files)) for split, files in data_files.items()])
    if not isinstance(data_files, str | Path):
        return repr([contents_identity(file) for file in data_files])
    return repr([_sha256(file) for file in local_files(data_files)])


def local_files(data_files: str | Path | Sequence | Mapping) -> list[str]:
    """Return the files that names or patterns, also in lists and by split, are of on this machine."""
    if isinstance(data_files, Mapping):
        return [file for files in data_files.values() for file in local_files(files)]
    if not isinstance(data_files, str | Path):
        return [file for files in data_files for file in local_files(files)]
    name = str(data_files)
    return [name] if os.path.isfile(name) else sorted(filter(os.path.isfile, glob.glob(name)))


def unpack(archive: str | Path, folder: str | Path, limit: int = MAX_UNPACKED) -> str:
    """Return the folder with what a .tgz holds, unpacked unless the folder is there already.
    It is filled elsewhere and then moved, so that it is there whole or not at all. Raises CorpusError for an archive
    that cannot be read, that unpacks to more than `limit` bytes, or that would write or link outside the folder."""
    if not Path(folder).is_dir():
        with write_whole(folder) as content:
            content.mkdir()
            _extract(archive, content, limit)
    return str(folder)


def _extract(archive: str | Path, folder: Path, limit: int) -> None:
    size = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                size += member.size + tarfile.BLOCKSIZE  # with its header, so that empty files count too
                if size > limit:
                    raise tarfile.TarError(f"it unpacks to more than {limit:,} bytes")
                name = PurePosixPath(member.name)
                # The filter would make an absolute path relative, and let pass the others
                if name.is_absolute() or ".." in name.parts or member.size < 0:
                    raise tarfile.TarError(f"{member.name!r} is not a file within it")
                tar.extract(member, folder, filter="data")
    except _DAMAGED as error:
        raise CorpusError(
            f"'{archive}' cannot be unpacked ({error}). Expected a whole .tgz of plain files and folders. "
            "Delete it and try again, or pass data_dir='<folder>' with its files."
        ) from error
