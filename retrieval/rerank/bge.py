"""bge-reranker-v2-m3 through FlagEmbedding: a cross-encoder that reads question and passage together (extra
`bge`).

Owns loading it and its scores (`normalize=True`, a sigmoid, so already between 0 and 1).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from retrieval.embedders.bge_m3 import resolve_model
from retrieval.errors import RerankerUnavailable
from retrieval.types import Hit, Matrix


@dataclass(frozen=True, slots=True)
class FlagRerankerSpec:
    """`model` is a folder, a Hugging Face id or a ModelScope id (`hub`)."""

    model: str = "BAAI/bge-reranker-v2-m3"
    hub: Literal["huggingface", "modelscope"] = "huggingface"
    device: str = "cpu"
    use_fp16: bool = False
    batch_size: int = 16
    max_tokens: int = 512


class BgeReranker:
    """Blocking; calls take turns on the one model."""

    name = "bge_reranker"

    def __init__(self, spec: FlagRerankerSpec) -> None:
        self._lock = threading.Lock()
        try:
            from FlagEmbedding import FlagReranker

            self._model = FlagReranker(
                resolve_model(spec.model, spec.hub),
                use_fp16=spec.use_fp16,
                devices=spec.device,
                batch_size=spec.batch_size,
                max_length=spec.max_tokens,
            )
        except ImportError as error:
            raise RerankerUnavailable(
                "the cross-encoder needs FlagEmbedding: install the extra `bge`"
            ) from error
        except Exception as error:
            raise RerankerUnavailable(
                f"the cross-encoder cannot be loaded from {spec.model}: {error}"
            ) from error

    def rerank(self, query: str, query_vector: Matrix, hits: Sequence[Hit]) -> list[Hit]:
        """Best first; the score is the model's probability. The query vector is not used."""
        if not hits:
            return []
        question = query.encode("utf-8", "replace").decode("utf-8")
        pairs = [(question, hit.chunk.embedded_text) for hit in hits]
        try:
            with self._lock:
                scores = self._model.compute_score(pairs, normalize=True)
        except RuntimeError as error:
            raise RerankerUnavailable(f"the cross-encoder failed: {error}") from error
        return by_score(hits, [float(score) for score in scores])


def by_score(hits: Sequence[Hit], scores: Sequence[float]) -> list[Hit]:
    """The hits with these scores, best first."""
    scored = [
        replace(hit, score=score, scores=hit.scores | {"rerank": score})
        for hit, score in zip(hits, scores, strict=True)
    ]
    return sorted(scored, key=lambda hit: (-hit.score, hit.chunk.chunk_id))
