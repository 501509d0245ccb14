"""Finds the evidence for a question: search, rerank, the department it speaks for, and when to seek care.

Translates retrieval's errors: without an index the reply says so honestly instead of failing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

from app.observability import Stopwatch, log, metrics
from app.safety.types import Audience, Vector
from retrieval.errors import RetrievalError
from retrieval.search import Searcher
from retrieval.store import MilvusStore
from retrieval.types import EvidenceLevel, Filter, Hit

CARE_SECTION = "就医"
VOTING_HITS = 5
KNOWLEDGE_UNAVAILABLE = (
    "很抱歉，知识库暂时不可用，现在无法依据资料回答您的问题，请稍后再试。"
    "如果现在有胸痛、呼吸困难、一侧肢体无力、说话不清、意识不清或大出血等情况，请立即拨打120。"
)


@dataclass(frozen=True, slots=True)
class Found:
    """Numbered evidence; `care` marks the positions added because they say when to seek care."""

    hits: tuple[Hit, ...]
    evidence: EvidenceLevel
    department: str | None = None
    care: frozenset[int] = frozenset()
    query_vector: Vector | None = None
    index: str | None = None
    excuse: str | None = None
    degraded: bool = False
    timings_ms: dict[str, float] = field(default_factory=dict)


class EvidenceFinder:
    """One search per question, never on the event loop."""

    def __init__(
        self, searcher: Searcher, store: MilvusStore, *, passages: int, today: Callable[[], date]
    ) -> None:
        self._searcher = searcher
        self._store = store
        self._passages = passages
        self._today = today

    async def find(
        self,
        question: str,
        *,
        audience: Audience,
        department: str | None,
        carried: Sequence[str],
        watch: Stopwatch,
    ) -> Found:
        """Evidence for the question; never raises for a part that is down."""
        wanted = Filter(
            audience="patient" if audience is Audience.PATIENT else None, on_date=self._today().isoformat()
        )
        try:
            with watch.step("retrieve"):
                result = await self._searcher.search(
                    question, filter=wanted, limit=self._passages, history_entities=carried
                )
        except RetrievalError as error:
            log.error("retrieval_failed", error=type(error).__name__)
            metrics.retrieval_failures.labels(type(error).__name__).inc()
            return Found((), EvidenceLevel.NONE, excuse=KNOWLEDGE_UNAVAILABLE, degraded=True)
        watch.move("retrieve", "rerank", result.timings_ms.get("rerank", 0.0))
        vector = result.query_vector
        if result.evidence is EvidenceLevel.NONE:
            return Found((), result.evidence, query_vector=vector, index=result.index)
        hits, care = await self._with_care(result.hits, result.index)
        return Found(hits, result.evidence, vote(result.hits), care, vector, result.index)

    async def _with_care(self, hits: tuple[Hit, ...], index: str) -> tuple[tuple[Hit, ...], frozenset[int]]:
        """The hits, with the best document's section on when to seek care appended when it is not among them."""
        marked = frozenset(i for i, hit in enumerate(hits) if CARE_SECTION in hit.chunk.section)
        top = hits[0].chunk.document_id
        if any(hits[i].chunk.document_id == top and not hits[i].chunk.is_asked for i in marked):
            return hits, marked - {0}
        try:
            siblings = await asyncio.to_thread(self._store.document_chunks, index, top)
        except RetrievalError:
            return hits, marked - {0}
        added = [Hit(c, 0.0) for c in siblings if CARE_SECTION in c.section and not c.is_asked][:1]
        extended = (*hits, *added)
        return extended, frozenset((marked | set(range(len(hits), len(extended)))) - {0})


def vote(hits: Sequence[Hit]) -> str | None:
    """The department whose passages answer best, by the sum of their scores."""
    votes: dict[str, float] = defaultdict(float)
    for hit in hits[:VOTING_HITS]:
        votes[hit.chunk.department] += hit.score
    return max(votes, key=lambda name: votes[name]) if votes else None
