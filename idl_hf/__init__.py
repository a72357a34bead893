"""In-Dialogue Learning for Hugging Face: chat models that sound like one person, learnt from past dialogues.

Importing this package registers its datasets and metrics (`load_dataset("idl_hf/convai2_idl")`,
`evaluate.load("p_co")`) and imports nothing heavy; the names below are loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from idl_hf import registration

__version__ = "0.2.0"

_LAZY = {
    "DPOCConfig": "idl_hf.dpoc.config",
    "DPOCTrainer": "idl_hf.dpoc.trainer",
    "PersonaChat": "idl_hf.chat.persona_chat",
    "PersonaExtractor": "idl_hf.persona.extractor",
}

__all__ = ["DPOCConfig", "DPOCTrainer", "PersonaChat", "PersonaExtractor", "__version__"]

if TYPE_CHECKING:
    from idl_hf.chat.persona_chat import PersonaChat
    from idl_hf.dpoc.config import DPOCConfig
    from idl_hf.dpoc.trainer import DPOCTrainer
    from idl_hf.persona.extractor import PersonaExtractor

registration.register()


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'idl_hf' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
