"""What is found in an export, and that each format finds its own and nothing else."""

import contextlib
import importlib
import json
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports.parts import _closed, beginning, parts
from tests.corpora.exports.samples import SAMPLES, TELEGRAM_ALL, pretty

READERS = {name: importlib.import_module(f"idl_hf.corpora.exports.{name}") for name in SAMPLES}


def finders(path: Path) -> list[str]:
    return [name for name, reader in READERS.items() if reader.found(path)]


@pytest.mark.parametrize("name", SAMPLES)
def test_each_format_is_found_by_its_reader_alone(export, name):
    path = export(SAMPLES[name])
    assert finders(path) == [name]
    if path.is_file():
        assert finders(path.parent) == [name]
        half = path.with_name(f"half-{path.name}")
        half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert finders(half) == [name]


def test_the_export_of_all_chats_is_found_however_many_contacts_come_first(export):
    contacts = {"about": "x", "list": [{"first_name": "A" * 100}] * 5_000}
    assert finders(export({"result.json": pretty(TELEGRAM_ALL | {"contacts": contacts})})) == ["telegram"]


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\0" * 100, b"\xff\xfe", b"{", b"[]", b"{}", b"null", b'"x"', b"12", b"[1, 2]", b"hello\nworld"),
        *(b"[" * 200_000, b"[1," * 40_000, b'[{"a": ' * 100_000, b"9" * 200_000, b"\x1f\x8b\x08"),
        *(b"PK\x03\x04", b"PK\x03\x04" + b"x" * 500),
        *(b'{"messages": []}', b'{"messages": [{}]}', b'[{"mapping": 1}]', b'{"participants": 1}', b'{"about": "x"}'),
        "a,b\n1,2".encode("utf-16"),
    ],
)  # fmt: skip
def test_other_files_are_no_one_s_and_never_an_error(export, content):
    path = export({"file.json": content})
    assert finders(path) == []
    for reader in READERS.values():
        with contextlib.suppress(CorpusError):
            assert list(reader.read(path, ErrorLog("skip"))) == []


@given(st.binary(max_size=200))
def test_any_bytes_are_found_or_not(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    assert isinstance(finders(path), list)


def test_what_is_no_file_is_not_found(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path / "missing", tmp_path / "pipe", tmp_path / "dangling", tmp_path, Path("/dev/zero")):
        assert finders(path) == []
    with pytest.raises(CorpusError, match="Expected a file or a folder, found neither"):
        list(READERS["telegram"].read(tmp_path / "missing", ErrorLog()))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("result.json", b" " * 2_000_000)
    monkeypatch.setattr("idl_hf.corpora.exports.parts.MAX_UNPACKED", 1_000_000)
    with (
        pytest.raises(CorpusError, match="a zip that unpacks to more than 1,000,000 bytes"),
        parts(path, r"result\.json", "x"),
    ):
        pass


def test_a_zip_with_a_password_is_one_sentence(tmp_path):
    path = tmp_path / "secret.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("result.json", "{}")
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="password"):
        list(READERS["telegram"].read(path, ErrorLog()))


values = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=9,
)


@given(values, st.floats(0, 1))
def test_a_beginning_is_closed_wherever_it_is_cut(value, share):
    text = json.dumps([value, value])
    closed = _closed(text[: int(share * len(text))])
    if closed:
        assert len(json.loads(closed)) <= 2
    assert json.loads(_closed(text + " , {")) == [value, value]


def test_a_beginning_holds_what_came_before_the_cut(export):
    path = export({"a.json": '{"a": 1, "b": {"c": [1, 2, {"d": "' + "x" * 200_000 + '"}]}}'})
    assert beginning(path, "") == {"a": 1, "b": {"c": [1, 2]}}
