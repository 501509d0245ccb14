"""BGE-M3 through FlagEmbedding: dense vectors and lexical weights in one pass (extra `bge`).

Owns finding the model (a folder, Hugging Face or ModelScope) and turning FlagEmbedding's output into the
package's types. Imported only when asked for; a folder needs no network, and a hub is asked only for a
model that is an id.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from retrieval.embedders.base import EmbedderSpec
from retrieval.errors import EmbedderUnavailable
from retrieval.types import Embedding, Purpose, SparseVector


class BgeM3Embedder:
    """Blocking; calls take turns on the one model. BGE-M3 wants no prefixes, so both purposes are alike."""

    name = "bge_m3"

    def __init__(self, spec: EmbedderSpec) -> None:
        self._spec = spec
        self._lock = threading.Lock()
        try:
            from FlagEmbedding import BGEM3FlagModel

            self._model = BGEM3FlagModel(
                resolve_model(spec.model, spec.hub),
                use_fp16=spec.use_fp16,
                devices=spec.device,
                batch_size=spec.batch_size,
                query_max_length=spec.max_tokens,
                passage_max_length=spec.max_tokens,
                normalize_embeddings=True,
            )
        except ImportError as error:
            raise EmbedderUnavailable("BGE-M3 needs FlagEmbedding: install the extra `bge`") from error
        except Exception as error:
            raise EmbedderUnavailable(f"BGE-M3 cannot be loaded from {spec.model}: {error}") from error
        self.dim = int(self._model.model.model.config.hidden_size)

    def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
        """(n, hidden) unit vectors and, per text, lexical weights by token id."""
        if not texts:
            return Embedding(np.zeros((0, self.dim), dtype=np.float32), ())
        encode = self._model.encode_queries if purpose == "query" else self._model.encode_corpus
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        try:
            with self._lock:
                output = encode(clean, return_dense=True, return_sparse=True, return_colbert_vecs=False)
        except RuntimeError as error:
            raise EmbedderUnavailable(f"BGE-M3 failed: {error}") from error
        dense = np.asarray(output["dense_vecs"], dtype=np.float32).reshape(len(texts), -1)
        return Embedding(dense, tuple(map(_lexical, output["lexical_weights"])))


def resolve_model(model: str, hub: str) -> str:
    """A local folder for `model`; ids are fetched by the hub's own client, folders are taken as they are."""
    if Path(model).is_dir() or hub == "huggingface":
        return model
    from modelscope import snapshot_download

    return str(snapshot_download(model))


def _lexical(weights: Mapping[str, float]) -> SparseVector:
    return {int(token): float(weight) for token, weight in weights.items() if float(weight) > 0.0}
