"""The one straight line from a question to a stored, reviewed answer.

    request -> triage -> rewrite -> retrieve -> rerank -> generate -> review -> store -> respond

Only this module knows the order. Every step is an object behind a protocol; nothing is shown before it was reviewed
and stored, except an emergency notice, which waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, replace

from app.admin.audit import AuditLog
from app.chat.answer import Answer, assemble_body, citations_of
from app.chat.events import Event, opening
from app.chat.evidence import EvidenceFinder, Found
from app.chat.gather import gathered
from app.chat.generate import no_evidence_reply, questions_paragraph, template
from app.chat.reviewing import SentenceReview
from app.chat.rewrite import Rewritten, rewrite
from app.chat.wording import LABEL_LINE, department_of, is_crisis, urgent_answer
from app.conversations.service import ConversationService
from app.conversations.writer import AnswerMeta, AnswerWriter, Opened
from app.errors import AnxinError, ModelUnavailable, StorageUnavailable
from app.llm.base import Finished, GenerationRequest, Generator, Part, Reasoning, Started
from app.llm.extractive_text import text_with_rows
from app.observability import Stopwatch, log, metrics
from app.safety.guard import guarded
from app.safety.types import (
    Audience,
    Evidence,
    Level,
    ReviewContext,
    Reviewer,
    ReviewResult,
    Triage,
    TriageResult,
    Turn,
    Vector,
    Verdict,
)
from retrieval.types import EvidenceLevel

AdapterChoice = Callable[[str, Opened], Awaitable[str | None]]
EmbedMessage = Callable[[str], Awaitable[Vector | None]]
TopicsOf = Callable[[str], list[str]]
RefusalFor = Callable[[str, Sequence[Turn]], tuple[str, str] | None]


@dataclass(frozen=True, slots=True)
class Ask:
    """A validated question of one user."""

    user_id: str
    message: str
    audience: Audience = Audience.PATIENT
    conversation_id: str | None = None
    department: str | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The parts of the line, built once at start."""

    conversations: ConversationService
    triage: Triage
    reviewer: Reviewer
    evidence: EvidenceFinder
    generator: Generator
    audit: AuditLog
    topics_of: TopicsOf
    embed_message: EmbedMessage
    refusal_for: RefusalFor
    choose_adapter: AdapterChoice
    threads: Executor

    async def open(self, ask: Ask) -> Opened:
        """Takes the conversation for this answer, before anything is sent.

        Raises:
            ConversationNotFound, ConversationBusy: see `ConversationService.begin`.
            StorageUnavailable: with the notices of an emergency, which needs no database to be recognised.
        """
        try:
            return await self.conversations.begin(ask.user_id, ask.conversation_id)
        except StorageUnavailable as error:
            triage = await self._assess(ask, ())
            raise StorageUnavailable(notices=triage.notices) from error

    async def answer(self, ask: Ask, opened: Opened) -> AsyncIterator[Event]:
        """The events of one answer; ends with `done` or `error` and leaves nothing half-stored."""
        answer = Answer(ask.message, watch=Stopwatch(), rules_version=self.triage.version)
        writer = self.conversations.writer(opened, ask.message)
        try:
            async for event in self._steps(ask, opened, answer, writer):
                yield event
        except AnxinError as error:
            log.warning("answer_failed", code=error.code, message_id=opened.message_id)
            await self._abort(writer, self._meta(ask, answer) if writer.segments else None)
            yield Event("error", error.body(ask.request_id))
        except (asyncio.CancelledError, GeneratorExit):
            await asyncio.shield(self._abort(writer, self._meta(ask, answer) if writer.segments else None))
            raise
        except Exception as error:
            log.error(
                "answer_crashed", error=type(error).__name__, message_id=opened.message_id, exc_info=True
            )
            await self._abort(writer, self._meta(ask, answer) if writer.segments else None)
            yield Event("error", AnxinError(notices=answer.triage.notices).body(ask.request_id))

    async def _steps(
        self, ask: Ask, opened: Opened, answer: Answer, writer: AnswerWriter
    ) -> AsyncIterator[Event]:
        ids = {"conversation_id": opened.conversation_id, "message_id": opened.message_id}

        with answer.watch.step("triage"):
            answer.triage = await self._assess(ask, opened.history)
            answer.notices = answer.triage.notices
        metrics.triage.labels(answer.triage.level.value).inc()
        templated = self._reviewed_template(ask, opened, answer.triage)
        if answer.triage.level is Level.EMERGENCY:
            for notice in assemble_body(answer)["notices"]:
                yield Event("notice", notice)

        if templated is None:
            with answer.watch.step("rewrite"):
                rewritten = rewrite(ask.message, opened.history, self.topics_of)
            answer.found = await self.evidence.find(
                rewritten.question,
                audience=ask.audience,
                department=ask.department,
                carried=rewritten.carried,
                watch=answer.watch,
            )
            answer.department = self._department(ask, opened, answer.found)
            answer.evidence = answer.found.evidence
            if answer.evidence is EvidenceLevel.NONE:
                metrics.evidence_none.inc()
                templated = answer.found.excuse or no_evidence_reply(ask.audience)
            else:
                answer.adapter = await self.choose_adapter(answer.department, opened)
        else:
            rewritten = Rewritten(ask.message)
            answer.department = (
                ask.department or department_of(answer.triage) or opened.department or "general"
            )

        for event in opening({**ids, "department": answer.department}, assemble_body(answer)):
            if event.name == "meta" or answer.triage.level is not Level.EMERGENCY:
                yield event

        parts = (
            template(templated) if templated is not None else self._generate(ask, opened, answer, rewritten)
        )
        reviewed = self._reviewed(ask, opened, answer, parts, templated is not None)
        async with aclosing(parts), aclosing(gathered(reviewed)) as deltas:
            async for delta in deltas:
                await writer.show(delta, self._meta(ask, answer))
                answer.watch.first_text()
                yield Event("delta", {"text": delta})

        with answer.watch.step("store"):
            await self._store(ask, opened, answer, writer)
        done = {
            **assemble_body(answer),
            **ids,
            "department": answer.department,
            "reasoning": answer.reasoning or None,
        }
        yield Event("citations", {"citations": done["citations"]})
        metrics.answered(answer.started.kind, answer.result, answer.started.degraded, answer.watch)
        yield Event("done", done)

    async def _assess(self, ask: Ask, history: tuple[object, ...]) -> TriageResult:
        vector = await self.embed_message(ask.message)
        return await asyncio.to_thread(self.triage.assess, ask.message, history, embedding=vector)  # type: ignore[arg-type]

    def _reviewed_template(self, ask: Ask, opened: Opened, triage: TriageResult) -> str | None:
        """What is answered without any model: emergencies and crises first, then refusals."""
        patient_emergency = triage.level is Level.EMERGENCY and ask.audience is Audience.PATIENT
        if triage.notices and (is_crisis(triage) or patient_emergency):
            return urgent_answer(triage)
        refused = self.refusal_for(ask.message, opened.history)
        if refused is None:
            return None
        kind, reply = refused
        metrics.refused.labels(kind).inc()
        return reply

    def _generate(
        self, ask: Ask, opened: Opened, answer: Answer, rewritten: Rewritten
    ) -> AsyncGenerator[Part, None]:
        assert answer.found is not None
        request = GenerationRequest(
            question=rewritten.question,
            audience=ask.audience,
            department=answer.department,
            passages=answer.found.hits,
            triage=answer.triage,
            history=opened.history,
            care=answer.found.care,
            adapter=answer.adapter,
            message_id=opened.message_id,
            query_vector=answer.found.query_vector,
        )
        return self.generator.stream(request)

    async def _reviewed(
        self, ask: Ask, opened: Opened, answer: Answer, parts: AsyncGenerator[Part, None], is_template: bool
    ) -> AsyncGenerator[str, None]:
        """The answer in pieces that may be shown. Templates were reviewed by people and pass as they are."""
        hits = answer.found.hits if answer.found is not None else ()
        context = ReviewContext(
            question=ask.message,
            evidence=tuple(
                Evidence(h.chunk.chunk_id, h.chunk.title, text_with_rows(h.chunk), h.chunk.source)
                for h in hits
            ),
            triage=answer.triage,
            audience=ask.audience,
            history=opened.history,
            department=answer.department,
        )
        session = SentenceReview(guarded(self.reviewer, context), self.threads)
        draft: list[str] = []
        with answer.watch.step("generate"):
            async for part in parts:
                if isinstance(part, Started):
                    answer.started = part
                elif isinstance(part, Reasoning):
                    answer.reasoning += part.text
                elif isinstance(part, Finished):
                    answer.usage = part
                elif is_template:
                    answer.result = ReviewResult(Verdict.PASS, part.text)
                    yield part.text
                else:
                    draft.append(part.text)
                    with answer.watch.step("review"):
                        ready = await session.feed(part.text)
                    if ready:
                        yield ready
        if not is_template:
            with answer.watch.step("review"):
                rest, answer.result = await session.close()
            answer.citations = citations_of(answer.result, hits)
            if not (answer.result.text.strip()):
                raise ModelUnavailable
            if rest:
                yield rest
            await self._audit_review(opened, answer, "".join(draft))
        ending = (
            "" if answer.triage.level is Level.EMERGENCY else questions_paragraph(answer.triage.questions)
        )
        ending += LABEL_LINE if answer.generated else ""
        if ending:
            answer.result = replace(answer.result, text=answer.result.text + ending)
            yield ending

    async def _audit_review(self, opened: Opened, answer: Answer, draft: str) -> None:
        if answer.result.verdict is Verdict.BLOCKED:
            codes = [violation.code.value for violation in answer.result.violations]
            await self.audit.record(
                None,
                "answer.blocked",
                opened.message_id,
                {"codes": codes, "rules": [v.rule for v in answer.result.violations]},
                text=draft,
            )

    async def _store(self, ask: Ask, opened: Opened, answer: Answer, writer: AnswerWriter) -> None:
        if not writer.segments:
            raise AnxinError(notices=answer.triage.notices)
        await writer.finish(writer.segments, self._meta(ask, answer))

    async def _abort(self, writer: AnswerWriter, meta: AnswerMeta | None) -> None:
        try:
            await writer.abort(meta)
        except AnxinError:
            log.warning("abort_not_stored", message_id=writer.opened.message_id)

    @staticmethod
    def _department(ask: Ask, opened: Opened, found: Found) -> str:
        if ask.department is not None:
            return ask.department
        return found.department or opened.department or "general"

    @staticmethod
    def _meta(ask: Ask, answer: Answer) -> AnswerMeta:
        return AnswerMeta(
            body=assemble_body(answer),
            department=answer.department,
            audience=ask.audience.value,
            adapter=answer.adapter,
            index_name=None if answer.found is None else answer.found.index,
            rules_version=answer.rules_version,
            request_id=ask.request_id,
            reasoning=answer.reasoning or None,
        )
