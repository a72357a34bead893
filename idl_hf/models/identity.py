"""What a model is, before any of it is loaded: adapter or not, trained on which rows, and told from others by what."""

import hashlib
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from idl_hf.models.offline import OFFLINE

RECIPE_FILE = "idl_config.json"
_GENERATION_FILE = "generation_config.json"
_LOADED = {".safetensors", ".json", ".jinja", ".model", ".txt", ".py"}  # endings of what a model and its tokenizer are
_CONFIGS = ("config.json", "adapter_config.json")
_PICKLE = (
    "The weights of '{name}' are not kept as safetensors ({file}), and a pickle may run code when it is loaded. "
    "Take a model with safetensors, or save this one so with `save_pretrained` where you trust it."
)


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
        if any(isinstance(try_to_load_from_cache(name, known), str) for known in _CONFIGS):
            return False  # but the rest of the model is: it was asked for before, and has no such file
        raise OSError(f"the Hub could not be reached for '{name}'") from error
    except EntryNotFoundError:
        return False
    except GatedRepoError as error:
        raise OSError(f"'{name}' is gated: accept its license on the Hub and log in with `hf auth login`.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise OSError(f"'{name}' is neither an existing folder nor a repository on the Hub") from error
    return True


def save_recipe(
    folder: str | Path, options: dict[str, Any], max_prompt_tokens: int | None, public_corpus: bool = False
) -> None:
    """Save beside an adapter which rows it was trained on, so that a chat makes its prompts likewise, and a push knows
    whether they may be somebody's own logs."""
    recipe = {"options": options, "max_prompt_tokens": max_prompt_tokens, "public_corpus": public_corpus}
    Path(folder, RECIPE_FILE).write_text(json.dumps(recipe, indent=2, sort_keys=True))


def load_recipe(name: str) -> dict[str, Any]:
    """Return what `save_recipe` saved with an adapter on the Hub or in a folder, {} where nothing was.

    Raises ValueError for anything else: somebody else may have written it. One from the Hub names models of the Hub.
    """
    return check_recipe(_read_json(name, RECIPE_FILE), f"{RECIPE_FILE} of '{name}'", foreign=not Path(name).is_dir())


def check_recipe(recipe: Any, where: str, foreign: bool) -> dict[str, Any]:
    """Return what `where` holds if it is what `save_recipe` may have saved. foreign: it is from the Hub.
    Raises ValueError as `load_recipe`."""
    budget = recipe.get("max_prompt_tokens") if isinstance(recipe, dict) else None
    if (
        not isinstance(recipe, dict)
        or set(recipe) - {"options", "max_prompt_tokens", "public_corpus"}
        or type(recipe.get("public_corpus", False)) is not bool
        or not isinstance(recipe.get("options", {}), dict)
        or not (budget is None or (type(budget) is int and budget > 0))
    ):
        raise ValueError(
            f"{where} must hold a JSON object with 'options', an object, 'max_prompt_tokens', a positive whole number "
            f"or null, and 'public_corpus', true or false, and nothing else; found {str(recipe)[:300]}."
        )
    for option in ("encoder", "extractor") if foreign else ():
        model = recipe.get("options", {}).get(option, OFFLINE)
        if model not in (OFFLINE, "patterns") and (not is_hub_id(model) or Path(model).exists()):
            raise ValueError(
                f"{where} names {option}={model!r}. What is on the Hub may name models of the Hub, not paths of "
                "this machine. Download it into a folder, and put there a name that you trust."
            )
    return recipe


def load_generation(name: str) -> dict[str, object]:
    """Return the generation config saved with an adapter, or with what it was merged into, {} for another model and
    where none is.

    Raises ValueError where it is no JSON object.
    """
    ours = name != OFFLINE and (is_adapter(name) or _has_file(name, RECIPE_FILE))
    settings = _read_json(name, _GENERATION_FILE) if ours else {}
    if not isinstance(settings, dict):
        raise ValueError(f"{_GENERATION_FILE} of '{name}' must hold a JSON object, found {str(settings)[:300]}.")
    return settings


def _read_json(name: str, file: str) -> Any:
    """Return what a JSON file of a model or adapter holds, {} where there is none. Raises ValueError for no JSON."""
    if name == OFFLINE or not _has_file(name, file):
        return {}
    path = Path(name, file) if Path(name).is_dir() else Path(hf_hub_download(name, file))
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        advice = "Save the adapter again, or delete the file."
        raise ValueError(f"{file} of '{name}' is no JSON ({error}). {advice}") from error


def is_hub_id(name: object) -> bool:
    """Tell whether a name can be that of a model on the Hub: <user>/<name> or <name>."""
    return isinstance(name, str) and re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name) is not None


def refuse_pickles(name: str, subfolders: bool = False) -> None:
    """Raise OSError for a model whose weights, or those of a module in a subfolder, are in pickles alone."""
    names = _file_names(name)
    safe = {file.parent for file in names if file.match("model*.safetensors")}
    for file in names:
        is_read = subfolders or file.parent == PurePosixPath()
        if is_read and file.match("pytorch_model*.bin") and file.parent not in safe:
            raise OSError(_PICKLE.format(name=name, file=file))


def refuse_pickled_adapter(name: str) -> None:
    """Raise OSError for an adapter without safetensors: PEFT would take the pickle in their place."""
    if not _has_file(name, "adapter_model.safetensors"):
        raise OSError(_PICKLE.format(name=name, file="adapter_model.bin, if any"))


def _file_names(name: str) -> list[PurePosixPath]:
    """Return the files of a folder or repository; of one that is out of reach those in the cache, if any."""
    folder = Path(name)
    if not folder.is_dir():
        try:
            return [PurePosixPath(file) for file in HfApi().list_repo_files(name)]
        except (OSError, HTTPError, HFValidationError):  # whose reason the loader tells, which takes no pickle either
            config = try_to_load_from_cache(name, "config.json")
            if not isinstance(config, str):
                return []
            folder = Path(config).parent
    return [PurePosixPath(file.relative_to(folder).as_posix()) for file in folder.rglob("*")]


def files_identity(name: str) -> str:
    """Return a Hub model's name; of a folder also its files' sizes and times, so that nothing computed by a retrained
    model is taken from a cache."""
    path = Path(name)
    if not path.is_dir():
        return name
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return repr([str(path.resolve()), *((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)])


def _folder_identity(name: str) -> str:
    """Return what tells a model in a folder from others: what is loaded of it, not its card or what lies in folders
    there, such as checkpoints of a training that goes on from it."""
    files = sorted(file for file in Path(name).iterdir() if file.suffix in _LOADED)
    sizes = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return repr([str(Path(name).resolve()), *sizes])


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
    own = _folder_identity(name) if folder else f"{name}@{file.parent.name}"  # snapshots/<commit>/config.json
    if not adapter:
        return own
    settings = json.loads(file.read_text(encoding="utf-8"))
    base = settings.pop("base_model_name_or_path")
    if folder:
        weights = (path.read_bytes() for path in sorted(Path(name).glob("adapter_model.*")))
        own = repr([sorted(settings.items()), *(hashlib.sha256(content).hexdigest() for content in weights)])
    return repr((own, model_identity(base, revision)))
