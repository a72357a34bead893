"""What a report says it was made from and with: hashes of files, the commit, and what is no result."""

import hashlib
import json
import re
import shutil
import subprocess
from datetime import date, timedelta
from pathlib import Path

import pytest

from idl_hf.cache import code_identity
from idl_hf.evaluation.provenance import commit, is_of_sample_data, provenance, raw_files
from idl_hf.shown import without_paths

FOUND = "idl_hf/dialogues_idl"


def git(folder, *words):
    about = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *about, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A repository with a file of the package and one beside it, committed."""
    for name in ("idl_hf/code.py", "docs/page.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("as committed\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "a commit")
    return tmp_path


def told(checkout):
    commit.cache_clear()
    return commit(checkout)


def test_raw_files_are_named_without_their_folder_and_go_by_what_they_hold(sample_data, tmp_path):
    files = raw_files(FOUND, str(sample_data), {"encoder": "offline"})
    assert files == {
        name: hashlib.sha256((sample_data / name).read_bytes()).hexdigest()
        for name in ("train.jsonl", "validation.jsonl")
    }
    for name in files:
        shutil.copy(sample_data / name, tmp_path)
    assert raw_files(FOUND, str(tmp_path), {}) == files
    lines = (sample_data / "train.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "train.jsonl").write_bytes(b"".join(lines[:-1]))
    assert raw_files(FOUND, str(tmp_path), {})["train.jsonl"] != files["train.jsonl"]


def test_a_corpus_that_is_downloaded_is_named_as_it_is_published():
    (name,) = (files := raw_files("idl_hf/convai2_idl", None, {"encoder": "offline"}))
    assert name == "convai2_fix_723.tgz"
    assert re.fullmatch("[0-9a-f]{64}", files[name])


def test_sample_dialogues_are_no_result_wherever_they_lie(sample_data, tmp_path):
    shutil.copy(sample_data / "validation.jsonl", tmp_path / "train.jsonl")
    copied = {"dialogues_idl": raw_files(FOUND, str(tmp_path), {})}
    assert is_of_sample_data({"convai2_idl": {"a.txt": "0" * 64}, **copied})
    assert not is_of_sample_data({"convai2_idl": {"a.txt": "0" * 64}, "movie_idl": {}})
    assert provenance(copied)["is_result"] is False


def test_all_that_made_a_report_is_told_and_no_path():
    made = provenance({"convai2_idl": {"a.txt": "0" * 64}, "somebody/rows": {}})
    assert made["is_result"]
    assert abs(date.fromisoformat(made["date"]) - date.today()) <= timedelta(days=1)
    assert made["code"]["rows"] == {"convai2_idl": code_identity("idl_hf.dataset_scripts.convai2_idl")}
    assert made["code"]["training"] == code_identity("idl_hf.training.stages")
    assert made["code"]["measuring"] == code_identity("idl_hf.evaluation.scores")
    assert made["code"]["metrics"] == code_identity("idl_hf.metrics") != code_identity("idl_hf.metrics.identification")
    assert made["libraries"]["torch"]
    assert made["machine"]["processor"]
    assert made["data"] == {"convai2_idl": {"a.txt": "0" * 64}, "somebody/rows": {}}
    assert without_paths(made) == json.loads(json.dumps(made))


def test_the_commit_says_whether_the_code_is_another_by_now(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    assert told(checkout) == head
    (checkout / "docs" / "page.md").write_text("a report, which changes no figure\n")
    assert told(checkout) == head
    (checkout / "idl_hf" / "new.py").write_text("not yet added\n")
    assert told(checkout) == f"{head}, modified"
    (checkout / "idl_hf" / "new.py").unlink()
    (checkout / "idl_hf" / "code.py").write_text("other code\n")
    assert told(checkout) == f"{head}, modified"


def test_an_installed_package_within_a_repository_has_no_commit(checkout, tmp_path_factory, monkeypatch):
    (checkout / "site-packages").mkdir()
    assert told(checkout / "site-packages") is None
    assert told(tmp_path_factory.mktemp("no-repository")) is None
    monkeypatch.setenv("PATH", "")
    assert told(checkout) is None
