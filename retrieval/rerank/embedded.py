"""The embedded reranker: no model call, only what the index stored and arithmetic.

Owns turning features (`retrieval.rerank.features`) into a probability with learned weights
(`retrieval/data/embedded_reranker.json`, made by `retrieval.rerank.train`). Leaves the evidence threshold
to the search.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.rerank.features import FEATURES, feature_matrix
from retrieval.tokens import DATA, Tokenizer, default_tokenizer
from retrieval.types import Hit, Matrix

MentionsOf = Callable[[str], Collection[str]]
"""Entity ids named in a text; the graph provides it."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A linear score over FEATURES and the logistic curve that makes it a probability."""

    coefficients: NDArray[np.float64]
    slope: float
    intercept: float

    @classmethod
    def read(cls, path: Path) -> Weights:
        """Raises ValueError when the file was trained for other features than this code computes."""
        data = json.loads(path.read_text(encoding="utf-8"))
        if set(data["coefficients"]) != set(FEATURES):
            raise ValueError(f"{path.name} was trained for other features; run retrieval.rerank.train again")
        coefficients = np.array([data["coefficients"][name] for name in FEATURES], dtype=np.float64)
        return cls(coefficients, float(data["slope"]), float(data["intercept"]))


class EmbeddedReranker:
    """Orders hits that carry `stored` parts; about 5 ms for 40 candidates."""

    name = "embedded"

    def __init__(
        self,
        *,
        weights: Weights | None = None,
        tokenizer: Tokenizer | None = None,
        mentions: MentionsOf | None = None,
    ) -> None:
        self._weights = Weights.read(DATA / "embedded_reranker.json") if weights is None else weights
        self._tokenizer = default_tokenizer() if tokenizer is None else tokenizer
        self._mentions = mentions

    def rerank(self, query: str, query_vector: Matrix, hits: Sequence[Hit]) -> list[Hit]:
        """Best first, with `score` a probability in 0..1 and the features kept in `scores`."""
        if not hits:
            return []
        matrix = feature_matrix(query, query_vector, hits, self._tokenizer)
        raw = matrix @ self._weights.coefficients
        chance = 1.0 / (1.0 + np.exp(-(self._weights.slope * raw + self._weights.intercept)))
        scored = [
            replace(hit, score=float(p), scores=hit.scores | {"rerank": float(r)})
            for hit, p, r in zip(hits, chance, raw, strict=True)
        ]
        return sorted(scored, key=lambda hit: (-hit.scores["rerank"], hit.chunk.chunk_id))
