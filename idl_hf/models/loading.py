"""Models and adapters, from the Hub or a folder. One adapter serves all people: the persona arrives in the prompt."""

import json
import re
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

from idl_hf.machine import default_device, fast_precision
from idl_hf.models.offline import OFFLINE, hub_errors_name_offline, resolve_model

RECIPE_FILE = "idl_config.json"
# For base models such as GPT-2, which have none: "user: hello\nassistant: hi<|endoftext|>\n"
PLAIN_TEMPLATE = (
    "{% if bos_token %}{{ bos_token }}{% endif %}"
    "{% for message in messages %}{{ message['role'] + ':' }}{% if message['content'] %}{{ ' ' + message['content'] }}"
    "{% endif %}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
_PLAIN_TURN = re.compile(r"\n(?:system|user|assistant):")
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

    name: a Hub id, a folder, or "offline". dtype None: float32 to train, else that of `fast_precision`. model_options:
    of the base model's from_pretrained. The model is on `device` (None: a GPU if there is one).
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    path, base = _adapter_and_base(name)
    device = device or default_device()
    dtype = dtype or (torch.float32 if trainable else fast_precision(device))
    with hub_errors_name_offline(base, _HINT):
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, **model_options)
    if path is not None:
        model = PeftModel.from_pretrained(model, path, is_trainable=trainable)
    if not trainable:
        model = model.eval().to(device)
    return model, load_tokenizer(name)


def load_tokenizer(name: str) -> Any:
    """The tokenizer of `load_model`, with a padding token and a chat template in any case."""
    from transformers import AutoTokenizer
    from transformers.utils.logging import get_logger

    path, base = _adapter_and_base(name)
    with hub_errors_name_offline(base, _HINT):
        tokenizer = AutoTokenizer.from_pretrained(path if path is not None and has_tokenizer(path) else base)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        get_logger(__name__).warning(
            f"'{name}' has no chat template; its messages are written as plain lines, 'user: ...'."
        )
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def first_turn(tokenizer: Any, text: str) -> str:
    """A reply without what an untrained model goes on with under the plain template, where nothing but its own end of text
    ends a turn."""
    return _PLAIN_TURN.split(text)[0] if tokenizer.chat_template == PLAIN_TEMPLATE else text


def _adapter_and_base(name: str) -> tuple[str | None, str]:
    """Where the adapter is, if it is one, and its base model."""
    from peft import PeftConfig

    path = resolve_model(name)
    with hub_errors_name_offline(name, _HINT):
        if not is_adapter(path):
            return None, path
        base = PeftConfig.from_pretrained(path).base_model_name_or_path
    with hub_errors_name_offline(base, _HINT):
        return path, resolve_model(base)


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
