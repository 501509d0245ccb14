"""What the knowledge endpoints return."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from retrieval.types import EvidenceLevel


class PassageOut(BaseModel):
    chunk_id: str
    document_id: str
    title: str
    section: str
    text: str
    score: float = Field(description="calibrated, 0 to 1")
    source: str
    year: int | str
    department: str
    page: int | None = None


class SearchOut(BaseModel):
    evidence: EvidenceLevel
    passages: list[PassageOut]


class SourceOut(BaseModel):
    n: int
    title: str
    publisher: str
    year: str


class ArticleBrief(BaseModel):
    document_id: str = Field(examples=["car-015"])
    title: str
    department: str
    kind: str
    audience: str
    summary: str
    review_date: str | None = None


class ArticlePage(BaseModel):
    items: list[ArticleBrief]
    next_cursor: str | None = None
    total: int


class ArticleOut(ArticleBrief):
    markdown: str
    html: str = Field(description="sanitised")
    keywords: list[str]
    sources: list[SourceOut]
    review_status: str
    expires_on: str | None
    related: list[ArticleBrief]


class EntityOut(BaseModel):
    id: str = Field(examples=["drg:clopidogrel"])
    name: str
    type: str
    definition: str | None = None
    aliases: list[str] = []
    properties: dict[str, Any] = {}


class EdgeOut(BaseModel):
    """A relation with its provenance."""

    id: str
    head: str
    relation: str
    tail: str
    claim: str
    source: str
    year: int | str
    evidence_level: str
    properties: dict[str, Any] = {}


class NeighbourhoodOut(BaseModel):
    entity: EntityOut
    entities: list[EntityOut]
    edges: list[EdgeOut]


class EntityList(BaseModel):
    items: list[EntityOut]


class InteractionOut(BaseModel):
    a: str
    b: str
    severity: Literal["contraindicated", "serious", "caution"]
    why: str
    management: str = ""
    source: str
    year: int | str


class InteractionsOut(BaseModel):
    interactions: list[InteractionOut]
    unknown: list[str] = Field(description="names the graph does not know; nothing is said about them")
