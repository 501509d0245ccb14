"""The answer while it is made: what each step has added so far, and its JSON form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.chat.evidence import Found
from app.chat.schemas import (
    AiLabelOut,
    AnswerBody,
    CitationOut,
    GeneratorOut,
    NoticeOut,
    ReviewBrief,
    TriageBrief,
    UsageOut,
)
from app.chat.wording import disclaimer_for
from app.llm.base import Finished, Started
from app.observability import Stopwatch
from app.safety.notices import AI_LABEL, NOTICES_VERSION
from app.safety.types import Level, Notice, ReviewResult, TriageResult, Verdict
from retrieval.types import EvidenceLevel, Hit

QUOTE_CHARS = 200


@dataclass(slots=True)
class Answer:
    """Filled step by step by the pipeline; only the pipeline writes to it."""

    question: str
    watch: Stopwatch
    rules_version: str
    triage: TriageResult = field(default_factory=lambda: TriageResult(Level.ROUTINE))
    notices: tuple[Notice, ...] = ()
    found: Found | None = None
    department: str = "general"
    evidence: EvidenceLevel = EvidenceLevel.NONE
    adapter: str | None = None
    started: Started = field(default_factory=lambda: Started("template", "reviewed-template"))
    reasoning: str = ""
    usage: Finished = field(default_factory=Finished)
    result: ReviewResult = field(default_factory=lambda: ReviewResult(Verdict.PASS, ""))
    citations: tuple[CitationOut, ...] = ()

    @property
    def generated(self) -> bool:
        """Whether a generator wrote the text, rather than people."""
        return self.started.kind != "template"


def assemble_body(answer: Answer) -> dict[str, Any]:
    """The answer's JSON without its text and ids, as `AnswerBody`."""
    body = AnswerBody(
        triage=TriageBrief(
            level=answer.triage.level, category=answer.triage.category, rules=list(answer.triage.rules)
        ),
        notices=[NoticeOut.of(notice) for notice in answer.notices],
        questions=list(answer.triage.questions),
        citations=list(answer.citations),
        disclaimer=disclaimer_for(answer.question, answer.triage, answer.found),
        disclaimer_version=NOTICES_VERSION,
        ai_label=AiLabelOut(text=AI_LABEL, version=NOTICES_VERSION) if answer.generated else None,
        review=ReviewBrief(
            verdict=answer.result.verdict,
            violations=list(dict.fromkeys(violation.code for violation in answer.result.violations)),
        ),
        generator=GeneratorOut(
            kind=answer.started.kind,
            model=answer.started.model,
            adapter=answer.started.adapter,
            degraded=answer.started.degraded or (answer.found is not None and answer.found.degraded),
        ),
        evidence=answer.evidence,
        usage=UsageOut(
            prompt_tokens=answer.usage.prompt_tokens, completion_tokens=answer.usage.completion_tokens
        ),
        timings_ms=answer.watch.timings_ms(),
    )
    return body.model_dump(mode="json")


def citations_of(result: ReviewResult, hits: tuple[Hit, ...]) -> tuple[CitationOut, ...]:
    """What the reviewed text cites, by number."""
    return tuple(citation(n, hits[n - 1]) for n in sorted(set(result.cited)) if 1 <= n <= len(hits))


def citation(n: int, hit: Hit) -> CitationOut:
    chunk = hit.chunk
    return CitationOut(
        n=n,
        chunk_id=chunk.chunk_id,
        document_id=chunk.document_id,
        title=chunk.title,
        section=chunk.section,
        source=chunk.source,
        year=int(chunk.year) if chunk.year.isdigit() else chunk.year,
        quote=chunk.text[:QUOTE_CHARS],
        page=chunk.page,
    )
