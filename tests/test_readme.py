"""The README: short, and its Python from the rows to the Hub runs as it stands."""

import json
import os
import subprocess
import sys
from itertools import groupby, islice
from pathlib import Path

import pytest

from tests.hub_server import Hub
from tests.test_docs import ROOT, blocks


def test_it_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert not [line for line in lines if len(line) > 119 and not line.startswith(("|", "<!--"))]


@pytest.fixture
def logs(sample_data, tmp_path) -> Path:
    """Few people with few dialogues each."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for file in sample_data.glob("*.jsonl"):
        dialogues = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        few = [list(islice(own, 3)) for _, own in groupby(dialogues, key=lambda one: one["person_id"])][:3]
        lines = [json.dumps(dialogue) for own in few for dialogue in own]
        (folder / file.name).write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.mark.docs
def test_the_lines_of_python_build_train_evaluate_chat_and_push(logs, tiny_llama, tokenizer, tmp_path):
    (block,) = [block for block in blocks("README.md") if block.language == "python"]
    assert len(block.text.splitlines()) <= 20
    offline = tmp_path / "cache" / "models" / "SmolLM2-135M-Instruct"  # where the real one would be converted to
    tiny_llama(seed=0).save_pretrained(offline)
    tokenizer.save_pretrained(offline)
    with Hub({"token-of-me": "me"}) as hub:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environment |= {
            "HF_ENDPOINT": hub.endpoint,
            "HF_TOKEN": "token-of-me",
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "IDL_HF_CACHE": str(tmp_path / "cache"),
            "NO_PROXY": "127.0.0.1",
        }
        command = [sys.executable, "-c", block.text]
        done = subprocess.run(command, env=environment, cwd=logs.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        pushed = hub.repositories["models/me/my-adapter"]
    assert "Reason" in done.stdout
    assert "adapter_model.safetensors" in pushed.files
    assert pushed.private  # of somebody's own logs
    assert (tmp_path / "runs" / "report" / "report.html").is_file()
