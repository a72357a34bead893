"""Nothing that is downloaded runs: no code beside a model, no pickle, and no path that an adapter names."""

import ast
import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idl_hf.chat.persona_chat import PersonaChat
from idl_hf.chat.recipe import trained_options
from idl_hf.encoding import SentenceEncoder
from idl_hf.explore.dataset import PromptCounter
from idl_hf.models.identity import RECIPE_FILE, load_recipe, save_recipe
from idl_hf.models.loading import load_model
from idl_hf.models.offline import resolve_encoder
from idl_hf.persona.extractor import PersonaExtractor
from idl_hf.rows.options import option_names

ROOT = Path(__file__).parents[2]
# Ours end in a call that the table below sees; PEFT has no code beside its weights, a generation config is JSON alone
WITHOUT_CODE = {
    "PersonaChat", "PersonaExtractor", "LocalModel", "PromptCounter", "PeftModel", "PeftConfig", "GenerationConfig",
    "BaselineResponder",
}  # fmt: skip
CODE = "from pathlib import Path\nPath(r'{marker}').touch()\nfrom transformers import LlamaConfig as Custom\n"


def loading_calls():
    for folder in ("idl_hf", "examples", "benchmarks", "dataset_scripts", "metrics", "utils"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                whole = ast.unparse(node.func)
                owner, _, name = whole.rpartition(".")
                loads = name in ("from_pretrained", "from_config") and owner not in WITHOUT_CODE
                if loads or name in ("SentenceTransformer", "CrossEncoder", "pipeline"):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}: {whole}", node


def test_every_call_that_loads_says_whether_code_may_run():
    calls = dict(loading_calls())
    asking = [place for place, call in calls.items() if "trust_remote_code" not in {key.arg for key in call.keywords}]
    assert len(calls) > 10
    assert asking == []


@pytest.fixture
def base(tiny_llama, tokenizer, tmp_path):
    tiny_llama().save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def adapter(base, tmp_path):
    from peft import LoraConfig, get_peft_model

    model = load_model(str(base)).model
    get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2)).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def encoder_folder(tmp_path):
    shutil.copytree(resolve_encoder("offline"), tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.fixture
def on_the_hub(tmp_path, monkeypatch):
    """Puts a folder into the Hub's cache, as a download leaves it, and returns its name there."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(folder: Path) -> str:
        repository = tmp_path / "hub" / f"models--somebody--{folder.name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        shutil.copytree(folder, repository / "snapshots" / ("0" * 40))
        return f"somebody/{folder.name}"

    return put


def edit(file: Path, **values) -> None:
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(content | values))


def to_pickle(folder: Path, safe: str, pickle: str) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(folder / safe), folder / pickle)
    (folder / safe).unlink()


LOADERS = {
    "model": lambda name: load_model(name),
    "extractor": lambda name: PersonaExtractor.from_pretrained(name).extract(["i have two dogs ."]),
    "chat": lambda name: PersonaChat.from_pretrained(name, encoder="offline"),
    "counter": lambda name: PromptCounter.from_pretrained(name),
    "encoder": lambda name: SentenceEncoder(name, show_progress=False).encode(["i have two dogs ."]),
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("part", ["AutoTokenizer", "AutoTokenizer of a known model", "AutoConfig"])
def test_code_beside_a_model_neither_runs_nor_is_asked_about(loader, part, base, tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    (base / "custom.py").write_text(CODE.format(marker=marker))
    if part.startswith("AutoTokenizer"):
        mapped = {"AutoTokenizer": ["custom.Custom", "custom.Custom"]}
        edit(base / "tokenizer_config.json", auto_map=mapped, tokenizer_class="Custom")
        if part == "AutoTokenizer":
            edit(base / "config.json", model_type="custom")
    else:
        mapped = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForCausalLM"), "custom.Custom")
        edit(base / "config.json", auto_map=mapped, model_type="custom")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))
    with contextlib.suppress(ValueError, OSError):  # a tokenizer may need none of it
        LOADERS[loader](str(base))
    assert not marker.exists()


def test_a_module_of_an_encoder_does_not_run(encoder_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))
    (encoder_folder / "custom.py").write_text(CODE.format(marker=tmp_path / "ran"))
    modules = json.loads((encoder_folder / "modules.json").read_text())
    modules[1]["type"] = "custom.Custom"
    (encoder_folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match="trust_remote_code"):
        LOADERS["encoder"](str(encoder_folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("loader", ["model", "extractor", "chat"])
@pytest.mark.parametrize("part", ["base", "adapter"])
@pytest.mark.parametrize("place", ["folder", "hub"])
def test_weights_in_a_pickle_are_refused(loader, part, place, base, adapter, on_the_hub, tmp_path, monkeypatch):
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))
    safe, pickle = {"base": ("model", "pytorch_model"), "adapter": ("adapter_model",) * 2}[part]
    to_pickle(tmp_path / part, f"{safe}.safetensors", f"{pickle}.bin")
    name = on_the_hub(adapter) if place == "hub" else str(adapter)
    with pytest.raises(OSError, match="safetensors"):
        LOADERS[loader](name)


def test_a_base_that_has_both_is_loaded_from_safetensors(base):
    (base / "pytorch_model.bin").write_bytes(b"no pickle")
    load_model(str(base))


@pytest.mark.parametrize("part", ["", "3_Dense"])
def test_an_encoder_in_a_pickle_is_refused(part, encoder_folder, tmp_path, monkeypatch):
    from sentence_transformers.sentence_transformer.modules import Dense

    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))
    modules = json.loads((encoder_folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (encoder_folder / "modules.json").write_text(json.dumps(modules))
    (encoder_folder / "3_Dense").mkdir()
    Dense(384, 8).save(str(encoder_folder / "3_Dense"))
    SentenceEncoder(str(encoder_folder), show_progress=False).encode(["as it is , it loads ."])
    to_pickle(encoder_folder / part, "model.safetensors", "pytorch_model.bin")
    with pytest.raises(OSError, match="pickle"):
        LOADERS["encoder"](str(encoder_folder))


PATHS = [
    "/etc",
    "./encoder",
    "../encoder",
    "~/encoder",
    "C:\\models\\encoder",
    "a/b/c",
    "here",
    "",
    "file:/etc",
    ".",
]


@pytest.mark.parametrize("option", ["encoder", "extractor"])
@pytest.mark.parametrize("path", PATHS)
def test_an_adapter_of_the_hub_names_no_path(option, path, adapter, on_the_hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    save_recipe(adapter, {option: path}, 300)
    with pytest.raises(ValueError, match=f"names {option}=.*not paths"):
        load_recipe(on_the_hub(adapter))
    assert load_recipe(str(adapter))["options"] == {option: path}  # in a folder it may be the user's own


@pytest.mark.parametrize("name", ["offline", "sentence-transformers/all-mpnet-base-v2", "bert-base", "patterns"])
def test_an_adapter_of_the_hub_names_models_of_the_hub(name, adapter, on_the_hub):
    save_recipe(adapter, {"encoder": name, "extractor": name}, None)
    assert load_recipe(on_the_hub(adapter))["options"]["encoder"] == name


def test_a_chat_refuses_a_poisoned_recipe(adapter):
    save_recipe(adapter, {"encoder": "offline", "trust_remote_code": True}, 300)
    with pytest.raises(ValueError, match="unknown options: trust_remote_code"):
        PersonaChat.from_pretrained(str(adapter))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("offline")
values = st.recursive(scalars, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=4), part))
options = st.dictionaries(st.sampled_from(option_names()) | st.text(max_size=5), values, max_size=3)
recipes = values | st.fixed_dictionaries({}, optional={"options": options | values, "max_prompt_tokens": values})
TYPES = {"spi": bool, "dpi": bool, "encoder": str, "extractor": str, "clusters": int, "seed": int, "targets": str}


@given(content=recipes.map(lambda recipe: json.dumps(recipe).encode()) | st.binary(max_size=40))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_recipe_holds_its_options_are_of_the_right_types_or_it_is_refused(content, tmp_path):
    (tmp_path / RECIPE_FILE).write_bytes(content)
    try:
        recipe = load_recipe(str(tmp_path))
        kept = trained_options(str(tmp_path), recipe.get("options", {}))
    except ValueError:
        return
    assert type(recipe.get("max_prompt_tokens")) in (int, type(None))
    assert all(type(kept[name]) is kind for name, kind in TYPES.items() if name in kept)
