"""Direct Preference Optimization with Criterion (paper 3.3), for any dataset with a `criterion` column.

Stands alone: knows of TRL and torch, not of personas, and imports neither before one of the names below is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idl_hf.dpoc.config import DPOCConfig
    from idl_hf.dpoc.loss import dpoc_penalty
    from idl_hf.dpoc.trainer import DPOCTrainer

__all__ = ["DPOCConfig", "DPOCTrainer", "dpoc_penalty"]

_LAZY = {"DPOCConfig": "config", "DPOCTrainer": "trainer", "dpoc_penalty": "loss"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
