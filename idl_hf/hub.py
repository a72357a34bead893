"""Models and adapters, from the Hub or a folder. One adapter serves all people: the persona arrives in the prompt."""

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from idl_hf.offline import OFFLINE, hub_errors_name_offline, resolve_model

RECIPE_FILE = "idl_config.json"
# For base models such as GPT-2, which have none: "user: hello\nassistant: hi<|endoftext|>\n"
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ':' }}{% if message['content'] %}{{ ' ' + message['content'] }}"
    "{% endif %}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
_HINT = "--model_name_or_path offline (PersonaChat.from_pretrained('offline'))"


def load_model(
    name: str,
    *,
    trainable: bool = False,
    dtype: torch.dtype | None = None,
    device: str | None = None,
    **model_options: Any,
) -> tuple[Any, Any]:
    """(model, tokenizer) of a causal LM, or of a PEFT adapter with its base model.

    name: a Hub id, a folder, or "offline". dtype None: float32 to train, else the fastest exact-enough one here, which
    is bfloat16 where the processor computes in it. model_options: of the base model's from_pretrained. The model is on `device` (None: a GPU if there is one).
    """
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import get_logger

    path = resolve_model(name)
    dtype = dtype or (torch.float32 if trainable else inference_dtype())
    with hub_errors_name_offline(name, _HINT):
        adapter = is_adapter(path)
        base = PeftConfig.from_pretrained(path).base_model_name_or_path if adapter else path
    with hub_errors_name_offline(base, _HINT):
        base = resolve_model(base)
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, **model_options)
        tokenizer = AutoTokenizer.from_pretrained(path if adapter and has_tokenizer(path) else base)
    if adapter:
        model = PeftModel.from_pretrained(model, path, is_trainable=trainable)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        get_logger(__name__).warning(
            f"'{name}' has no chat template; its messages are written as plain lines, 'user: ...'."
        )
        tokenizer.chat_template = PLAIN_TEMPLATE
    if not trainable:
        model = model.eval().to(device or default_device())
    return model, tokenizer


def save_recipe(folder: str | Path, options: dict[str, Any], max_prompt_tokens: int | None) -> None:
    """Beside an adapter: which rows it was trained on, so that a chat makes its prompts likewise."""
    recipe = {"options": options, "max_prompt_tokens": max_prompt_tokens}
    Path(folder, RECIPE_FILE).write_text(json.dumps(recipe, indent=2, sort_keys=True))


def load_recipe(name: str) -> dict[str, Any]:
    """What `save_recipe` saved with an adapter on the Hub or in a folder; empty where nothing was."""
    if name == OFFLINE or not _has_file(name, RECIPE_FILE):
        return {}
    file = Path(name, RECIPE_FILE) if Path(name).is_dir() else Path(hf_hub_download(name, RECIPE_FILE))
    recipe = json.loads(file.read_text())
    if not isinstance(recipe, dict) or not isinstance(recipe.get("options", {}), dict):
        raise ValueError(f"'{file}' must hold a JSON object with 'options' and 'max_prompt_tokens', found {recipe!r}.")
    return recipe


def is_adapter(name: str) -> bool:
    """Whether a folder or Hub repository holds a PEFT adapter."""
    return _has_file(name, "adapter_config.json")


def has_tokenizer(name: str) -> bool:
    return _has_file(name, "tokenizer_config.json")


def _has_file(name: str, file: str) -> bool:
    if Path(name).is_dir():
        return Path(name, file).is_file()
    try:
        hf_hub_download(name, file)
    except LocalEntryNotFoundError as error:  # no connection, and the file is not in the cache
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return False  # but the rest of the model is: it was asked for before, and has no such file
        raise OSError(f"The Hub could not be reached for '{name}': {error}") from error
    except EntryNotFoundError:
        return False
    except GatedRepoError as error:
        raise OSError(f"'{name}' is gated: accept its license on the Hub and log in with `hf auth login`.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise OSError(f"'{name}' is neither an existing folder nor a repository on the Hub: {error}") from error
    return True


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def inference_dtype() -> torch.dtype:
    """bfloat16 on GPUs and on CPUs with bfloat16 instructions, else float32."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return (
        torch.bfloat16
        if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        else torch.float32
    )
