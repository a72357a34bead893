"""The recipe of the adapter that is to be published, with the model that it names."""

import json
from pathlib import Path

import pytest

from idl_hf import PersonaChat
from idl_hf.cli import main
from idl_hf.corpora.jsonl import read_dialogues

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_recipe_makes_an_adapter_that_answers_as_somebody_else(sample_data, tmp_path):
    adapter = tmp_path / "adapter"
    recipe = ROOT / "examples" / "recipes" / "adapter_smollm2_cpu.yaml"
    more = ["--data_dir", str(sample_data), "--output_dir", str(adapter), "--max_steps", "2", "--max_rows", "4"]
    assert main(["msl", "--config", str(recipe), *more]) == 0
    kept = json.loads((adapter / "idl_config.json").read_text(encoding="utf-8"))
    assert kept["options"]["reference_turns"] == "self"
    chat = PersonaChat.from_pretrained(str(adapter))
    for dialogue in read_dialogues(sample_data / "validation.jsonl"):
        if dialogue.person_id == "kit":
            chat.add_dialogue(dialogue.turns)
    assert chat.reply("what do you do for a living?").strip()
