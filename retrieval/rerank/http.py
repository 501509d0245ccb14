"""A reranker behind a service: text-embeddings-inference (`/rerank`) or vLLM and Jina's form (`/v1/rerank`).

Owns both payloads and the checks on what comes back. Scores outside 0..1 (raw logits) go through a sigmoid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import httpx

from retrieval.errors import RerankerUnavailable
from retrieval.http_client import JsonService, ServiceError
from retrieval.rerank.bge import by_score
from retrieval.types import Hit, Matrix


@dataclass(frozen=True, slots=True)
class HttpRerankerSpec:
    """`raw_scores` says that the service answers with logits rather than probabilities."""

    url: str
    model: str = "BAAI/bge-reranker-v2-m3"
    api_key: str | None = None
    dialect: Literal["tei", "jina"] = "tei"
    raw_scores: bool = False
    timeout_s: float = 10.0


class HttpReranker:
    """Blocking. `transport` replaces the network in tests."""

    name = "http_reranker"

    def __init__(self, spec: HttpRerankerSpec, *, transport: httpx.BaseTransport | None = None) -> None:
        self._spec = spec
        self._service = JsonService(
            spec.url, api_key=spec.api_key, timeout_s=spec.timeout_s, transport=transport
        )

    def rerank(self, query: str, query_vector: Matrix, hits: Sequence[Hit]) -> list[Hit]:
        """Best first. Raises RerankerUnavailable when not every hit gets a score."""
        if not hits:
            return []
        texts = [hit.chunk.embedded_text for hit in hits]
        try:
            scores = self._ask(query.encode("utf-8", "replace").decode("utf-8"), texts)
            ordered = [scores[i] for i in range(len(hits))]
        except ServiceError as error:
            raise RerankerUnavailable(str(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            raise RerankerUnavailable(f"{self._spec.url}: not the answer of a reranking service") from error
        return by_score(hits, [_sigmoid(s) if self._spec.raw_scores else s for s in ordered])

    def _ask(self, query: str, texts: list[str]) -> dict[int, float]:
        if self._spec.dialect == "tei":
            payload = {"query": query, "texts": texts, "raw_scores": self._spec.raw_scores, "truncate": True}
            items, key = self._service.post("/rerank", payload), "score"
        else:
            body = {"model": self._spec.model, "query": query, "documents": texts}
            items, key = self._service.post("/v1/rerank", body)["results"], "relevance_score"
        return {int(item["index"]): _finite(item[key]) for item in items}


def _finite(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise ValueError("a score is not a number")
    return number


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value > -700 else 0.0
