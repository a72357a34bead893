"""Contrast of the condition: supervised fine-tuning in which replies must also tell whose prompt they follow.

A trainer for any dataset with prompt, completion and `strangers`, other people's prompts for the same completion.
Imports neither torch nor trl before one of the names below is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idl_hf.contrast.config import ContrastConfig
    from idl_hf.contrast.loss import contrast_loss
    from idl_hf.contrast.trainer import ContrastTrainer

__all__ = ["ContrastConfig", "ContrastTrainer", "contrast_loss"]

_LAZY = {"ContrastConfig": "config", "ContrastTrainer": "trainer", "contrast_loss": "loss"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
