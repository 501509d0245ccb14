"""Vectors by content: a text is embedded once per embedder, then read from a cache.

Two layers: `knowledge_base/vectors/<embedder>.npz` ships with the documents of this repository, and a cache folder of
the installation takes everything else. A key is a hash of embedder and text, so a changed text is simply not found.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Embedder, Matrix

SHIPPED = Path(__file__).parent / "vectors"
BATCH = 8
"""Small, so that a build can be stopped quickly and progress is seen; larger batches were not faster on a CPU."""
SAVE_EVERY = 512
KEY_BYTES = 10
MAX_KEPT = 400_000
"""Texts in the cache of an installation, about 300 MB; beyond it the cache starts anew."""

Progress = Callable[[int, int], None]
Vectors = dict[bytes, NDArray[np.float16]]


class VectorCache:
    """Dense vectors of one embedder as float16: the error of a cosine is below 0.001. One user at a time."""

    def __init__(self, embedder: Embedder, *, folder: Path | None = None, shipped: Path = SHIPPED) -> None:
        self._embedder = embedder
        name = self._embedder.name
        self._file = None if folder is None else folder / f"vectors-{name}.npz"
        self._shipped = _read(shipped / f"{name}.npz", embedder.dim)
        self._own: Vectors = {} if self._file is None else _read(self._file, embedder.dim)
        if len(self._own) > MAX_KEPT:
            self._own = {}
        self._fresh = 0

    @property
    def embedder(self) -> str:
        """The name of the embedder whose vectors are kept, and of its file."""
        return self._embedder.name

    def key(self, text: str) -> bytes:
        """What a text is known by; depends on every character and on the embedder."""
        seed = f"{self._embedder.name}\0{text}".encode("utf-8", "replace")
        return hashlib.sha256(seed).digest()[:KEY_BYTES]

    def missing(self, texts: Iterable[str]) -> list[str]:
        """Texts without a vector, each once."""
        return [text for text in dict.fromkeys(texts) if self._find(self.key(text)) is None]

    def fill(self, texts: Sequence[str], progress: Progress | None = None) -> int:
        """Embeds what is missing, saving every few hundred so that a killed build loses little; returns how many.

        Whatever `progress` raises ends the work after what was done is saved.
        """
        todo = self.missing(texts)
        try:
            for start in range(0, len(todo), BATCH):
                batch = todo[start : start + BATCH]
                vectors = self._embedder.embed(batch, "document").dense
                for text, vector in zip(batch, vectors, strict=True):
                    self._own[self.key(text)] = vector.astype(np.float16)
                self._fresh += len(batch)
                if self._fresh >= SAVE_EVERY:
                    self.save()
                if progress is not None:
                    progress(min(start + BATCH, len(todo)), len(todo))
        finally:
            self.save()
        return len(todo)

    def dense(self, texts: Sequence[str]) -> Matrix:
        """(n, dim) float32 unit vectors of texts that were filled before. Raises KeyError for others."""
        if not texts:
            return np.zeros((0, self._embedder.dim), dtype=np.float32)
        rows = np.stack([self._get(text) for text in texts]).astype(np.float32)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.maximum(norms, 1e-12), dtype=np.float32)

    def save(self) -> None:
        """Writes the cache of this installation, atomically, keeping what others wrote meanwhile."""
        if self._file is not None and self._fresh:
            self._own = {**_read(self._file, self._embedder.dim), **self._own}
            write_vectors(self._file, self._own)
        self._fresh = 0

    def export(self, path: Path, texts: Iterable[str]) -> int:
        """Writes the vectors of exactly these texts, 8 bits a number; returns how many."""
        chosen = {self.key(text): self._get(text) for text in texts}
        write_vectors(path, chosen, small=True)
        return len(chosen)

    def _find(self, key: bytes) -> NDArray[np.float16] | None:
        found = self._own.get(key)
        return self._shipped.get(key) if found is None else found

    def _get(self, text: str) -> NDArray[np.float16]:
        found = self._find(self.key(text))
        if found is None:
            raise KeyError(text[:40])
        return found


def write_vectors(path: Path, known: Mapping[bytes, NDArray[np.float16]], *, small: bool = False) -> None:
    """One file of keys (n, KEY_BYTES) and vectors (n, dim); `small` stores int8 with one scale a vector.

    The same vectors give the same bytes. The error of a cosine through int8 is about 0.0001.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = sorted(known)
    rows = np.stack([known[key] for key in keys]) if keys else np.zeros((0, 0), dtype=np.float16)
    arrays: dict[str, NDArray[Any]] = {
        "keys": np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES),
        "vectors": rows,
    }
    if small and keys:
        wide = rows.astype(np.float32)
        arrays["scales"] = np.maximum(np.abs(wide).max(axis=1), 1e-12) / 127
        arrays["vectors"] = np.round(wide / arrays["scales"][:, None]).astype(np.int8)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    scratch.replace(path)


def _read(path: Path, dim: int) -> Vectors:
    """What a file holds; nothing when it is absent, damaged, or of an embedder with other dimensions."""
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as data:
            keys, vectors = data["keys"], data["vectors"]
            if "scales" in data.files:
                vectors = (vectors.astype(np.float32) * data["scales"][:, None]).astype(np.float16)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    if vectors.ndim != 2 or len(keys) != len(vectors) or (len(keys) and vectors.shape[1] != dim):
        return {}
    return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}
