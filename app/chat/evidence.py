"""Finds the evidence for a question: search, rerank, the department it speaks for, and when to seek care.

Translates retrieval's errors: without an index the reply says so honestly instead of failing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from app.chat.department import DepartmentsNamed, vote
from app.observability import Stopwatch, log, metrics
from app.safety.injection import flag_document
from app.safety.types import Audience, Vector
from retrieval.errors import RetrievalError
from retrieval.search import Searcher
from retrieval.store import MilvusStore
from retrieval.types import EvidenceLevel, Filter, Hit

CARE_SECTION = "就医"
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
        self,
        searcher: Searcher,
        store: MilvusStore,
        *,
        passages: int,
        today: Callable[[], date],
        departments_of: DepartmentsNamed = lambda text: (),
    ) -> None:
        self._searcher = searcher
        self._store = store
        self._passages = passages
        self._today = today
        self._departments_of = departments_of

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
        named = self._departments_of(question)
        usable = without_orders(result.hits)
        if result.evidence is EvidenceLevel.NONE or not usable:
            return Found((), EvidenceLevel.NONE, vote((), named), query_vector=vector, index=result.index)
        hits, care = await self._with_care(usable, result.index)
        return Found(hits, result.evidence, vote(usable, named), care, vector, result.index)

    async def _with_care(self, hits: tuple[Hit, ...], index: str) -> tuple[tuple[Hit, ...], frozenset[int]]:
        """The hits, with the sections on when to seek care of the first document and of the one most hits are from.

        They are appended where they are not among the hits.
        """
        marked = frozenset(i for i, hit in enumerate(hits) if CARE_SECTION in hit.chunk.section)
        whole = {hits[i].chunk.document_id for i in marked}
        wanted = dict.fromkeys((hits[0].chunk.document_id, _most(hits)))
        added: list[Hit] = []
        for document in wanted:
            if document in whole:
                continue
            try:
                siblings = await asyncio.to_thread(self._store.document_chunks, index, document)
            except RetrievalError:
                break
            added += without_orders([Hit(c, 0.0) for c in siblings if CARE_SECTION in c.section][:1])
        extended = (*hits, *added)
        return extended, frozenset((marked | set(range(len(hits), len(extended)))) - {0})


def without_orders(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """The hits without the sentences that give orders to the model; a passage of nothing else is left out.

    An approved document may have been tampered with: what it orders must reach neither the model nor an answer
    that quotes it.
    """
    return tuple(clean for hit in hits if (clean := _without_orders(hit)) is not None)


def _without_orders(hit: Hit) -> Hit | None:
    chunk = hit.chunk
    flags = flag_document(chunk.text)
    if not flags:
        return hit
    log.warning("orders_dropped", document=chunk.document_id, rules=sorted({flag.rule for flag in flags}))
    text = chunk.text
    for flag in reversed(flags):
        text = text[: flag.start] + text[flag.end :]
    kept = [i for i, sentence in enumerate(chunk.sentences) if not flag_document(sentence)]
    if not text.strip():
        return None
    sources = chunk.sentence_sources
    cleaned = replace(
        chunk,
        text=text,
        sentences=tuple(chunk.sentences[i] for i in kept),
        sentence_sources=tuple(sources[i] for i in kept) if len(sources) == len(chunk.sentences) else sources,
    )
    return replace(hit, chunk=cleaned)


def _most(hits: Sequence[Hit]) -> str:
    """The document that most of the hits are from, the better one of equals."""
    return Counter(hit.chunk.document_id for hit in hits).most_common(1)[0][0]
