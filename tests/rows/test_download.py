"""ConvAI2 without data_dir: the archive is fetched, checked and unpacked (here from a file, not the network)."""

import hashlib
import tarfile

import pytest
from datasets import load_dataset

import idl_hf  # noqa: F401
from idl_hf.dataset_scripts import convai2_idl

TEXT = "".join(
    f"1 your persona: i like {food}.\n2 your persona: i am tall.\n3 hi\ti eat {food}\n4 nice\tyes i do\n"
    for food in ("bread", "soup")
)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    (tmp_path / "valid_self_original_no_cands.txt").write_text(TEXT)
    path = tmp_path / "convai2.tgz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tmp_path / "valid_self_original_no_cands.txt", "valid_self_original_no_cands.txt")
    downloads = ((str(path), hashlib.sha256(path.read_bytes()).hexdigest()),)
    monkeypatch.setattr(convai2_idl.Convai2Idl, "DOWNLOADS", downloads)
    return path


def test_the_published_archive_is_read(archive, tmp_path):
    rows = load_dataset("idl_hf/convai2_idl", "sessions", cache_dir=str(tmp_path / "cache"))
    assert {split: len(part) for split, part in rows.items()} == {"validation": 2}
    assert rows["validation"][1]["turns"][1]["text"] == "i eat soup"


def test_another_file_than_the_published_is_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(convai2_idl.Convai2Idl, "DOWNLOADS", ((str(archive), "0" * 64),))
    with pytest.raises(ValueError, match=r"has the sha256 .*, expected 0000"):
        load_dataset("idl_hf/convai2_idl", "sessions", cache_dir=str(tmp_path / "cache"))


def test_an_archive_cannot_be_streamed_and_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="data_dir"):
        load_dataset("idl_hf/convai2_idl", "sessions", streaming=True, cache_dir=str(tmp_path))


def test_the_encoder_of_the_machine_is_part_of_the_cache_key(monkeypatch, sample_data):
    from datasets import load_dataset_builder

    monkeypatch.delenv("IDL_HF_ENCODER", raising=False)
    plain = load_dataset_builder("idl_hf/dialogues_idl", "msl", data_dir=str(sample_data))
    monkeypatch.setenv("IDL_HF_ENCODER", "offline")
    offline = load_dataset_builder("idl_hf/dialogues_idl", "msl", data_dir=str(sample_data))
    named = load_dataset_builder("idl_hf/dialogues_idl", "msl", data_dir=str(sample_data), encoder="offline")
    assert plain.config.encoder == "sentence-transformers/all-mpnet-base-v2"
    assert offline.config.encoder == "offline"
    assert offline.cache_dir == named.cache_dir != plain.cache_dir
