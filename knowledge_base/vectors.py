"""Vectors by content: a text is embedded once per embedder, then read from a cache.

Two layers: `knowledge_base/vectors/<embedder>.npz` ships with the documents of this repository, and a cache folder of
the installation takes everything else. A key is a hash of embedder and text, so a changed text is simply not found.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Embedder, Embedding, Matrix

SHIPPED = Path(__file__).parent / "vectors"
BATCH = 64
KEY_BYTES = 10

Progress = Callable[[int, int], None]


class VectorCache:
    """Dense vectors of one embedder. float16 on disk: the error of a cosine is below 0.001."""

    def __init__(self, embedder: Embedder, *, folder: Path | None = None, shipped: Path = SHIPPED) -> None:
        self._embedder = embedder
        self._file = None if folder is None else folder / f"vectors-{embedder.name}.npz"
        self._known: dict[bytes, NDArray[np.float16]] = {}
        self._fresh = 0
        for path in (shipped / f"{embedder.name}.npz", self._file):
            if path is not None and path.exists():
                self._known.update(_read(path, embedder.dim))

    def key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self._embedder.name}\0{text}".encode("utf-8", "replace")).digest()[
            :KEY_BYTES
        ]

    def missing(self, texts: Iterable[str]) -> list[str]:
        """Texts without a vector, each once."""
        return [text for text in dict.fromkeys(texts) if self.key(text) not in self._known]

    def fill(self, texts: Sequence[str], progress: Progress | None = None) -> int:
        """Embeds what is missing (in batches, saved every few hundred); returns how many."""
        todo = self.missing(texts)
        for start in range(0, len(todo), BATCH):
            batch = todo[start : start + BATCH]
            vectors = self._embedder.embed(batch, "document").dense
            for text, vector in zip(batch, vectors, strict=True):
                self._known[self.key(text)] = vector.astype(np.float16)
            self._fresh += len(batch)
            if progress is not None:
                progress(min(start + BATCH, len(todo)), len(todo))
            if self._fresh >= 8 * BATCH:
                self.save()
        self.save()
        return len(todo)

    def dense(self, texts: Sequence[str]) -> Matrix:
        """(n, dim) float32 unit vectors of texts that were filled before. Raises KeyError for others."""
        if not texts:
            return np.zeros((0, self._embedder.dim), dtype=np.float32)
        rows = np.stack([self._known[self.key(text)] for text in texts]).astype(np.float32)
        norms: Matrix = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.maximum(norms, 1e-12)

    def embedding(self, texts: Sequence[str]) -> Embedding:
        return Embedding(self.dense(texts))

    def save(self) -> None:
        """Writes the cache of this installation, atomically."""
        if self._file is not None and self._fresh:
            write_vectors(self._file, self._known)
        self._fresh = 0

    def export(self, path: Path, texts: Iterable[str]) -> int:
        """Writes the vectors of exactly these texts; returns how many."""
        chosen = {self.key(text): self._known[self.key(text)] for text in texts}
        write_vectors(path, chosen)
        return len(chosen)


def write_vectors(path: Path, known: dict[bytes, NDArray[np.float16]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = sorted(known)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("wb") as file:
        np.savez(
            file,
            keys=np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES),
            vectors=np.stack([known[key] for key in keys]) if keys else np.zeros((0, 0), dtype=np.float16),
        )
    scratch.replace(path)


def _read(path: Path, dim: int) -> dict[bytes, NDArray[np.float16]]:
    try:
        with np.load(path, allow_pickle=False) as data:
            keys, vectors = data["keys"], data["vectors"]
    except (OSError, ValueError, KeyError, EOFError):
        return {}
    if vectors.ndim != 2 or (len(keys) and vectors.shape[1] != dim):
        return {}
    return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}
