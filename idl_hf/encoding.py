"""Sentence vectors: each unique text is encoded once, in length-sorted batches, and kept on disk."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from idl_hf.cache import Cache
from idl_hf.models.offline import cache_folder, hub_errors_name_offline, resolve_encoder

DEFAULT_ENCODER = "sentence-transformers/all-mpnet-base-v2"  # paper, footnote 2
ENCODER_VARIABLE = "IDL_HF_ENCODER"
_AHEAD = 2048  # texts encoded before they are written down


def default_encoder() -> str:
    """The paper's, unless $IDL_HF_ENCODER names another for this machine."""
    return os.environ.get(ENCODER_VARIABLE) or DEFAULT_ENCODER


def encoder_identity(name: str) -> str:
    """What tells this encoder from others: a Hub model's name; of a local one also its files' sizes and times, so that
    what a retrained model encodes is not taken from a cache."""
    path = Path(resolve_encoder(name))
    if not path.is_dir():
        return name
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return repr([str(path.resolve()), *((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)])


class SentenceEncoder:
    """Unit vectors of texts by a sentence-transformers model, loaded only when a text is not in the cache.

    name: a Hub id, a local folder, or "offline" (all-MiniLM-L6-v2 from the package index).
    """

    def __init__(self, name: str, batch_size: int = 64, show_progress: bool = True) -> None:
        self.name = name
        self.identity = encoder_identity(name)
        self.encoded_count = 0  # texts that went through the model, for reports and tests
        self._path = resolve_encoder(name)
        self._batch_size = batch_size
        self._show_progress = show_progress
        self._model: Any = None

    def encode_ahead(self, texts: Iterable[str]) -> None:
        """Puts the vectors of all texts into the cache: sorted by length over all of them, a part at a time, so that memory
        is bounded and an interruption loses one part."""
        keys = {_key(text): text for text in texts}
        known = self._cache.known(list(keys))
        missing = sorted((text for key, text in keys.items() if key not in known), key=len, reverse=True)
        show = self._show_progress and len(missing) > _AHEAD
        with tqdm(total=len(missing), desc="Encoding sentences", unit="", disable=not show) as bar:
            for start in range(0, len(missing), _AHEAD):
                part = missing[start : start + _AHEAD]
                self._encode_new(part)
                bar.update(len(part))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), d); repeated texts share one encoding."""
        keys = {text: _key(text) for text in texts}
        found = self._cache.read(list(keys.values()))
        known = {key: np.frombuffer(value, dtype=np.float32) for key, value in found.items()}
        missing = [text for text, key in keys.items() if key not in known]
        if missing:
            known |= zip((keys[text] for text in missing), self._encode_new(missing), strict=True)
        return np.stack([known[keys[text]] for text in texts]) if keys else np.zeros((0, 0), np.float32)

    @property
    def _cache(self) -> Cache:
        key = hashlib.sha256(self.identity.encode()).hexdigest()
        return Cache(cache_folder() / "embeddings" / f"{key[:24]}.sqlite")

    def _encode_new(self, texts: list[str]) -> NDArray[np.float32]:
        if self._model is None:
            from sentence_transformers import SentenceTransformer

            with hub_errors_name_offline(self.name, f"encoder='offline' (or set {ENCODER_VARIABLE}=offline)"):
                self._model = SentenceTransformer(self._path)
        self.encoded_count += len(texts)
        vectors = self._model.encode(  # sorts by length itself
            texts,
            batch_size=self._batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        ).astype(np.float32)
        self._cache.write({_key(text): vector.tobytes() for text, vector in zip(texts, vectors, strict=True)})
        return vectors


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
