"""A merged folder answers as its adapter does, whatever the adapter changes, and chats with the same options."""

import copy
import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PrefixTuningConfig
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from idl_hf import PersonaChat
from idl_hf.chat_template import PLAIN_TEMPLATE
from idl_hf.cli import main
from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.export.merged import merged_card
from idl_hf.models.identity import load_recipe, save_recipe
from idl_hf.models.loading import load_model
from idl_hf.models.replies import generate_reply

NEW_TOKENS = 12
PROMPTS = [
    [{"role": "user", "content": "do you have pets ?"}],
    [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "i feed my goats ."},
        {"role": "user", "content": "all of them ?"},
    ],
]


def replies(name: Path) -> list[str]:
    model, tokenizer = load_model(str(name), dtype=torch.float32)
    return [generate_reply(model, tokenizer, prompt, max_new_tokens=NEW_TOKENS) for prompt in PROMPTS]


def export(adapter: Path, *more: str) -> Path:
    target = adapter.parent / "exported"
    assert main(["export", "--adapter", str(adapter), "--output_dir", str(target), *more]) == 0
    return target


_SLOW = pytest.mark.slow
CASES = [
    ("Llama", True, {"target_modules": ["q_proj", "v_proj"]}),
    ("GPT2", True, {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
    ("Llama", True, {"target_modules": ["q_proj", "embed_tokens"]}),
    ("Llama", True, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    pytest.param("Llama", True, {"target_modules": ["q_proj", "lm_head"]}, marks=_SLOW),
    pytest.param("Qwen3", False, {"target_modules": "all-linear"}, marks=_SLOW),
    pytest.param("Gemma3", True, {"target_modules": "all-linear"}, marks=_SLOW),
    pytest.param("Llama", False, {"modules_to_save": ["embed_tokens", "lm_head"]}, marks=_SLOW),
    pytest.param("Mistral", False, {"target_modules": "all-linear", "use_dora": True}, marks=_SLOW),
]


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`", "ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize(("architecture", "tied", "options"), CASES)
def test_greedy_replies_are_those_of_the_adapter(make_adapter, architecture, tied, options):
    adapter = make_adapter(architecture, tied, **options)
    merged = export(adapter, "--merged")
    expected = replies(adapter)
    assert replies(merged) == expected
    assert expected != replies(adapter.parent / "base")
    assert not list(merged.glob("adapter*"))
    with safe_open(merged / "model.safetensors", "pt") as weights:
        parted = not tied or any(name in str(options) for name in ("embed_tokens", "lm_head"))
        assert ("lm_head.weight" in weights.keys()) == parted  # noqa: SIM118


def test_it_chats_with_the_options_and_settings_of_the_adapter(make_adapter, sample_data):
    adapter = make_adapter(target_modules=["q_proj"])
    save_recipe(adapter, {"encoder": "offline", "references": 2}, 300)
    sampled = {"do_sample": True, "temperature": 0.4, "top_k": 7, "max_new_tokens": 9, "eos_token_id": 5}
    (adapter / "generation_config.json").write_text(json.dumps(sampled))
    merged = export(adapter, "--merged")
    chats = [PersonaChat.from_pretrained(str(name)) for name in (adapter, merged)]
    assert chats[1].generation == chats[0].generation
    assert chats[1].generation.temperature == 0.4
    dialogue = next(read_dialogues(sample_data / "train.jsonl"))
    for chat in chats:
        chat.add_dialogue(dialogue.turns)
    shown = [chat._prompt("do you have pets ?", 9) for chat in chats]
    assert shown[0] == shown[1]
    ends = json.loads((merged / "generation_config.json").read_text())["eos_token_id"]
    assert {chats[1]._model.tokenizer.convert_tokens_to_ids("<|im_end|>"), 5} <= set(ends)
    assert load_recipe(str(merged)) == load_recipe(str(adapter))


def test_a_chat_template_that_is_lacking_is_given_and_goes_along(make_adapter, tokenizer, capsys):
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    adapter = make_adapter(tokenizer=bare, target_modules=["q_proj"])
    arguments = ["export", "--adapter", str(adapter), "--output_dir", str(adapter.parent / "merged"), "--merged"]
    assert main(arguments) == 1
    assert re.search(r"has no chat template.*--chat_template", capsys.readouterr().err)
    assert not (adapter.parent / "merged").exists()
    assert load_model(str(export(adapter, "--merged", "--chat_template", "plain"))).tokenizer.chat_template == (
        PLAIN_TEMPLATE
    )


def test_settings_of_the_base_that_cannot_be_saved_are_left_out(make_adapter):
    adapter = make_adapter(target_modules=["q_proj"])
    (adapter / "generation_config.json").unlink(missing_ok=True)  # as PEFT alone saves an adapter
    file = adapter.parent / "base" / "generation_config.json"
    file.write_text(json.dumps({"temperature": 0.9, "top_p": 0.6}))  # as Vicuna has them, and do_sample not
    saved = json.loads((export(adapter, "--merged") / "generation_config.json").read_text())
    assert saved["eos_token_id"]
    assert "temperature" not in saved


def test_the_card_is_kept_and_names_no_path_of_this_machine(make_adapter, tmp_path):
    adapter = make_adapter(target_modules=["q_proj"])
    card = (
        f"---\nbase_model: {tmp_path}/base\nlibrary_name: peft\nlicense: mit\ntags:\n- lora\n"
        f"- base_model:adapter:{tmp_path}/base\n- goats\n---\n# Ruth\n\nTrained from {tmp_path}/base with care.\n"
    )
    (adapter / "README.md").write_text(card)
    merged = ModelCard.load(export(adapter, "--merged") / "README.md")
    assert "with care" in merged.text
    assert "PersonaChat.from_pretrained" in merged.text
    assert merged.data.license == "mit"
    assert merged.data.library_name == "transformers"
    assert merged.data.tags == ["dialogue", "goats", "in-dialogue-learning", "persona"]
    for file in (tmp_path / "exported").iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file


def test_a_base_in_a_folder_named_from_here_is_its_last_part_in_the_card(make_adapter, tmp_path, monkeypatch):
    adapter = make_adapter(target_modules=["q_proj"])
    base, file = f"{tmp_path.name}/base", adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": base}))
    (adapter / "README.md").write_text(f"# Ruth\n\nTrained from {base} with care.\n")
    monkeypatch.chdir(tmp_path.parent)
    card = str(merged_card(str(adapter), "exported", gguf=False))
    assert "Trained from base with care." in card
    assert tmp_path.name not in card


def test_an_adapter_that_is_no_change_of_weights_is_refused(make_adapter, capsys):
    adapter = make_adapter(config=PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    assert main(["export", "--adapter", str(adapter), "--output_dir", str(adapter.parent / "out"), "--merged"]) == 1
    assert "An adapter of type PREFIX_TUNING is no change of weights" in capsys.readouterr().err
    assert sorted(file.name for file in adapter.parent.iterdir()) == ["adapter", "base"]


def test_an_adapter_that_broke_is_told_and_nothing_is_written(make_adapter, tmp_path, capsys):
    adapter = make_adapter(target_modules=["q_proj"])
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({name: weight * torch.nan for name, weight in weights.items()}, adapter / "adapter_model.safetensors")
    assert main(["export", "--adapter", str(adapter), "--output_dir", str(tmp_path / "exported"), "--merged"]) == 1
    assert "of type LORA cannot be merged into its base: NaNs detected" in capsys.readouterr().err
    assert not (tmp_path / "exported").exists()
