"""Triage and review over HTTP, for staff, tests and the release gate."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.chat.schemas import CleanText, NoticeOut, clean_text
from app.dependencies import Parts, Staff
from app.openapi import errors
from app.safety.guard import guarded
from app.safety.types import Audience, Evidence, Level, ReviewContext, Turn, Verdict, ViolationCode

router = APIRouter(prefix="/safety", tags=["safety"])
LongText = Annotated[str, Field(max_length=20_000)]


def _no_surrogates(text: str) -> str:
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("文字编码有误")
    return text


class TurnIn(BaseModel):
    role: Literal["user", "assistant"]
    content: Annotated[LongText, AfterValidator(_no_surrogates)]


class TriageIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"text": "胸口压着疼，一身冷汗", "history": []}}
    )

    text: CleanText
    history: list[TurnIn] = Field([], max_length=100)


class SpanOut(BaseModel):
    start: int = Field(description="in characters of `text`")
    end: int
    rule: str


class TriageOut(BaseModel):
    level: Level
    category: str | None = Field(examples=["acs"])
    rules: list[str]
    spans: list[SpanOut]
    notices: list[NoticeOut]
    questions: list[str] = []


class EvidenceIn(BaseModel):
    id: Annotated[str, Field(max_length=200)]
    title: Annotated[str, Field(max_length=500)] = ""
    text: Annotated[LongText, AfterValidator(_no_surrogates)]


class ReviewIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "question": "阿司匹林可以停吗？",
                "draft": "您可以自己把阿司匹林停掉。",
                "evidence": [{"id": "e1", "title": "阿司匹林用药指导", "text": "阿司匹林不能自行停用。"}],
            }
        },
    )

    question: CleanText
    draft: Annotated[LongText, AfterValidator(_no_surrogates)]
    evidence: list[EvidenceIn] = Field([], max_length=50)
    audience: Audience = Audience.PATIENT


class ViolationOut(BaseModel):
    code: ViolationCode
    span: str
    rule: str


class ReviewOut(BaseModel):
    verdict: Verdict
    violations: list[ViolationOut]
    text: str = Field(description="what may be shown")


@router.post("/triage", summary="Triage a message", responses=errors(401, 403, 413, 422, 429, 503))
async def triage(_: Staff, parts: Parts, body: TriageIn) -> TriageOut:
    """How urgent the message is in the light of its history, and which rules say so."""
    vector = await parts.pipeline.embed_message(clean_text(body.text))
    history = tuple(Turn(turn.role, turn.content) for turn in body.history)
    result = await asyncio.to_thread(parts.triage.assess, body.text, history, embedding=vector)
    return TriageOut(
        level=result.level,
        category=result.category,
        rules=list(result.rules),
        spans=[SpanOut(start=s.start, end=s.end, rule=s.rule) for s in result.spans],
        notices=[NoticeOut.of(notice) for notice in result.notices],
        questions=list(result.questions),
    )


@router.post("/review", summary="Review a draft answer", responses=errors(401, 403, 413, 422, 429, 503))
async def review(_: Staff, parts: Parts, body: ReviewIn) -> ReviewOut:
    """Reviews a draft exactly as the pipeline does. `[n]` in the draft means the n-th evidence."""
    vector = await parts.pipeline.embed_message(body.question)
    assessed = await asyncio.to_thread(parts.triage.assess, body.question, embedding=vector)
    context = ReviewContext(
        question=body.question,
        evidence=tuple(Evidence(e.id, e.title, e.text) for e in body.evidence),
        triage=assessed,
        audience=body.audience,
    )

    def run() -> ReviewOut:
        session = guarded(parts.reviewer, context)
        session.feed(body.draft)
        _rest, result = session.close()
        found = [ViolationOut(code=v.code, span=v.span, rule=v.rule) for v in result.violations]
        return ReviewOut(verdict=result.verdict, violations=found, text=result.text)

    return await asyncio.to_thread(run)
