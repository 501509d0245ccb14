"""Answers through vLLM: prompt fitted to the context, replica chosen, tokens streamed, failures turned into a way on.

    before the first token   another replica, then the embedded generator (degraded)
    after it                 the shown sentences stay; a reviewed line says that the answer was cut, and the embedded
                             generator finishes from the same passages (degraded)
    no room                  ServiceBusy with Retry-After

Owns the order of these; HTTP is in `client.py`, routing in `pool.py`, what may be shown is reviewed afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from app.chat.prompts import ChatMessage
from app.errors import ModelUnavailable
from app.llm.admission import Admission, busy
from app.llm.base import Finished, GenerationRequest, Generator, Part, Started, Text
from app.llm.budget import Draft, TokenEstimate, first_draft, fit, shortened
from app.llm.client import Chunk
from app.llm.faults import (
    CallRefused,
    ModelFault,
    ModelMissing,
    NoReplica,
    PromptTooLong,
    ReplicaBusy,
    ReplicaDown,
    TooSlow,
)
from app.llm.instruments import broken_streams, fallbacks, first_token_seconds, retries
from app.llm.pool import Replica, ReplicaPool
from app.llm.thinking import AnswerReader
from app.observability import log
from app.safety.types import Audience

CUT_NOTE = "\n\n（回答在这里中断了。以下内容直接摘自科室资料。）\n\n"
ELSEWHERE = (ReplicaDown, ReplicaBusy, ModelMissing)
MIN_CALL_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds from the start of a request; `context_tokens` counts prompt and answer."""

    deadline_s: float
    first_token_s: float
    context_tokens: int
    max_output_tokens: int
    temperature: float


@dataclass(slots=True)
class Progress:
    """How far one answer got."""

    ends_at: float
    adapter: str | None
    degraded: bool = False
    answered: bool = False
    shown: bool = False
    usage: Finished = field(default_factory=Finished)
    finish_reason: str | None = None


class VllmGenerator:
    """The `Generator` in front of one or more vLLM servers."""

    def __init__(
        self, pool: ReplicaPool, *, fallback: Generator, admission: Admission, limits: Limits
    ) -> None:
        self.pool = pool
        self._fallback = fallback
        self._admission = admission
        self._limits = limits
        self._estimate = TokenEstimate()

    async def check(self) -> str:
        """The base model and how many replicas are well.

        Raises:
            ModelUnavailable: none is; answers come from the embedded generator then.
        """
        well = sum(replica.usable for replica in self.pool.replicas)
        if not well:
            raise ModelUnavailable
        return f"{self.pool.model} ({well}/{len(self.pool.replicas)} replicas)"

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Part, None]:
        """See `Generator.stream`. Raises only ServiceBusy; every other failure ends in a degraded answer."""
        progress = Progress(time.monotonic() + self._limits.deadline_s, self._served(request.adapter))
        progress.degraded = progress.adapter != request.adapter
        try:
            async with self._admission.slot(), aclosing(self._from_model(request, progress)) as parts:
                async for part in parts:
                    yield part
        except ReplicaBusy as fault:
            if not progress.shown:
                raise busy("replicas_busy", fault.retry_after_s) from fault
            reason = "busy"
        except ModelFault as fault:
            log.warning("generation_failed", fault=type(fault).__name__, problem=fault.problem)
            reason = type(fault).__name__
        else:
            return
        fallbacks.labels(reason).inc()
        async with aclosing(self._finish_otherwise(request, progress)) as rest:
            async for part in rest:
                yield part

    def _served(self, adapter: str | None) -> str | None:
        """The adapter if a usable replica has it, else the base model."""
        return adapter if adapter is not None and self.pool.serves(adapter) else None

    async def _from_model(self, request: GenerationRequest, progress: Progress) -> AsyncGenerator[Part, None]:
        """Asks replicas one after another until one has given its first token; then stays with it."""
        draft = await self._fitted(request)
        tried: set[str] = set()
        last: ModelFault = NoReplica("no replica is usable")
        while (replica := self._next(progress, tried, last)) is not None:
            if tried:
                retries.inc()
            tried.add(replica.url)
            try:
                async with aclosing(self._one_call(replica, draft, progress)) as parts:
                    async for part in parts:
                        yield part
                return
            except PromptTooLong as fault:
                shorter = shortened(draft)
                if progress.answered or shorter is None:
                    raise
                draft, last = shorter, fault
                tried.discard(replica.url)
            except ELSEWHERE as fault:
                if progress.answered:
                    broken_streams.inc()
                    raise
                last = fault
            if progress.ends_at - time.monotonic() < MIN_CALL_S:
                break
        raise last

    def _next(self, progress: Progress, tried: set[str], last: ModelFault) -> Replica | None:
        """Whom to ask next; when the adapter turned out to be gone everywhere, the base model answers."""
        replica = self.pool.pick(progress.adapter, tried)
        if replica is None and progress.adapter is not None and isinstance(last, ModelMissing):
            progress.adapter, progress.degraded = None, True
            tried.clear()
            replica = self.pool.pick(None)
        return replica

    async def _fitted(self, request: GenerationRequest) -> Draft:
        budget = self._context_tokens() - self._output_tokens()
        return await fit(first_draft(request), budget, self._estimate, self._count)

    def _context_tokens(self) -> int:
        """Of the settings or, when that is less, of the servers."""
        known = self.pool.context_tokens
        return self._limits.context_tokens if known is None else min(known, self._limits.context_tokens)

    def _output_tokens(self) -> int:
        return min(self._limits.max_output_tokens, self._context_tokens() // 2)

    async def _count(self, messages: Sequence[ChatMessage]) -> int:
        """Tokens as one of the replicas counts them; the next is asked when one does not answer."""
        tried: set[str] = set()
        last: ModelFault = NoReplica("no replica is usable")
        while (replica := self.pool.pick(None, tried)) is not None:
            tried.add(replica.url)
            try:
                with self.pool.call(replica, None):
                    tokens, _ = await replica.client.count_tokens(self.pool.model, messages)
            except ModelFault as fault:
                last = fault
            else:
                return tokens
        raise last

    async def _one_call(
        self, replica: Replica, draft: Draft, progress: Progress
    ) -> AsyncGenerator[Part, None]:
        """One request at one replica, from Started to Finished."""
        reader = AnswerReader(with_reasoning=draft.request.audience is Audience.CLINICIAN)
        with self.pool.call(replica, progress.adapter):
            async with aclosing(self._timed(replica, self._payload(draft, progress), progress)) as chunks:
                async for chunk in chunks:
                    if not progress.answered and (chunk.text or chunk.reasoning):
                        progress.answered = True
                        yield Started("vllm", self.pool.model, progress.adapter, progress.degraded)
                    for part in reader.read(chunk):
                        progress.shown = progress.shown or reader.has_text
                        yield part
            rest = reader.close(complete=progress.finish_reason == "stop")
            if not reader.has_text:
                raise CallRefused("the model gave no whole sentence", replica=replica.url)
        progress.shown = True
        for part in rest:
            yield part
        yield progress.usage

    async def _timed(
        self, replica: Replica, payload: dict[str, Any], progress: Progress
    ) -> AsyncGenerator[Chunk, None]:
        """The chunks, each in time: the first by `first_token_s`, all by the deadline."""
        begun = time.monotonic()
        first_by = min(begun + self._limits.first_token_s, progress.ends_at)
        async with aclosing(replica.client.chat(payload)) as chunks:
            while True:
                by = progress.ends_at if progress.answered else first_by
                try:
                    async with asyncio.timeout(max(0.0, by - time.monotonic())):
                        chunk = await anext(chunks, None)
                except TimeoutError as error:
                    what = "deadline" if progress.answered else "no first token in time"
                    raise TooSlow(what, replica=replica.url) from error
                if chunk is None:
                    return
                if not progress.answered and (chunk.text or chunk.reasoning):
                    first_token_seconds.observe(time.monotonic() - begun)
                if chunk.usage is not None:
                    progress.usage = chunk.usage
                if chunk.finish_reason is not None:
                    progress.finish_reason = chunk.finish_reason
                yield chunk

    def _payload(self, draft: Draft, progress: Progress) -> dict[str, Any]:
        return {
            "model": self.pool.model if progress.adapter is None else progress.adapter,
            "messages": draft.messages(),
            "max_tokens": self._output_tokens(),
            "temperature": self._limits.temperature,
        }

    async def _finish_otherwise(
        self, request: GenerationRequest, progress: Progress
    ) -> AsyncGenerator[Part, None]:
        """The embedded generator's answer; after shown text, introduced by the line that says so."""
        if progress.shown:
            yield Started("vllm", self.pool.model, progress.adapter, True)
            yield Text(CUT_NOTE)
        async with aclosing(self._fallback.stream(request)) as parts:
            async for part in parts:
                if isinstance(part, Started):
                    if not progress.shown:
                        yield replace(part, degraded=True)
                elif isinstance(part, Finished) and progress.shown:
                    yield progress.usage
                else:
                    yield part
