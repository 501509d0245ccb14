"""What the embedded reranker looks at, computed for all candidates of a question at once.

Owns the features and their order; leaves weights to `retrieval.rerank.embedded`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.tokens import Tokenizer, bigrams, normalise
from retrieval.types import Hit, Matrix, Stored

FEATURES = ("passage", "best_sentence", "top_sentences", "terms", "pairs", "heading", "fused")


def feature_matrix(
    query: str, query_vector: Matrix, hits: Sequence[Hit], tokenizer: Tokenizer
) -> NDArray[np.float64]:
    """(n hits, n FEATURES); every hit must carry `stored`. Raises ValueError when one does not."""
    parts = [_stored(hit) for hit in hits]
    vector = np.asarray(query_vector, dtype=np.float32).reshape(-1)
    passage = np.stack([part.vector for part in parts]) @ vector
    best, top = _sentence_similarity(vector, parts, passage)
    words = set(tokenizer.words(query))
    pairs = bigrams(normalise(query))
    token_sets = [set(part.tokens) for part in parts]
    pair_sets = [bigrams(normalise(hit.chunk.embedded_text)) for hit in hits]
    headings = [
        bigrams(normalise(f"{h.chunk.title}\n{h.chunk.section}\n{' '.join(h.chunk.keywords)}")) for h in hits
    ]
    columns = (
        passage,
        best,
        top,
        _weighted_share(words, token_sets),
        _weighted_share(pairs, pair_sets),
        _weighted_share(pairs, headings),
        np.array([hit.scores.get("fused", 0.0) for hit in hits]),
    )
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def _stored(hit: Hit) -> Stored:
    if hit.stored is None:
        raise ValueError(f"{hit.chunk.chunk_id} comes without its stored vectors")
    return hit.stored


def _sentence_similarity(
    vector: NDArray[np.float32], parts: Sequence[Stored], passage: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Best sentence, and mean of the best three; the passage's own similarity where there is no sentence."""
    counts = [len(part.sentence_vectors) for part in parts]
    if not sum(counts):
        return passage, passage
    similar = np.split(np.concatenate([p.sentence_vectors for p in parts]) @ vector, np.cumsum(counts)[:-1])
    best, top = passage.copy(), passage.copy()
    for i, scores in enumerate(similar):
        if len(scores):
            ordered = np.sort(scores)[::-1]
            best[i], top[i] = ordered[0], ordered[:3].mean()
    return best, top


def _weighted_share(wanted: set[str], found: Sequence[set[str]]) -> NDArray[np.float64]:
    """Share of `wanted` that each candidate has; what few candidates have weighs more."""
    n = len(found)
    weights = {w: math.log1p((n + 1.0) / (0.5 + sum(w in f for f in found))) for w in wanted}
    total = sum(weights.values())
    if not total:
        return np.zeros(n)
    return np.array([sum(weights[w] for w in wanted & f) / total for f in found])
