"""The chat model of the package index, as it is converted the first time."""

import json
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest

from idl_hf.models import offline
from idl_hf.models.offline import offline_folder, resolve_model


@pytest.fixture
def converted(tmp_path, monkeypatch):
    """Counts conversions, which write what the converted model's config says of itself."""
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path))
    monkeypatch.setattr(offline, "_package_folder", lambda *names: Path("packages"))
    made = []

    def convert(source: Path, target: Path) -> None:
        time.sleep(0.05)  # time for another one to begin
        made.append(target)
        write(target, "5.18.0")

    monkeypatch.setattr(offline, "_convert_gguf", convert)
    return made


def write(folder: Path, version: str) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    (folder / "config.json").write_text(json.dumps({"transformers_version": version}), encoding="utf-8")


@pytest.mark.parametrize(("version", "conversions"), [("5.17.0", 1), ("5.18.0", 0), ("5.23.0", 0), ("5.24.0.dev0", 0)])
def test_what_a_version_made_that_misread_the_tokenizer_is_made_anew(converted, version, conversions):
    write(offline_folder(), version)
    for _ in range(2):
        assert resolve_model("offline") == str(offline_folder())
        assert len(converted) == conversions


def test_processes_that_want_it_at_once_convert_it_once(converted):
    write(offline_folder(), "5.17.0")
    with ThreadPool(8) as pool:
        assert set(pool.map(resolve_model, ["offline"] * 8)) == {str(offline_folder())}
    assert len(converted) == 1


@pytest.mark.parametrize("content", ["{}", "{", None])
def test_one_that_is_damaged_is_made_anew(converted, content):
    write(offline_folder(), "5.18.0")
    config = offline_folder() / "config.json"
    config.unlink() if content is None else config.write_text(content, encoding="utf-8")
    assert resolve_model("offline") == str(offline_folder())
    assert len(converted) == 1


def test_it_is_converted_once(converted):
    assert resolve_model("offline") == resolve_model("offline")
    assert converted == [offline_folder()]


def test_its_tokenizer_gives_back_what_was_said(whole_tokenizer):
    for text in ("hi there, how are you?", " naïve 🙂日本語", "a\nb\n c", "<|im_start|>user\nhi<|im_end|>\n"):
        assert whole_tokenizer.decode(whole_tokenizer(text)["input_ids"]) == text
