"""Fusing the routes of a hybrid search into one order.

Owns two ways: reciprocal ranks, and per-query min-max scores with weights. Raw scores of different routes
are never added: a cosine and a BM25 score have nothing in common but their order. Which way is the default
was measured (`benchmarks/retrieval.py`, figures in docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

RRF_K = 60
"""Constant of Cormack, Clarke and Büttcher (SIGIR 2009)."""
DEFAULT_WEIGHTS: Mapping[str, float] = {"dense": 0.6, "bm25": 0.4, "lexical": 0.4}

Scored = Sequence[tuple[str, float]]


def reciprocal_ranks(routes: Mapping[str, Scored], *, k: int = RRF_K) -> dict[str, float]:
    """Sum of 1 / (k + rank) over the routes that found the chunk; best first."""
    fused: dict[str, float] = {}
    for route in routes.values():
        for rank, (chunk_id, _) in enumerate(route, start=1):
            fused[chunk_id] = fused.get(chunk_id, 0.0) + 1.0 / (k + rank)
    return _best_first(fused)


def min_max(
    routes: Mapping[str, Scored], *, weights: Mapping[str, float] = DEFAULT_WEIGHTS
) -> dict[str, float]:
    """Weighted sum of each route's scores stretched to 0..1 within this query; best first.

    A chunk that a route did not find counts as that route's lowest score. Weights of the routes at hand are
    scaled to sum to one, so that a search with one route still runs from 0 to 1.
    """
    total = sum(weights.get(name, 0.0) for name, route in routes.items() if route)
    fused: dict[str, float] = {}
    for name, route in routes.items():
        if not route or total <= 0.0:
            continue
        low, high = min(s for _, s in route), max(s for _, s in route)
        share = weights.get(name, 0.0) / total
        for chunk_id, score in route:
            part = (score - low) / (high - low) if high > low else 1.0
            fused[chunk_id] = fused.get(chunk_id, 0.0) + share * part
    return _best_first(fused)


def _best_first(fused: dict[str, float]) -> dict[str, float]:
    return dict(sorted(fused.items(), key=lambda item: (-item[1], item[0])))
