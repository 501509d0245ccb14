"""The embedded reranker: no model call, only what the index stored and arithmetic.

Owns turning features (`retrieval.rerank.features`) into an order with learned weights
(`retrieval/data/embedded_reranker.json`, made by `retrieval.rerank.train`) and into a probability with the
calibrated curve (`retrieval.calibrate`). The order follows the ranking weights, which were learned to tell
passages of one question apart; the probability compares across questions. Leaves the evidence threshold to
the search.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.calibration import Calibration, shipped_calibration
from retrieval.rerank.features import FEATURES, FeatureExtractor, MentionsOf
from retrieval.rerank.word_weights import WordWeights, shipped_word_weights
from retrieval.tokens import DATA, Tokenizer, default_tokenizer
from retrieval.types import ANXIN_E5, Hit, Matrix

WEIGHTS_FILE = "embedded_reranker.json"
DEFAULT_EMBEDDER = ANXIN_E5
Material = Literal["plain", "documents"]
"""What is searched: texts alone, or passages of documents with titles and headings."""


def entry_name(embedder: str, material: Material) -> str:
    """The key of weights in the file."""
    return embedder if material == "plain" else f"{embedder}/{material}"


@dataclass(frozen=True, slots=True)
class Weights:
    """Coefficients of FEATURES, for features as they come (not standardised)."""

    coefficients: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path, embedder: str, material: Material = "plain") -> Weights:
        """The entry of an embedder for this material, else its plain one, else the default embedder's.

        Raises ValueError when the file was trained for other features than this code computes.
        """
        entries = json.loads(path.read_text(encoding="utf-8"))
        plain = entries.get(embedder, entries[DEFAULT_EMBEDDER])
        named = entries.get(entry_name(embedder, material), plain)["coefficients"]
        if set(named) != set(FEATURES):
            raise ValueError(f"{path.name} was trained for other features; run retrieval.rerank.train again")
        return cls(np.array([named[name] for name in FEATURES], dtype=np.float64))


@dataclass(frozen=True, slots=True)
class _Learned:
    """What changes with the collection served, replaced as one."""

    features: FeatureExtractor
    weights: Weights
    calibration: Calibration


class EmbeddedReranker:
    """Orders hits that carry `stored` parts. `mentions` adds graph entities to what is compared.

    `material` chooses weights that were learned on passages of that kind: answers of a forum and sections of a
    document differ in what makes one the right one.

    Weights and calibration belong to an embedder, for cosines of different embedders differ in range.
    """

    name = "embedded"

    def __init__(
        self,
        *,
        embedder: str = DEFAULT_EMBEDDER,
        material: Material = "plain",
        tokenizer: Tokenizer | None = None,
        mentions: MentionsOf | None = None,
    ) -> None:
        self._tokenizer = default_tokenizer() if tokenizer is None else tokenizer
        self._mentions = mentions
        self._material: Material = material
        self._shipped = shipped_word_weights()
        self._learned = self._for(embedder, self._shipped)

    def learn_index(self, passages: Iterable[tuple[Sequence[str], str]], embedder: str) -> None:
        """Get ready for a collection: count its words, take the weights of its embedder.

        Questions being reranked meanwhile keep what they started with.
        """
        self._learned = self._for(embedder, self._shipped.plus(WordWeights.count(passages)))

    def rerank(self, query: str, query_vector: Matrix, hits: Sequence[Hit]) -> list[Hit]:
        """Best first, `score` the probability that a passage answers; `scores` gains every feature."""
        if not hits:
            return []
        learned = self._learned
        rows = learned.features.matrix(query, query_vector, hits)
        chances = learned.calibration.probabilities(FEATURES, rows)
        order = rows @ learned.weights.coefficients
        scored = [
            replace(
                hit,
                score=float(chance),
                scores=hit.scores | dict(zip(FEATURES, row, strict=True)) | {"rerank": float(rank)},
            )
            for hit, row, chance, rank in zip(hits, rows.tolist(), chances, order, strict=True)
        ]
        return sorted(scored, key=lambda hit: (-hit.scores["rerank"], hit.chunk.chunk_id))

    def _for(self, embedder: str, weights: WordWeights) -> _Learned:
        return _Learned(
            FeatureExtractor(self._tokenizer, weights, self._mentions),
            Weights.read(DATA / WEIGHTS_FILE, embedder, self._material),
            shipped_calibration(self.name, embedder),
        )
