"""Files of a split in several parts, and archives: sound ones, damaged ones and ones that mean harm."""

import gzip
import io
import os
import random
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.corpora.errors import CorpusError
from idl_hf.corpora.files import contents_identity, find_parts, unpack

# Parts


def parts(*names: str):
    return [lambda prefix, name=name: [f"{name}_{prefix}.txt", f"{name}/{prefix}.txt"] for name in names]


def test_a_split_has_the_parts_that_are_there_in_order(tmp_path):
    for name in ("b/train.txt", "a_train.txt", "a_valid.txt", "c/dev.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_parts(tmp_path, parts("a", "b", "c"), "a_train.txt")
    assert found == {
        "train": [str(tmp_path / "a_train.txt"), str(tmp_path / "b" / "train.txt")],
        "validation": [str(tmp_path / "a_valid.txt"), str(tmp_path / "c" / "dev.txt")],
    }


def test_of_a_part_the_first_name_that_is_there_is_taken(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "train.txt").touch()
    (tmp_path / "a_train.txt").touch()
    assert find_parts(tmp_path, parts("a"), "a_train.txt") == {"train": [str(tmp_path / "a_train.txt")]}


def test_a_folder_without_any_part_tells_what_it_holds(tmp_path):
    (tmp_path / "notes.md").touch()
    with pytest.raises(CorpusError, match=r"Expected a_train\.txt in .*found: notes\.md"):
        find_parts(tmp_path, parts("a", "b"), "a_train.txt")


# Archives


def member(name: str, data: bytes = b"", **header) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in header.items():
        setattr(info, field, value)
    return info, data


def tar_bytes(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Written header by header, since `tarfile` itself refuses some of what an attacker may write."""
    written = io.BytesIO()
    for info, data in members:
        written.write(info.tobuf(tarfile.GNU_FORMAT))
        written.write(data + b"\0" * (-len(data) % tarfile.BLOCKSIZE))
    return written.getvalue() + b"\0" * 2 * tarfile.BLOCKSIZE


SOUND = (member("corpus", type=tarfile.DIRTYPE, mode=0o755), member("corpus/a.txt", b"one"), member("b.txt", b"two"))


@pytest.fixture
def archive(tmp_path):
    """Writes a .tgz and returns its path; it lies beside the folder `out` that it is unpacked into."""

    def write(*members: tuple[tarfile.TarInfo, bytes]) -> Path:
        path = tmp_path / "corpus.tgz"
        path.write_bytes(gzip.compress(tar_bytes(*members)))
        return path

    return write


def held(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_archive_is_unpacked_with_its_folders(archive, tmp_path):
    folder = unpack(archive(*SOUND), tmp_path / "deep" / "out")
    assert folder == str(tmp_path / "deep" / "out")
    assert held(Path(folder)) == {"corpus/a.txt": b"one", "b.txt": b"two"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_the_folder_has_the_usual_permissions(archive, tmp_path):
    (tmp_path / "usual").mkdir()
    folder = Path(unpack(archive(*SOUND), tmp_path / "out"))
    assert folder.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_is_unpacked_already_is_not_unpacked_again(archive, tmp_path):
    path = archive(*SOUND)
    folder = Path(unpack(path, tmp_path / "out"))
    path.unlink()
    assert held(Path(unpack(path, tmp_path / "out"))) == held(folder)


def test_several_at_once_find_one_whole_folder(archive, tmp_path):
    path = archive(*SOUND, *(member(f"{number}.txt", b"x" * 1000) for number in range(200)))
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: unpack(path, tmp_path / "out"), range(4)))
    assert folders == [str(tmp_path / "out")] * 4
    assert len(held(tmp_path / "out")) == 202
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.tgz", "out"}


def test_links_within_the_archive_are_kept(archive, tmp_path):
    links = (
        member("soft", type=tarfile.SYMTYPE, linkname="corpus/a.txt"),
        member("hard", type=tarfile.LNKTYPE, linkname="b.txt"),
    )
    folder = Path(unpack(archive(*SOUND, *links), tmp_path / "out"))
    assert (folder / "soft").read_bytes() == b"one"
    assert (folder / "hard").read_bytes() == b"two"


HARMFUL = [
    pytest.param([member("{tmp}/evil.txt", b"x")], "is not a file within it", id="absolute path"),
    pytest.param([member("../evil.txt", b"x")], "is not a file within it", id="parent folder"),
    pytest.param([member("corpus/../../evil.txt", b"x")], "is not a file within it", id="parent folder further on"),
    pytest.param([member("..", type=tarfile.DIRTYPE)], "is not a file within it", id="the parent folder itself"),
    pytest.param([member("a", type=tarfile.SYMTYPE, linkname="../secret")], "outside", id="symlink outside"),
    pytest.param([member("a", type=tarfile.SYMTYPE, linkname="{tmp}/secret")], "absolute", id="absolute symlink"),
    pytest.param([member("a", type=tarfile.LNKTYPE, linkname="../secret")], "outside", id="hard link outside"),
    pytest.param(
        [member("a", type=tarfile.LNKTYPE, linkname="{tmp}/secret")], "absolute|outside", id="absolute hard link"
    ),
    pytest.param(
        [member("a", type=tarfile.SYMTYPE, linkname="../.."), member("a/evil.txt", b"x")],
        "outside",
        id="through a symlink",
    ),
    pytest.param([member("a", type=tarfile.FIFOTYPE)], "special file", id="fifo"),
    pytest.param([member("a", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], "special file", id="character device"),
    pytest.param([member("a", type=tarfile.BLKTYPE, devmajor=8)], "special file", id="block device"),
    pytest.param([member("zeros", bytes(1 << 20))], "more than 10,000 bytes", id="compressed zeros"),
    pytest.param([member("huge", size=100 << 30)], "more than 10,000 bytes", id="a size that is only claimed"),
    pytest.param([member(str(n)) for n in range(30)], "more than 10,000 bytes", id="many empty files"),
    pytest.param([member("less", size=-512)], "is not a file within it", id="a negative size"),
    pytest.param([member("a", b"x"), member("a/b", b"x")], "Not a directory", id="a file as folder"),
    pytest.param(
        [member("a", type=tarfile.DIRTYPE, mode=0o755), member("a", b"x")],
        "Is a directory",
        id="a folder as file",
    ),
]


@pytest.mark.parametrize(("members", "message"), HARMFUL)
def test_a_harmful_archive_is_refused_and_leaves_nothing(archive, tmp_path, members, message):
    (tmp_path / "secret").write_text("secret")
    harmful = []
    for info, data in members:
        name, link = (text.replace("{tmp}", str(tmp_path)) for text in (info.name, info.linkname))
        harmful.append((info.replace(name=name, linkname=link), data))
    path = archive(*SOUND, *harmful)
    with pytest.raises(CorpusError, match=rf"cannot be unpacked \(.*({message}).*data_dir"):
        unpack(path, tmp_path / "out", limit=10_000)
    assert held(tmp_path) == {"corpus.tgz": path.read_bytes(), "secret": b"secret"}
    assert {found.name for found in tmp_path.iterdir()} == {"corpus.tgz", "secret"}


def test_the_limit_is_the_bytes_of_all_files_and_headers(archive, tmp_path):
    path = archive(member("a", b"x" * 1000), member("b", b"x" * 500))
    with pytest.raises(CorpusError, match="more than 2,523 bytes"):
        unpack(path, tmp_path / "out", limit=1500 + 2 * 512 - 1)
    assert unpack(path, tmp_path / "out", limit=1500 + 2 * 512) == str(tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"PK\3\4 a zip", b"<html>not found</html>", tar_bytes(*SOUND)])
def test_another_file_than_a_tgz_is_refused(tmp_path, content):
    (tmp_path / "corpus.tgz").write_bytes(content)
    with pytest.raises(CorpusError, match=r"corpus\.tgz' cannot be unpacked .*Expected a whole \.tgz"):
        unpack(tmp_path / "corpus.tgz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_download_that_stopped_is_refused(archive, tmp_path, share):
    path = archive(*SOUND, member("noise", random.Random(0).randbytes(5000)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CorpusError, match="cannot be unpacked"):
        unpack(path, tmp_path / "out")
    assert {found.name for found in tmp_path.iterdir()} == {"corpus.tgz"}


positions = st.integers(0, len(tar_bytes(*SOUND)) - 1)


@given(st.lists(st.tuples(positions, st.integers(0, 255)), min_size=1, max_size=12), st.none() | positions)
def test_any_archive_is_unpacked_within_its_folder_or_is_a_corpus_error(tmp_path_factory, changes, cut):
    root = tmp_path_factory.mktemp("fuzz")
    changed = bytearray(tar_bytes(*SOUND))
    for position, byte in changes:
        changed[position] = byte
    (root / "corpus.tgz").write_bytes(gzip.compress(bytes(changed[:cut]), compresslevel=1))
    try:
        unpack(root / "corpus.tgz", root / "out", limit=100_000)
    except CorpusError:
        assert not (root / "out").exists()
    assert {found.name for found in root.iterdir()} <= {"corpus.tgz", "out"}


FORMS = [str, Path, lambda file: [file], lambda file: {"train": [file]}, lambda file: f"{Path(file).parent}/*.jsonl"]


@pytest.mark.parametrize("form", FORMS)
def test_files_of_another_content_are_others_whatever_their_size_and_time(form, tmp_path):
    file = tmp_path / "[odd] train.jsonl"
    identities = []
    for text in ("dogs", "cats", "horses", "dogs"):
        file.write_text(text)
        os.utime(file, ns=(0, 0))
        identities.append(contents_identity(form(str(file))))
    assert identities[0] == identities[3]
    assert len(set(identities)) == 3
