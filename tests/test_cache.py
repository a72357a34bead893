"""Keys that hold the code, values that are computed once, files that are whole or not there."""

import logging
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idl_hf.cache import Cache, _sealed, code_identity, digest, write_whole

ROOT = Path(__file__).parents[1]

# Each cache with what its keys name, a file of the closure and one outside
KEYED = {
    "rows of convai2": ("idl_hf.dataset_scripts.convai2_idl", "idl_hf/corpora/convai2.py", "idl_hf/corpora/msc.py"),
    "rows of movies": (
        "idl_hf.dataset_scripts.movie_idl", "idl_hf/corpora/cornell_movie.py", "idl_hf/corpora/convai2.py",
    ),
    "references": ("idl_hf.rows.references", "idl_hf/schema.py", "idl_hf/rows/builder.py"),
    "sentence vectors": ("idl_hf.encoding", "idl_hf/encoding.py", "idl_hf/prompting.py"),
    "triples": ("idl_hf.persona.extractor", "idl_hf/persona/triples.py", "idl_hf/spi.py"),
    "adapters": ("idl_hf.training.stages", "idl_hf/prompting.py", "idl_hf/chat/persona_chat.py"),
    "measurements": ("idl_hf.models", "idl_hf/models/tree_decoding.py", "idl_hf/evaluation/scores.py"),
    "NLI labels": ("idl_hf.metrics.coh_con", "metrics/coh_con/coh_con.py", "metrics/p_co/p_co.py"),
    "reference log-probs": ("idl_hf.dpoc", "idl_hf/packing/attention.py", "idl_hf/training/stages.py"),
}  # fmt: skip


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The package's code in a folder of its own, which may be edited."""
    for name in ("idl_hf", "dataset_scripts", "metrics"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.jsonl"))
    return tmp_path


def identities(checkout: Path, modules: list[str]) -> list[str]:
    """What the copied package says, in a process of its own."""
    code = f"from idl_hf.cache import code_identity; print(*map(code_identity, {modules!r}), sep='\\n')"
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=checkout, env={"PYTHONPATH": str(checkout)}, capture_output=True, text=True, check=True
    ).stdout.split()


def test_every_cache_is_keyed_by_the_closure_of_its_code_and_by_nothing_else(checkout):
    modules = [module for module, _, _ in KEYED.values()]
    before = identities(checkout, modules)
    assert len(set(before)) == len(KEYED)
    for name, (module, inside, outside) in KEYED.items():
        for file, changes in ((inside, True), (outside, False)):
            original = (checkout / file).read_bytes()
            (checkout / file).write_bytes(original + b"\n# an edit\n")
            changed = identities(checkout, [module]) != [before[modules.index(module)]]
            (checkout / file).write_bytes(original)
            assert changed == changes, f"{name}: an edit of {file}"
    assert identities(checkout, modules) == before


@pytest.mark.parametrize("name", KEYED)
def test_the_code_that_keeps_things_names_that_module(name):
    module = KEYED[name][0]
    where = "idl_hf/registration.py" if module.startswith("idl_hf.dataset_scripts") else None
    wanted = "code_identity(module" if where else f'code_identity("{module}"'
    files = [ROOT / where] if where else ROOT.glob("idl_hf/**/*.py")
    assert any(wanted in file.read_text(encoding="utf-8") for file in files)


def package(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / "idl_hf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def small(tmp_path) -> Path:
    """A package of a few modules with this cache.py."""
    package(
        tmp_path,
        {
            "__init__.py": "", "cache.py": (ROOT / "idl_hf" / "cache.py").read_text(), "leaf.py": "", "lazy.py": "",
            "typed.py": "", "other.py": "", "inner/__init__.py": "", "inner/one.py": "", "inner/two.py": "",
            "near/__init__.py": "", "near/there.py": "",
            "root.py": (
                "from typing import TYPE_CHECKING\nfrom idl_hf import leaf\nfrom .near import there\n"
                "if TYPE_CHECKING:\n    from idl_hf import typed\n"
                "def f():\n    from idl_hf.inner import something\n    import idl_hf.lazy\n"
            ),
        },
    )  # fmt: skip
    return tmp_path


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("root.py", True), ("leaf.py", True), ("lazy.py", True), ("inner/two.py", True), ("near/there.py", True),
        ("near/__init__.py", True), ("typed.py", False), ("other.py", False), ("__init__.py", False),
    ],
)  # fmt: skip
def test_the_closure_is_read_off_the_source(small, file, counts):
    before = identities(small, ["idl_hf.root"])
    with (small / "idl_hf" / file).open("a") as source:
        source.write("x = 1\n")
    assert (identities(small, ["idl_hf.root"]) != before) == counts


def test_an_edit_counts_byte_by_byte_and_not_by_its_time(small):
    file = small / "idl_hf" / "leaf.py"
    before, (access, modified) = identities(small, ["idl_hf.root"]), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_text(" ")
    os.utime(file, ns=(access, modified))
    assert identities(small, ["idl_hf.root"]) != before


def test_versions_of_libraries_count_and_an_unknown_module_is_named():
    assert code_identity("idl_hf.spi", "numpy") != code_identity("idl_hf.spi", "scikit-learn")
    with pytest.raises(ValueError, match=r"There is no module 'idl_hf\.spy'"):
        code_identity("idl_hf.spy")


def test_values_are_computed_once_and_each_part_is_kept(tmp_path):
    cache, asked = Cache(tmp_path / "folder" / "c.sqlite"), []

    def compute(places):
        asked.append(places)
        for place in places:
            if place == 3:
                raise KeyboardInterrupt
            yield {place: b"value %d" % place}

    keys = [b"a", b"b", b"a", b"c"]
    with pytest.raises(KeyboardInterrupt):
        cache.values(keys, compute)
    assert cache.known(keys) == {b"a", b"b"}
    values = cache.values(keys, lambda places: [{place: b"anew"} for place in places])
    assert values == [b"value 0", b"value 1", b"value 0", b"anew"]
    assert asked == [[0, 1, 3]]
    assert cache.values([], compute) == []
    assert cache.values(keys, lambda places: pytest.fail("all are known")) == values


def test_a_key_that_is_there_keeps_its_value(tmp_path):
    cache = Cache(tmp_path / "c.sqlite")
    cache.write({b"a": b"first"})
    cache.write({b"a": b"second"})
    assert cache.read([b"a", b"b"]) == {b"a": b"first"}


def write_many(path: Path, start: int) -> None:
    cache = Cache(path)
    for i in range(start, start + 100):
        cache.write({b"%d" % i: b"x"})


def test_several_processes_write_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_many, args=(tmp_path / "c.sqlite", 50 * i)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    with sqlite3.connect(tmp_path / "c.sqlite") as connection:
        assert connection.execute("SELECT COUNT(*) FROM entries").fetchone() == (200,)


def test_a_digest_tells_parts_apart():
    assert len({digest("a", "b"), digest("ab"), digest("a", ("b",)), digest("a", b"b")}) == 4


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_written_is_whole_or_not_there(tmp_path, kind):
    def write(partial: Path, text: str) -> None:
        if kind == "folder":
            partial.mkdir()
            partial = partial / "inside"
        partial.write_text(text)

    target = tmp_path / "new" / "target.txt"
    with suppress(RuntimeError), write_whole(target) as partial:
        write(partial, "half")
        raise RuntimeError
    assert list((tmp_path / "new").iterdir()) == []
    with write_whole(target) as partial:
        write(partial, "whole")
        assert not target.exists()
    assert (target / "inside" if kind == "folder" else target).read_text() == "whole"
    assert list((tmp_path / "new").iterdir()) == [target]


def test_a_file_is_replaced_and_a_folder_that_another_process_made_stays(tmp_path):
    for text in ("first", "second"):
        with write_whole(tmp_path / "file") as partial:
            partial.write_text(text)
        with write_whole(tmp_path / "folder") as partial:
            partial.mkdir()
            (partial / "inside").write_text(text)
    assert (tmp_path / "file").read_text() == "second"
    assert (tmp_path / "folder" / "inside").read_text() == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


# Damage


KEYS = [b"key %d" % i for i in range(40)]
VALUES = {key: key * 50 for key in KEYS}


def filled(path: Path) -> Cache:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    cache = Cache(path)
    cache.write(VALUES)
    return cache


def made(cache: Cache) -> list[bytes]:
    return cache.values(KEYS, lambda places: [{place: VALUES[KEYS[place]] for place in places}])


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_a_file_is_damaged_its_values_are_the_same_again(data, tmp_path):
    cache = filled(tmp_path / "c.sqlite")
    content = bytearray(cache.path.read_bytes())
    damage = data.draw(st.sampled_from(["flip", "cut", "zero", "foreign", "empty"]))
    if damage == "flip":
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=30)):
            content[place] ^= data.draw(st.integers(1, 255))
    elif damage == "zero":
        start = data.draw(st.integers(0, len(content) - 1))
        content[start : start + 5000] = bytes(len(content[start : start + 5000]))
    else:
        cut = {"cut": content[: data.draw(st.integers(0, len(content) - 1))], "foreign": b"{}" * 999, "empty": b""}
        content = cut[damage]
    cache.path.write_bytes(bytes(content))
    assert made(cache) == list(VALUES.values())
    assert made(cache) == list(VALUES.values())
    assert cache.read(KEYS).items() <= VALUES.items()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET value = 'text'", "UPDATE entries SET value = NULL", "UPDATE entries SET value = x''",
        "UPDATE entries SET value = (SELECT MIN(value) FROM entries)", "DROP TABLE entries",
        "UPDATE entries SET value = substr(value, 1, 100)", "ALTER TABLE entries RENAME COLUMN value TO other",
    ],
)  # fmt: skip
def test_a_poisoned_file_is_named_and_its_values_are_made_anew(change, tmp_path, caplog):
    cache = filled(tmp_path / "c.sqlite")
    with sqlite3.connect(cache.path) as connection:
        connection.execute(change)
    with caplog.at_level(logging.WARNING):
        assert made(cache) == list(VALUES.values())
        assert made(cache) == list(VALUES.values())
    named = [record.getMessage() for record in caplog.records if str(cache.path) in record.getMessage()]
    assert len(named) == int("DROP" not in change)


def test_a_value_that_its_kind_refuses_is_made_anew(tmp_path):
    Cache(tmp_path / "c.sqlite").write({b"a": b"bad", b"b": b"good"})
    cache = Cache(tmp_path / "c.sqlite", lambda value: value == b"good")
    assert cache.known([b"a", b"b"]) == {b"b"}
    assert cache.values([b"a"], lambda places: [{0: b"good"}]) == [b"good"]


FULL = """
import resource, sys
from pathlib import Path
from idl_hf.cache import Cache, write_whole

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
folder = Path(sys.argv[1])
try:
    if sys.argv[3] == "cache":
        for i in range(99):
            Cache(folder / "c.sqlite").write({b"key %d" % i: b"key %d" % i * 50})
    else:
        with write_whole(folder / "file") as partial:
            partial.write_bytes(bytes(99_999))
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["cache", "file"])
@pytest.mark.parametrize("room", [0, 5000, 12_000])
def test_a_full_disk_is_a_sentence_and_after_making_room_all_is_there(kind, room, tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), str(room), kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(said.stdout.splitlines()) == 1, said
    assert str(tmp_path) in said.stdout
    assert "Make room on its disk" in said.stdout
    if kind == "cache":
        assert made(Cache(tmp_path / "c.sqlite")) == list(VALUES.values())
    else:
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "c.sqlite", tmp_path, Path("/proc/nowhere/c.sqlite")):
        with pytest.raises(OSError, match=r"cannot be read or written: .*IDL_HF_CACHE"):
            Cache(place).write(VALUES)


def test_a_cache_that_cannot_be_written_is_read_and_else_a_sentence(tmp_path, monkeypatch):
    cache, connect = filled(tmp_path / "c.sqlite"), sqlite3.connect
    only_read = lambda path, **options: connect(f"file:{path}?mode=ro", uri=True, **options)  # noqa: E731
    monkeypatch.setattr(sqlite3, "connect", only_read)  # root may write everywhere
    assert made(cache) == list(VALUES.values())
    with pytest.raises(OSError, match=r"readonly.*IDL_HF_CACHE"):
        cache.write({b"new": b"value"})


def bytes_beside(file: Path) -> bytes:
    """All that the file and those beside it hold, -wal, -shm and -journal among them."""
    return b"".join(path.read_bytes() for path in sorted(file.parent.glob(f"{file.name}*")))


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_what_is_removed_leaves_no_byte(mode, tmp_path):
    file = tmp_path / "kept.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute(f"PRAGMA journal_mode = {mode}")
    cache, keys = Cache(file), [digest(i) for i in range(2000)]
    cache.write({key: f"the tale number {i} of the heron".encode() for i, key in enumerate(keys)})
    assert b"the tale number 77 of" in bytes_beside(file)
    assert cache.remove([keys[77], keys[1500], keys[77], digest("unknown")]) == 2
    kept = bytes_beside(file)
    assert b"number 77 of" not in kept
    assert b"number 1500 of" not in kept
    assert cache.known(keys) == set(keys) - {keys[77], keys[1500]}
    assert cache.remove([keys[77]]) == 0


def test_a_write_ahead_log_that_another_process_holds_open_is_emptied(tmp_path):
    file, key = tmp_path / "kept.sqlite", digest("one")
    cache = Cache(file)
    cache.write({})
    with sqlite3.connect(file) as other:
        other.execute("PRAGMA journal_mode = wal")
        assert other.execute("SELECT count(*) FROM entries").fetchall() == [(0,)]
        cache.write({key: b"the tale of the heron"})
        assert b"heron" in (tmp_path / "kept.sqlite-wal").read_bytes()
        assert cache.remove([key]) == 1
        assert b"heron" not in bytes_beside(file)


def test_a_copy_in_a_page_that_was_split_goes_too(tmp_path):
    """Where entries come in any order, pages are split, and the free space of a page may keep what has moved."""
    file = tmp_path / "kept.sqlite"
    texts = {digest(i): f"the tale number {i} of the heron".encode() for i in range(2000)}
    cache = Cache(file)
    cache.write({})
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        rows = [(key, _sealed(key, text)) for key, text in texts.items()]
        connection.executemany("INSERT INTO entries VALUES (?, ?)", rows)
    before = bytes_beside(file)
    doubled = [key for key, text in texts.items() if before.count(text) > 1]
    assert doubled
    assert cache.remove(doubled) == len(doubled)
    after = bytes_beside(file)
    assert [texts[key] for key in doubled if texts[key] in after] == []


def test_a_removal_that_another_process_hinders_is_a_sentence(tmp_path, monkeypatch):
    file, connect = tmp_path / "kept.sqlite", sqlite3.connect
    cache = Cache(file)
    cache.write({digest("one"): b"the tale of the heron"})
    with sqlite3.connect(file) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM entries").fetchall()
        monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.1))
        with pytest.raises(OSError, match="locked"):
            cache.remove([digest("one")])
    assert cache.remove([digest("one")]) == 1
