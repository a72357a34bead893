"""What a model is, before any of it is loaded: adapter or not, trained on which rows, and told from others by what."""

import hashlib
import json
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from idl_hf.models.offline import OFFLINE

RECIPE_FILE = "idl_config.json"


def is_adapter(name: str) -> bool:
    """Tell whether a folder or Hub repository holds a PEFT adapter."""
    return _has_file(name, "adapter_config.json")


def has_tokenizer(name: str) -> bool:
    """Tell whether a folder or Hub repository holds a tokenizer."""
    return _has_file(name, "tokenizer_config.json")


def _has_file(name: str, file: str) -> bool:
    if Path(name).is_dir():
        return Path(name, file).is_file()
    try:
        hf_hub_download(name, file)
    except LocalEntryNotFoundError as error:  # no connection, and the file is not in the cache
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return False  # but the rest of the model is: it was asked for before, and has no such file
        raise OSError(f"the Hub could not be reached for '{name}'") from error
    except EntryNotFoundError:
        return False
    except GatedRepoError as error:
        raise OSError(f"'{name}' is gated: accept its license on the Hub and log in with `hf auth login`.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise OSError(f"'{name}' is neither an existing folder nor a repository on the Hub") from error
    return True


def save_recipe(folder: str | Path, options: dict[str, Any], max_prompt_tokens: int | None) -> None:
    """Save beside an adapter which rows it was trained on, so that a chat makes its prompts likewise."""
    recipe = {"options": options, "max_prompt_tokens": max_prompt_tokens}
    Path(folder, RECIPE_FILE).write_text(json.dumps(recipe, indent=2, sort_keys=True))


def load_recipe(name: str) -> dict[str, Any]:
    """Return what `save_recipe` saved with an adapter on the Hub or in a folder, {} where nothing was."""
    if name == OFFLINE or not _has_file(name, RECIPE_FILE):
        return {}
    file = Path(name, RECIPE_FILE) if Path(name).is_dir() else Path(hf_hub_download(name, RECIPE_FILE))
    recipe = json.loads(file.read_text())
    if not isinstance(recipe, dict) or not isinstance(recipe.get("options", {}), dict):
        raise ValueError(f"'{file}' must hold a JSON object with 'options' and 'max_prompt_tokens', found {recipe!r}.")
    return recipe


def files_identity(name: str) -> str:
    """Return a Hub model's name; of a folder also its files' sizes and times, so that nothing computed by a retrained
    model is taken from a cache."""
    path = Path(name)
    if not path.is_dir():
        return name
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return repr([str(path.resolve()), *((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)])


def model_identity(name: str, revision: str | None = None) -> str:
    """Return what tells a model from others: of one on the Hub its commit, of an adapter in a folder its settings
    and its weights' hash, of another folder its files' sizes and times; of an adapter its base besides.

    revision: of the model, or of the base of an adapter, as `load_model` takes it.
    """
    if name == OFFLINE:
        return OFFLINE
    adapter, folder = is_adapter(name), Path(name).is_dir()
    config = "adapter_config.json" if adapter else "config.json"
    own_revision = None if adapter else revision
    file = Path(name, config) if folder else Path(hf_hub_download(name, config, revision=own_revision))
    own = files_identity(name) if folder else f"{name}@{file.parent.name}"  # snapshots/<commit>/config.json
    if not adapter:
        return own
    settings = json.loads(file.read_text(encoding="utf-8"))
    base = settings.pop("base_model_name_or_path")
    if folder:
        weights = (path.read_bytes() for path in sorted(Path(name).glob("adapter_model.*")))
        own = repr([sorted(settings.items()), *(hashlib.sha256(content).hexdigest() for content in weights)])
    return repr((own, model_identity(base, revision)))
