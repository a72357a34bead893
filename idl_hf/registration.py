"""Makes `load_dataset("idl_hf/...")` and `evaluate.load("p_co")` work after `import idl_hf`.

The ONLY file that touches private names of `datasets` and `evaluate`. Neither has a plugin hook, so their module
factories are wrapped: at once where they are imported already, else at the moment they are (importing them here would
cost seconds, and torch).
"""

import functools
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from idl_hf.cache import code_identity

ORGANIZATION = "idl_hf"  # the namespace of the built-in datasets, and the default one to push to
OWN_LOGS = f"{ORGANIZATION}/dialogues_idl"
_SHAPING_LIBRARIES = ("numpy", "scikit-learn", "sentence-transformers")  # of which another version may make other rows
_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """Return where `dataset_scripts`, `metrics`, `recipes` or `experiments` lie: in the package or, in a checkout,
    beside it."""
    places = (_PACKAGE / name, _PACKAGE.parent / name, _PACKAGE.parent / "examples" / name)
    return next(path for path in places if path.is_dir())


def dataset_names() -> list[str]:
    """Return the names of the built-in datasets."""
    return sorted(path.stem for path in folder("dataset_scripts").glob("*_idl.py"))


def is_public_corpus(name: str) -> bool:
    """Tell whether a dataset is a built-in corpus, which anybody can have: not one's own logs, nor rows elsewhere."""
    public = {f"{ORGANIZATION}/{known}" for known in dataset_names()} - {OWN_LOGS}
    return name in public and not Path(name).exists()  # a folder goes before it


def metric_names() -> list[str]:
    """Return the names of the built-in metrics."""
    return sorted(path.name for path in folder("metrics").iterdir() if (path / f"{path.name}.py").is_file())


def register() -> None:
    """Wrap both factories, now or when they are imported. Calling it again changes nothing."""
    for module, wrap in _WRAPPERS.items():
        if module in sys.modules:
            wrap(sys.modules[module])
    if not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def _dataset_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def factory(path: str, *args: Any, revision: Any = None, **kwargs: Any) -> Any:
        organization, _, name = str(path).partition("/")
        if organization != ORGANIZATION or revision is not None or Path(path).exists():
            return original(path, *args, revision=revision, **kwargs)
        if name not in dataset_names():
            raise ValueError(
                f"There is no built-in dataset '{path}'. The built-in ones are: "
                f"{', '.join(f'{ORGANIZATION}/{known}' for known in dataset_names())}."
            )
        from datasets.load import DatasetModule

        module = f"idl_hf.dataset_scripts.{name}"
        return DatasetModule(module, code_identity(module, *_SHAPING_LIBRARIES), {"dataset_name": name})

    return factory


def _metric_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def factory(path: str, *args: Any, **kwargs: Any) -> Any:
        if path in metric_names() and not Path(path).exists() and kwargs.get("revision") is None:
            path = os.fspath(folder("metrics") / path)
        return original(path, *args, **kwargs)

    return factory


def _wrap_datasets(load: ModuleType) -> None:
    _wrap(load, "dataset_module_factory", _dataset_factory, ("datasets.inspect",))


def _wrap_evaluate(loading: ModuleType) -> None:
    _wrap(loading, "evaluation_module_factory", _metric_factory, ("evaluate.inspect", "evaluate.evaluation_suite"))


_WRAPPERS = {"datasets.load": _wrap_datasets, "evaluate.loading": _wrap_evaluate}


def _wrap(module: ModuleType, name: str, wrapper: Callable[..., Any], copies: Sequence[str]) -> None:
    """Replace a function in its module and in those that imported it by name earlier."""
    original = getattr(module, name)
    if original.__module__ == __name__ or "__wrapped__" in vars(original):
        return
    wrapped = wrapper(original)
    for target in (module, *(sys.modules[copy] for copy in copies if copy in sys.modules)):
        setattr(target, name, wrapped)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Lets the modules in _WRAPPERS be found as ever, and wraps their factory right after they ran."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _WRAPPERS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        run, wrap = spec.loader.exec_module, _WRAPPERS[name]

        def exec_module(module: ModuleType) -> None:
            run(module)
            wrap(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
