"""Sentence vectors: each unique text is encoded once, in length-sorted batches, and kept on disk."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from idl_hf.cache import Cache, cache_folder, code_identity, digest
from idl_hf.models.identity import files_identity, refuse_pickles
from idl_hf.models.offline import hub_errors_name_offline, resolve_encoder

DEFAULT_ENCODER = "sentence-transformers/all-mpnet-base-v2"  # paper, footnote 2
ENCODER_VARIABLE = "IDL_HF_ENCODER"
_AHEAD = 2048  # texts encoded before they are written down
_DECIMALS = 5  # the last bits of a vector depend on the texts that were encoded along with its own


def rounded(values: ArrayLike) -> NDArray[np.float64]:
    """Return vectors, or what is computed from them, without the bits that rounding leaves to chance.
    Whatever decides anything is rounded first, so that values that should be equal are, and the first of them wins."""
    exact = np.round(np.asarray(values, dtype=np.float64), _DECIMALS) + 0.0  # no -0.0
    return exact.astype(np.float64, copy=False)


def default_encoder() -> str:
    """Return the paper's, unless $IDL_HF_ENCODER names another for this machine."""
    return os.environ.get(ENCODER_VARIABLE) or DEFAULT_ENCODER


def encoder_identity(name: str) -> str:
    """Return what tells this encoder from others."""
    path = resolve_encoder(name)
    return files_identity(path) if Path(path).is_dir() else name


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
        """Put the vectors of all texts into the cache: sorted by length over all of them, a part at a time, so that
        memory is bounded and an interruption loses one part."""
        keys = {_key(text): text for text in texts}
        known = self._cache.known(list(keys))
        missing = sorted((text for key, text in keys.items() if key not in known), key=len, reverse=True)
        show = self._show_progress and len(missing) > _AHEAD
        with tqdm(total=len(missing), desc="Encoding sentences", unit="", disable=not show) as bar:
            for start in range(0, len(missing), _AHEAD):
                part = missing[start : start + _AHEAD]
                vectors = self._encode_new(part)
                self._cache.write({_key(text): vector.tobytes() for text, vector in zip(part, vectors, strict=True)})
                bar.update(len(part))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors, shape (len(texts), d); repeated texts share one encoding."""

        def compute(places: list[int]) -> Iterator[dict[int, bytes]]:
            vectors = self._encode_new([texts[place] for place in places])
            yield {place: vector.tobytes() for place, vector in zip(places, vectors, strict=True)}

        values = self._cache.values([_key(text) for text in texts], compute)
        return (
            np.stack([np.frombuffer(value, np.float32) for value in values])
            if values
            else np.zeros((0, 0), np.float32)
        )

    @property
    def _cache(self) -> Cache:
        made_of = digest(self.identity, code_identity("idl_hf.encoding", "sentence-transformers"))
        return Cache(_folder() / f"{made_of.hex()[:24]}.sqlite", _is_unit_vector)

    def _encode_new(self, texts: list[str]) -> NDArray[np.float32]:
        if self._model is None:
            from sentence_transformers import SentenceTransformer

            refuse_pickles(self._path, subfolders=True)
            with hub_errors_name_offline(self.name, f"encoder='offline' (or set {ENCODER_VARIABLE}=offline)"):
                self._model = SentenceTransformer(
                    self._path, trust_remote_code=False, model_kwargs={"use_safetensors": True}
                )
        self.encoded_count += len(texts)
        vectors = self._model.encode(  # sorts by length itself
            texts,
            batch_size=self._batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        if not np.isfinite(vectors).all():
            raise ValueError(
                f"The sentence encoder '{self.name}' makes vectors that are not finite. Pass another one."
            )
        return vectors.astype(np.float32)


def forget_vectors(texts: Iterable[str]) -> int:
    """Remove the vectors of texts by any encoder from this machine and return how many there were."""
    keys = list(map(_key, texts))
    return sum(Cache(file).remove(keys) for file in sorted(_folder().glob("*.sqlite")))


def _folder() -> Path:
    return cache_folder() / "embeddings"


def _is_unit_vector(value: bytes) -> bool:
    return len(value) % 4 == 0 and abs(float(np.linalg.norm(np.frombuffer(value, np.float32))) - 1) < 0.01  # not NaN


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
