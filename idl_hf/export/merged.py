"""An adapter and its base as one plain model folder, which answers as the adapter does."""

from pathlib import Path

from huggingface_hub import ModelCard, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from peft import PeftConfig
from transformers import GenerationConfig

from idl_hf.models.generation import with_ends
from idl_hf.models.identity import is_adapter, is_hub_id, load_generation, load_recipe, save_recipe
from idl_hf.models.loading import load_merged
from idl_hf.models.offline import OFFLINE
from idl_hf.shown import is_path, scrub, without_paths
from idl_hf.token_ids import end_ids
from idl_hf.training.card import HERE, put_chat_first, put_section

_AS_GGUF = (
    "## One file\n\n`model.gguf` is for llama.cpp and Ollama. It is nobody yet: the person arrives in the prompt, as "
    "past dialogues (`persona_prompt.json` and `Modelfile`, where they are beside it)."
)


def write_merged(adapter: str, folder: Path, dtype: str, chat_template: str | None = None) -> None:
    """Write the model, its tokenizer, what ends its replies, and how its prompts are made into a folder.

    chat_template: as `load_model` takes it. Raises OSError where the adapter cannot be had, ValueError where it is
    none, cannot be merged, or has no chat template and none is given.
    """
    if not is_adapter(adapter):
        raise ValueError(
            f"'{adapter}' is a model and no adapter, so there is nothing to merge: it is a plain model as it is."
        )
    recipe, generation = load_recipe(adapter), load_generation(adapter)
    model, tokenizer = load_merged(adapter, dtype, device="cpu", chat_template=chat_template)
    config = GenerationConfig.from_dict(generation) if generation else model.generation_config
    ends = end_ids(tokenizer, model.generation_config, config)
    model.generation_config = with_ends(config, ends, tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_recipe(folder, recipe.get("options", {}), recipe.get("max_prompt_tokens"), recipe.get("public_corpus", False))


def merged_card(adapter: str, title: str, gguf: bool) -> ModelCard:
    """Return the adapter's card as that of the merged model, or of the file made of it, without paths of this
    machine."""
    base = str(PeftConfig.from_pretrained(adapter).base_model_name_or_path)
    named = base if is_hub_id(base) and base != OFFLINE and not is_path(base) else None
    card = ModelCard(_readme(adapter))
    if is_path(base):
        card.text = card.text.replace(base, Path(base).name)
    card.data["library_name"] = "gguf" if gguf else "transformers"
    card.data["pipeline_tag"] = "text-generation"
    card.data["base_model"] = named  # None is left out
    card.data["base_model_relation"] = named and "merge"
    for name in ("datasets", "model_name"):
        card.data[name] = without_paths(card.data.get(name))
    others = {tag for tag in card.data.get("tags") or [] if not tag.startswith("base_model:") and tag != "peft"}
    card.data["tags"] = sorted({*others, "dialogue", "persona", "in-dialogue-learning"} - {"lora"})
    merged_from = f"The adapter is added into the weights of its base, {named or Path(base).name}."
    card.text = put_chat_first(f"{scrub(card.text).rstrip()}\n\n{merged_from}\n", title, HERE, "")
    if gguf:
        card.text = put_section(card.text, "chat", _AS_GGUF)
    return card


def _readme(adapter: str) -> str:
    """Return the card of an adapter in a folder or on the Hub, "" where it has none."""
    if Path(adapter).is_dir():
        file = Path(adapter, "README.md")
        return file.read_text(encoding="utf-8") if file.is_file() else ""
    try:
        return Path(hf_hub_download(adapter, "README.md")).read_text(encoding="utf-8")
    except EntryNotFoundError:
        return ""
