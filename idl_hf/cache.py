"""How things are kept on disk: where, under which key, and whole or not at all.

Nothing else in the package decides that. A key holds everything that a value depends on, code included, so that what
is read back is what would be computed now.
"""

import ast
import errno
import functools
import glob
import hashlib
import logging
import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

_Result = TypeVar("_Result")
logger = logging.getLogger(__name__)
_PACKAGE = Path(__file__).parent
_QUERY_SIZE = 500  # SQLite's oldest limit on parameters is 999
_SEAL_SIZE = 16
# What SQLite says of a file that is sound, but out of reach
_OUT_OF_REACH = ("full", "readonly", "unable to open", "disk I/O", "locked")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def cache_folder() -> Path:
    """Return where models, vectors, references and measurements are kept: `$IDL_HF_CACHE`, else `$HF_HOME/idl_hf`."""
    hf_home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    return Path(os.environ.get("IDL_HF_CACHE") or Path(hf_home, "idl_hf")).expanduser()


class Cache:
    """Bytes by key in one SQLite file. Several processes may read and write at once; one that is killed leaves what it
    had written.

    Each value has a checksum of itself and its key. One that is damaged, or that `is_sound` refuses, is named in the
    log and counts as not there; a file that is damaged is begun anew. Raises OSError where the file cannot be opened
    or written, such as on a full disk.
    """

    def __init__(self, path: Path, is_sound: Callable[[bytes], bool] = lambda value: True) -> None:
        self.path = path
        self._is_sound = is_sound

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values of those keys that are there."""
        kept, damaged = {}, []
        for key, sealed in self._connected(lambda connection: list(_select(connection, keys))):
            value = sealed[_SEAL_SIZE:] if isinstance(sealed, bytes) else b""
            if _sealed(key, value) == sealed and self._is_sound(value):
                kept[key] = value
            else:
                damaged.append((key, sealed))
        if damaged:
            logger.warning(f"{len(damaged)} values in the cache '{self.path}' are damaged and made anew.")
            delete = "DELETE FROM entries WHERE key = ? AND value IS ?"  # unless another process has replaced it
            self._connected(lambda connection: connection.executemany(delete, damaged))
        return kept

    def known(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of the keys that are there."""
        starts = range(0, len(keys), _QUERY_SIZE)  # a part at a time: all values at once may not fit into memory
        return {key for start in starts for key in self.read(keys[start : start + _QUERY_SIZE])}

    def write(self, values: Mapping[bytes, bytes]) -> None:
        """Add values; a key that is there keeps its own, so that of two processes both go by the first."""
        rows = [(key, _sealed(key, value)) for key, value in values.items()]
        insert = "INSERT OR IGNORE INTO entries VALUES (?, ?)"
        self._connected(lambda connection: connection.executemany(insert, rows))

    def remove(self, keys: Iterable[bytes]) -> int:
        """Remove the values of these keys and return how many there were; no byte of them is left in the file, nor in
        one beside it. Raises OSError where another process keeps it from being written anew."""
        rows = [(key,) for key in dict.fromkeys(keys)]

        def remove(connection: sqlite3.Connection) -> int:
            connection.execute("PRAGMA secure_delete = ON")
            before = connection.total_changes
            connection.executemany("DELETE FROM entries WHERE key = ?", rows)
            removed = connection.total_changes - before
            connection.commit()
            if removed:
                connection.execute("VACUUM")  # pages that were split before may hold a second copy
                (busy, *_), *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                if busy:
                    raise OSError("another process reads it; run the same again once that is done")
            return removed

        return self._connected(remove)

    def values(
        self, keys: Sequence[bytes], compute: Callable[[list[int]], Iterable[Mapping[int, bytes]]]
    ) -> list[bytes]:
        """Return the value of each key, computing those that are not there.

        compute: takes the places of keys without a value, each key once, and yields values by place. What it has
        yielded is on disk before it goes on, so that an interruption loses no more than one part.
        """
        values = self.read(list(dict.fromkeys(keys)))
        missing = {key: place for place, key in reversed(list(enumerate(keys))) if key not in values}
        made: dict[bytes, bytes] = {}
        for part in compute(sorted(missing.values())) if missing else ():
            written = {keys[place]: value for place, value in part.items()}
            self.write(written)
            made |= written
        kept = self.read(list(made))  # of two processes both go by the first
        values |= made | kept
        if len(kept) < len(made):
            self._begin_anew("what was written is not there")
            self.write(values)
        return [values[key] for key in keys]

    def _connected(self, use: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Return what `use` returns of a connection, which begins the file anew where it is damaged."""
        try:
            try:
                return self._attempt(use)
            except sqlite3.DatabaseError as error:
                if any(reason in str(error) for reason in _OUT_OF_REACH):
                    raise
                self._begin_anew(str(error))
                return self._attempt(use)
        except (sqlite3.DatabaseError, OSError) as error:
            raise OSError(
                f"The cache '{self.path}' cannot be read or written: {error}. Make room on its disk and let it be "
                "written, or set IDL_HF_CACHE to another folder; what was computed so far is kept."
            ) from error

    def _begin_anew(self, why: str) -> None:
        logger.warning(f"The cache '{self.path}' is damaged ({why}). It is begun anew.")
        for ending in ("", "-journal", "-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)

    def _attempt(self, use: Callable[[sqlite3.Connection], _Result]) -> _Result:
        # Opened anew each time: a connection must not be carried through a fork
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=120)) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
            return use(connection)


def _select(connection: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(keys), _QUERY_SIZE):
        batch = keys[start : start + _QUERY_SIZE]
        marks = ",".join("?" * len(batch))
        yield from connection.execute(f"SELECT key, value FROM entries WHERE key IN ({marks})", batch)


def _sealed(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(key + value, digest_size=_SEAL_SIZE).digest() + value


def digest(*parts: object) -> bytes:
    """Return the key of what is made of these parts: the hash of their `repr`."""
    return hashlib.sha256(repr(parts).encode()).digest()


@contextmanager
def write_whole(target: str | Path, private: bool = False) -> Iterator[Path]:
    """Yield another path beside `target` to write a file or folder to, which takes its place once the block is done.

    Where the block fails, `target` stays as it was. A folder does not replace one that is there: another process was
    first. private: it is a file for its owner alone to read, and what a process that was killed left of it is
    removed. Raises OSError, which says where, on a disk that is full or cannot be written.
    """
    target = Path(target) if Path(target).name else Path(target).resolve()  # "." has no name
    partial = target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if private:
            forget_remains(target)
            partial.touch(mode=0o600)
        yield partial
        try:
            partial.replace(target)
        except OSError:
            if not (partial.is_dir() and target.is_dir()):  # else another process was faster
                raise
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        advice = "Make room on its disk, or let the folder be written, and run the same command again."
        raise OSError(error.errno, f"'{target}' cannot be written: {error}. {advice}") from error
    finally:
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink(missing_ok=True)


def forget_remains(target: Path) -> None:
    """Remove what processes that were killed while they wrote `target` left beside it."""
    for partial in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        process = partial.name.removeprefix(f".{target.name}.").partition("-")[0]
        if not _runs(process):
            partial.unlink(missing_ok=True)


def _runs(process: str) -> bool:
    """Return whether a process of this machine may still run."""
    if os.name != "posix":  # elsewhere the signal that asks would end it
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except OSError:  # it is somebody else's, or the system does not tell
        return True
    return True


@functools.cache
def code_identity(module: str, *libraries: str) -> str:
    """Return what tells one version of a module's code from another, for keys of what it computes.

    The hash, byte by byte, of the source files in the module's import closure inside idl_hf, and of the versions of
    `libraries`, named as they are installed. The closure is read off the source: imports inside functions belong to
    it, those under TYPE_CHECKING do not. A package, named here or imported as a whole, means all of its files. Raises
    ValueError where there is no such module.
    """
    seen: dict[str, bytes] = {}
    pending = [module]
    if not _is_module(module):
        raise ValueError(f"There is no module '{module}' whose code could be hashed.")
    while pending:
        name = pending.pop()
        for path in _sources(name):
            place = path.relative_to(_PACKAGE.parent).as_posix()
            if place not in seen:
                seen[place] = path.read_bytes()
                pending += _imports(ast.parse(seen[place]).body, _name_of(path))
    content = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in sorted(libraries)).encode())
    for place, source in sorted(seen.items()):
        content.update(f"{place} {len(source)}\n".encode() + source)
    return content.hexdigest()[:32]


def _path_of(module: str) -> Path:
    """Where a module would lie, without its ending. In a checkout two packages lie beside idl_hf, not in it."""
    parts = module.split(".")[1:]
    inside = _PACKAGE.joinpath(*parts)
    beside = parts[:1] in (["dataset_scripts"], ["metrics"]) and not (_PACKAGE / parts[0]).is_dir()
    return _PACKAGE.parent.joinpath(*parts) if beside else inside


def _name_of(path: Path) -> str:
    parts = path.relative_to(_PACKAGE.parent).with_suffix("").parts
    name = ".".join(parts if parts[0] == _PACKAGE.name else (_PACKAGE.name, *parts))
    return name.removesuffix(".__init__")


def _is_module(name: str) -> bool:
    path = _path_of(name)
    return path.is_dir() or path.with_suffix(".py").is_file()


def _sources(name: str) -> list[Path]:
    """Return the files of a module with the `__init__` of its packages, which Python runs first; all of a package.
    That of idl_hf itself only names and registers things."""
    path = _path_of(name)
    if path.is_dir():
        return sorted(path.rglob("*.py"))
    packages = [_path_of(name.rsplit(".", up)[0]) / "__init__.py" for up in range(1, name.count("."))]
    return [path.with_suffix(".py"), *(package for package in packages if package.is_file())]


def _imports(nodes: Iterable[ast.AST], importer: str) -> Iterator[str]:
    """Yield the modules of idl_hf that some code imports."""
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from _imports(node.orelse, importer)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("idl_hf."))
        elif isinstance(node, ast.ImportFrom):
            package = importer if _path_of(importer).is_dir() else importer.rpartition(".")[0]
            base = ".".join(package.split(".")[: package.count(".") + 2 - node.level]) if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            if source == "idl_hf" or source.startswith("idl_hf."):
                modules = [f"{source}.{alias.name}" for alias in node.names]
                known = [name for name in modules if _is_module(name)]
                yield from known
                if len(known) < len(modules) and source != "idl_hf":
                    yield source
        else:
            yield from _imports(ast.iter_child_nodes(node), importer)
