"""Embeddings from a service: OpenAI's form (`/v1/embeddings`, also vLLM's pooling models) or text-
embeddings-inference.

Owns both payloads and the checks on what comes back. With text-embeddings-inference the lexical weights of
`/embed_sparse` are asked for too when the spec's dialect is "tei-sparse".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np

from retrieval.embedders.base import EmbedderSpec
from retrieval.errors import EmbedderUnavailable
from retrieval.http_client import JsonService, ServiceError
from retrieval.types import Embedding, Matrix, Purpose, SparseVector


class HttpEmbedder:
    """Blocking. `transport` replaces the network in tests."""

    def __init__(self, spec: EmbedderSpec, *, transport: httpx.BaseTransport | None = None) -> None:
        if not spec.url:
            raise EmbedderUnavailable("the http embedder needs an address")
        self.name = "http_" + re.sub(r"[^a-z0-9]+", "_", spec.model.lower()).strip("_")
        self.dim = spec.dim
        self._spec = spec
        self._service = JsonService(
            spec.url, api_key=spec.api_key, timeout_s=spec.timeout_s, transport=transport
        )

    def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
        """(n, dim) unit vectors, and lexical weights for the dialect that has them."""
        prefix = self._spec.query_prefix if purpose == "query" else self._spec.document_prefix
        ready = [prefix + text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        dense: list[Matrix] = [np.zeros((0, self.dim), dtype=np.float32)]
        sparse: list[SparseVector] = []
        try:
            for start in range(0, len(ready), self._spec.batch_size):
                batch = ready[start : start + self._spec.batch_size]
                dense.append(self._dense(batch))
                if self._spec.dialect == "tei-sparse":
                    sparse.extend(self._sparse(batch))
        except ServiceError as error:
            raise EmbedderUnavailable(str(error)) from error
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise EmbedderUnavailable(f"{self._spec.url}: not the answer of an embedding service") from error
        return Embedding(np.concatenate(dense), tuple(sparse) if self._spec.dialect == "tei-sparse" else None)

    def _dense(self, batch: list[str]) -> Matrix:
        if self._spec.dialect == "openai":
            payload: dict[str, Any] = {"model": self._spec.model, "input": batch, "encoding_format": "float"}
            data = sorted(
                self._service.post("/v1/embeddings", payload)["data"], key=lambda d: int(d["index"])
            )
            rows = [item["embedding"] for item in data]
        else:
            rows = self._service.post("/embed", {"inputs": batch, "normalize": True, "truncate": True})
        matrix = np.asarray(rows, dtype=np.float32)
        if matrix.shape != (len(batch), self.dim) or not np.isfinite(matrix).all():
            raise ServiceError(
                f"{self._spec.url}: vectors of shape {matrix.shape}, expected ({len(batch)}, {self.dim})"
            )
        return np.asarray(matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12))

    def _sparse(self, batch: list[str]) -> list[SparseVector]:
        rows = self._service.post("/embed_sparse", {"inputs": batch, "truncate": True})
        if len(rows) != len(batch):
            raise ServiceError(f"{self._spec.url}: {len(rows)} sparse vectors for {len(batch)} texts")
        return [{int(part["index"]): float(part["value"]) for part in row} for row in rows]
