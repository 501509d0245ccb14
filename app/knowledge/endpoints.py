"""Knowledge over HTTP: search, articles, and the medical graph. Reading is open to everybody, within limits."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import StringConstraints

from app.chat.schemas import Department
from app.dependencies import Caller, Parts, limit_reading
from app.errors import BadRequest, EntityNotFound, InvalidCursor, KnowledgeUnavailable
from app.identity import utc_now
from app.knowledge.library import summary
from app.knowledge.schemas import (
    ArticleBrief,
    ArticleOut,
    ArticlePage,
    EdgeOut,
    EntityList,
    EntityOut,
    InteractionOut,
    InteractionsOut,
    NeighbourhoodOut,
    PassageOut,
    SearchOut,
    SourceOut,
)
from app.openapi import errors
from app.safety.types import Audience
from knowledge_base.document import Document
from retrieval.errors import RetrievalError
from retrieval.graph import Edge, Entity, MedicalGraph
from retrieval.types import Filter

router = APIRouter(tags=["knowledge"], dependencies=[Depends(limit_reading)])
Query200 = Annotated[str, Query(min_length=1, max_length=200, examples=["氯吡格雷"])]
NEIGHBOURS = 80


def year_of(text: str) -> int | str:
    return int(text) if text.isdigit() else text


@router.get("/knowledge/search", summary="Search the passages", responses=errors(422, 429, 503))
async def search(
    parts: Parts,
    q: Annotated[str, Query(min_length=1, max_length=2000, examples=["阿司匹林饭前吃还是饭后吃"])],
    department: Department | None = None,
    audience: Audience = Audience.PATIENT,
    limit: Annotated[int, Query(ge=1, le=50)] = 8,
) -> SearchOut:
    """The reranked passages above the evidence threshold; none of them when `evidence` is `none`."""
    wanted = Filter(
        department=None if department is None else department.value,
        audience="patient" if audience is Audience.PATIENT else None,
        on_date=utc_now().date().isoformat(),
    )
    if not q.strip():
        raise BadRequest("请输入要搜索的内容")
    try:
        found = await parts.searcher.search(q.strip(), filter=wanted, limit=limit)
    except RetrievalError as error:
        raise KnowledgeUnavailable from error
    passages = [
        PassageOut(
            chunk_id=hit.chunk.chunk_id,
            document_id=hit.chunk.document_id,
            title=hit.chunk.title,
            section=hit.chunk.section,
            text=hit.chunk.text,
            score=round(hit.score, 4),
            source=hit.chunk.source,
            year=year_of(hit.chunk.year),
            department=hit.chunk.department,
            page=hit.chunk.page,
        )
        for hit in found.hits
    ]
    return SearchOut(evidence=found.evidence, passages=passages)


def brief(document: Document) -> ArticleBrief:
    return ArticleBrief(
        document_id=document.document_id,
        title=document.title,
        department=document.department,
        kind=document.kind,
        audience=document.audience,
        summary=summary(document),
        review_date=document.review_date,
    )


@router.get("/articles", summary="List or search articles", responses=errors(422, 429))
async def articles(
    parts: Parts,
    department: Department | None = None,
    kind: Annotated[str | None, Query(max_length=32)] = None,
    audience: Audience | None = None,
    q: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    cursor: Annotated[str | None, Query(max_length=20)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ArticlePage:
    """Ordered by id, or by fit when `q` is given."""
    start = read_offset(cursor)
    chosen = parts.library.select(
        department=None if department is None else department.value,
        kind=kind,
        audience=None if audience is None else audience.value,
    )
    if q is not None:
        matches = await asyncio.to_thread(parts.library.search, q, chosen)
        chosen = [match.document for match in matches]
    following = str(start + limit) if start + limit < len(chosen) else None
    items = [brief(document) for document in chosen[start : start + limit]]
    return ArticlePage(items=items, next_cursor=following, total=len(chosen))


def read_offset(cursor: str | None) -> int:
    if not cursor:
        return 0
    if not cursor.isascii() or not cursor.isdigit():
        raise InvalidCursor
    return int(cursor)


@router.get("/articles/recommended", summary="Articles for me", responses=errors(401, 422, 429, 503))
async def recommended(
    caller: Caller,
    parts: Parts,
    department: Department | None = None,
    limit: Annotated[int, Query(ge=1, le=30)] = 8,
) -> ArticlePage:
    """First what fits the caller's last questions, then his department."""
    questions = await parts.conversations.recent_questions(caller.user_id)
    chosen = None if department is None else department.value
    found = await asyncio.to_thread(parts.library.recommended, chosen, questions, limit)
    return ArticlePage(items=[brief(document) for document in found], total=len(found))


@router.get("/articles/{document_id}", summary="Read an article", responses=errors(404, 422, 429))
async def article(
    parts: Parts, document_id: Annotated[str, Path(max_length=80, examples=["car-015"])]
) -> ArticleOut:
    """Markdown and sanitised HTML, its sources, and related articles."""
    document = parts.library.get(document_id)
    return ArticleOut(
        **brief(document).model_dump(),
        markdown=document.body,
        html=parts.library.html(document),
        keywords=list(document.keywords),
        sources=[
            SourceOut(n=n, title=s.title, publisher=s.publisher, year=s.year)
            for n, s in enumerate(document.sources, start=1)
        ],
        review_status=document.review_status,
        expires_on=document.expires_on,
        related=[brief(other) for other in parts.library.related(document)],
    )


def entity_out(graph: MedicalGraph, entity: Entity, *, full: bool = False) -> EntityOut:
    return EntityOut(
        id=entity.id,
        name=entity.name,
        type=entity.type,
        definition=entity.definition if entity.definition else None,
        aliases=[alias.text for alias in graph.aliases_of(entity.id) if alias.kind != "typo"] if full else [],
        properties=dict(entity.properties) if full else {},
    )


def edge_out(edge: Edge) -> EdgeOut:
    return EdgeOut(
        id=edge.id,
        head=edge.head.id,
        relation=edge.relation,
        tail=edge.tail.id,
        claim=edge.claim,
        source=f"《{edge.source.title}》{edge.source.publisher}",
        year=year_of(edge.source.year),
        evidence_level=edge.evidence,
        properties=dict(edge.properties),
    )


@router.get("/graph/entities", summary="Find entities", responses=errors(422, 429))
async def entities(parts: Parts, q: Query200, limit: Annotated[int, Query(ge=1, le=50)] = 12) -> EntityList:
    """By name, brand name, lay word or the beginning of one."""
    found = parts.graph.search(q, limit)
    return EntityList(items=[entity_out(parts.graph, entity) for entity in found])


@router.get("/graph/entities/{entity_id}", summary="Read an entity", responses=errors(404, 422, 429))
async def entity(
    parts: Parts,
    entity_id: Annotated[str, Path(max_length=64, examples=["drg:clopidogrel"])],
    limit: Annotated[int, Query(ge=1, le=300)] = NEIGHBOURS,
) -> NeighbourhoodOut:
    """The entity, its neighbours, and each relation with its provenance."""
    around = parts.graph.neighbourhood(entity_id, limit=limit)
    if not around.nodes:
        raise EntityNotFound
    return NeighbourhoodOut(
        entity=entity_out(parts.graph, around.nodes[0], full=True),
        entities=[entity_out(parts.graph, node) for node in around.nodes],
        edges=[edge_out(edge) for edge in around.edges],
    )


Names = list[Annotated[str, StringConstraints(min_length=1, max_length=60)]]


@router.get("/graph/interactions", summary="Check drugs against each other", responses=errors(422, 429))
async def interactions(
    parts: Parts,
    drug: Annotated[Names, Query(max_length=20, examples=[["硝酸甘油", "万艾可"]])],
    condition: Annotated[Names, Query(max_length=20)] = [],  # noqa: B006 (FastAPI copies it)
) -> InteractionsOut:
    """Known problems between drugs, foods and conditions, worst first. Brand names and aliases resolve.

    An empty list means that the graph has no statement, not that the combination is safe.
    """
    report = parts.graph.interactions(drug, condition)
    found = [
        InteractionOut(
            a=item.given_a,
            b=item.given_b,
            severity=item.severity.value,
            why=item.why,
            management=item.advice,
            source=item.source,
            year=year_of(item.year),
        )
        for item in report.interactions
    ]
    unknown = [*report.unknown, *(name.name for name in report.ambiguous)]
    return InteractionsOut(interactions=found, unknown=unknown)
