"""A question in, reranked evidence out: embed, search all routes, fuse, rerank, decide whether there is
evidence.

Owns the order of these steps, the threads they run in, and which collection is being searched. Leaves
collections to `retrieval.store`, the meaning of a score to the reranker, rewriting of follow-up questions
to the caller.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from retrieval.calibration import shipped_calibration
from retrieval.embedders.batching import MicroBatcher
from retrieval.errors import IndexMissing, IndexUnavailable
from retrieval.fusion import min_max, reciprocal_ranks
from retrieval.store import MilvusStore, Route
from retrieval.types import Embedder, Embedding, EvidenceLevel, Filter, Hit, IndexAware, Reranker, Retrieved

Expand = Callable[[str], Sequence[str]]
"""Further names for what a text mentions (brand to generic, lay word to term); the graph provides it."""
COUNTED_PASSAGES = 5_000
"""Enough to know which words are common in a collection."""


# Named by `knowledge_base.build.collection_name`; others are tests' and benchmarks'.
_BUILT = re.compile(r"kb_(\w+)_\d{8}T\d{12}$")


def collection_word(embedder: str) -> str:
    """An embedder's name as the names of its collections spell it."""
    return "".join(char if char.isalnum() else "_" for char in embedder.lower())[:30]


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """`route_limit` chunks from each route, the best `candidates` of them reranked.

    `threshold` is a probability; None takes the reranker's calibrated one (`retrieval.calibration`).
    """

    route_limit: int = 100
    candidates: int = 50
    fusion: Literal["min-max", "rrf"] = "min-max"
    threshold: float | None = None
    workers: int = 4
    max_waiting: int = 256


class Searcher:
    """Searches the collection it is bound to. Safe for many tasks and threads at once."""

    def __init__(
        self,
        store: MilvusStore,
        embedder: Embedder,
        reranker: Reranker,
        *,
        expand: Expand | None = None,
        settings: SearchSettings | None = None,
    ) -> None:
        self.settings = SearchSettings() if settings is None else settings
        self._store = store
        self._embedder = embedder
        self._reranker = reranker
        self._expand = expand
        set_threshold = self.settings.threshold
        calibrated = shipped_calibration(reranker.name, embedder.name).threshold
        self._threshold = calibrated if set_threshold is None else set_threshold
        self._batcher = MicroBatcher(embedder, max_waiting=self.settings.max_waiting)
        self._pool = ThreadPoolExecutor(self.settings.workers, thread_name_prefix="search")
        self._index: str | None = None
        self._binding = threading.Lock()

    @property
    def index(self) -> str | None:
        """The collection being searched; None before the first `rebind` or search."""
        return self._index

    def rebind(self, name: str | None = None) -> str:
        """Load `name` (or what the alias points to) and search it from now on; blocking.

        Searches in flight finish on the collection they started with. Does nothing when it is bound to it
        already. Raises IndexMissing when nothing is activated, or what is was built with another embedder: vectors of
        the same length would be compared in silence, and mean nothing.
        """
        target = self._store.alias_target() if name is None else name
        if target is None:
            raise IndexMissing("no index has been activated yet")
        built = _BUILT.match(target)
        if built is not None and built.group(1) != collection_word(self._embedder.name):
            raise IndexMissing(
                f"{target} was built with another embedder than {self._embedder.name}; build anew"
            )
        with self._binding:
            if target != self._index:
                self._store.load(target)
                if isinstance(self._reranker, IndexAware):
                    known = self._store.passages(target, limit=COUNTED_PASSAGES)
                    self._reranker.learn_index(known, self._embedder.name)
                self._index = target
        return target

    async def search(
        self,
        query: str,
        *,
        filter: Filter | None = None,  # noqa: A002
        limit: int = 8,
        history_entities: Sequence[str] = (),
    ) -> Retrieved:
        """Evidence for `query`; never blocks the event loop.

        Raises IndexUnavailable, EmbedderUnavailable, RerankerUnavailable or RetrievalOverloaded.
        """
        started = time.perf_counter()
        embedding = await self._batcher.embed([self._spoken(query, history_entities)], "query")
        embed_ms = (time.perf_counter() - started) * 1e3
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._pool, self._find, query, embedding, filter, limit, history_entities, embed_ms
        )

    def search_now(
        self,
        query: str,
        *,
        filter: Filter | None = None,  # noqa: A002
        limit: int = 8,
        history_entities: Sequence[str] = (),
    ) -> Retrieved:
        """The same, blocking, for commands and builds."""
        started = time.perf_counter()
        embedding = self._embedder.embed([self._spoken(query, history_entities)], "query")
        embed_ms = (time.perf_counter() - started) * 1e3
        return self._find(query, embedding, filter, limit, history_entities, embed_ms)

    def close(self) -> None:
        """Stop the threads; the store and the embedder are the caller's."""
        self._batcher.close()
        self._pool.shutdown(wait=True)

    def _find(
        self,
        query: str,
        embedding: Embedding,
        wanted: Filter | None,
        limit: int,
        history_entities: Sequence[str],
        embed_ms: float,
    ) -> Retrieved:
        index = self._index
        if index is None:
            index = self.rebind()
        try:
            return self._find_in(index, query, embedding, wanted, limit, history_entities, embed_ms)
        except IndexUnavailable:
            moved_to = self._moved_from(index)
            if moved_to is None:
                raise
        return self._find_in(moved_to, query, embedding, wanted, limit, history_entities, embed_ms)

    def _moved_from(self, index: str) -> str | None:
        """Where to search now if `index` was replaced or pruned under a running search; None if it was not."""
        if self._index != index:
            return self._index
        return self.rebind() if self._store.alias_target() != index else None

    def _find_in(
        self,
        index: str,
        query: str,
        embedding: Embedding,
        wanted: Filter | None,
        limit: int,
        history_entities: Sequence[str],
        embed_ms: float,
    ) -> Retrieved:
        timings = {"embed": embed_ms}
        vector = embedding.dense[0]
        with _timed(timings, "search"):
            candidates = self.candidates(index, self._typed(query, history_entities), embedding, wanted)
        with _timed(timings, "rerank"):
            ranked = self._reranker.rerank(self._spoken(query, history_entities), vector[None, :], candidates)
        hits = tuple(hit for hit in ranked[:limit] if hit.score >= self._threshold)
        evidence = EvidenceLevel.SUFFICIENT if hits else EvidenceLevel.NONE
        return Retrieved(hits=hits, evidence=evidence, query_vector=vector, index=index, timings_ms=timings)

    def candidates(self, index: str, text: str, embedding: Embedding, wanted: Filter | None) -> list[Hit]:
        """The fused best of all routes, with their scores per route; not yet reranked. Blocking."""
        sparse = None if embedding.sparse is None else embedding.sparse[0]
        routes = self._store.search(
            index,
            dense=embedding.dense[0],
            sparse=sparse,
            text=text,
            limit=self.settings.route_limit,
            filter=wanted,
        )
        fuse = min_max if self.settings.fusion == "min-max" else reciprocal_ranks
        return gather(self._store, index, routes, fuse(routes), limit=self.settings.candidates)

    def _typed(self, query: str, history_entities: Sequence[str]) -> str:
        """The keyword query: the question, what it carries over, and other names for what it mentions."""
        spoken = self._spoken(query, history_entities)
        further = (
            [] if self._expand is None else [name for name in self._expand(spoken) if name not in spoken]
        )
        return " ".join([spoken, *further])

    @staticmethod
    def _spoken(query: str, history_entities: Sequence[str]) -> str:
        """The question with the entities of earlier turns that it does not name itself."""
        return " ".join([*(name for name in history_entities if name not in query), query])


def gather(
    store: MilvusStore,
    index: str,
    routes: Mapping[str, Route],
    fused: Mapping[str, float],
    *,
    limit: int,
) -> list[Hit]:
    """The best `limit` of `fused` (best first) with their rows and their scores per route. Blocking."""
    best = list(fused.items())[:limit]
    rows = store.get(index, [chunk_id for chunk_id, _ in best])
    per_route = {name: dict(route) for name, route in routes.items()}
    return [
        replace(rows[chunk_id], score=score, scores=_parts(chunk_id, score, per_route))
        for chunk_id, score in best
        if chunk_id in rows
    ]


def _parts(chunk_id: str, fused: float, per_route: dict[str, dict[str, float]]) -> dict[str, float]:
    found = {name: scores[chunk_id] for name, scores in per_route.items() if chunk_id in scores}
    return {"fused": fused} | found


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        timings[step] = (time.perf_counter() - started) * 1e3
