"""Sentence vectors: each unique text is encoded once, in length-sorted batches, and kept on disk."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idl_hf.offline import cache_folder, hub_errors_name_offline, resolve_encoder

DEFAULT_ENCODER = "sentence-transformers/all-mpnet-base-v2"  # paper, footnote 2
ENCODER_VARIABLE = "IDL_HF_ENCODER"
_AHEAD = 20_000
_QUERY_SIZE = 500  # SQLite's oldest limit on parameters is 999


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
    The cache is one SQLite file per model, safe for several processes at once.
    """

    def __init__(self, name: str, batch_size: int = 64, show_progress: bool = True) -> None:
        self.name = name
        self.encoded_count = 0  # texts that went through the model, for reports and tests
        self._path = resolve_encoder(name)
        self._batch_size = batch_size
        self._show_progress = show_progress
        self._model: Any = None

    def encode_ahead(self, texts: Iterable[str]) -> None:
        """Puts the vectors of all texts into the cache, a bounded number at a time."""
        unique = list(dict.fromkeys(texts))
        for start in range(0, len(unique), _AHEAD):
            self.encode(unique[start : start + _AHEAD])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), d); repeated texts share one encoding."""
        unique = list(dict.fromkeys(texts))
        keys = [hashlib.sha256(text.encode()).digest() for text in unique]
        with closing(_open_cache(self._cache_file)) as cache:
            known = dict(_read(cache, keys))
            missing = [i for i, key in enumerate(keys) if key not in known]
            if missing:
                vectors = self._encode_new([unique[i] for i in missing])
                fresh = {keys[i]: vector.tobytes() for i, vector in zip(missing, vectors, strict=True)}
                with cache:
                    cache.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", fresh.items())
                known |= fresh
        rows = {text: i for i, text in enumerate(unique)}
        matrix = (
            np.stack([np.frombuffer(known[key], dtype=np.float32) for key in keys])
            if keys
            else np.zeros((0, 0), np.float32)
        )
        return matrix[[rows[text] for text in texts]]

    def _encode_new(self, texts: list[str]) -> NDArray[np.float32]:
        if self._model is None:
            from sentence_transformers import SentenceTransformer

            with hub_errors_name_offline(self.name, f"encoder='offline' (or set {ENCODER_VARIABLE}=offline)"):
                self._model = SentenceTransformer(self._path)
        self.encoded_count += len(texts)
        return self._model.encode(  # sorts by length itself
            texts,
            batch_size=self._batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=self._show_progress and len(texts) > 10 * self._batch_size,
        ).astype(np.float32)

    @property
    def _cache_file(self) -> Path:
        key = hashlib.sha256(encoder_identity(self.name).encode()).hexdigest()
        return cache_folder() / "embeddings" / f"{key[:24]}.sqlite"


def _open_cache(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    cache = sqlite3.connect(path, timeout=120)
    cache.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
    return cache


def _read(cache: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(keys), _QUERY_SIZE):
        batch = keys[start : start + _QUERY_SIZE]
        marks = ",".join("?" * len(batch))
        yield from cache.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", batch)
