"""Fits a conversation into the model's context: evidence goes by rank, then old turns, never the rules or the question.

Passages keep their citation numbers when others are left out, and what says when to seek care goes last. Counting
asks the server only when a safe estimate does not settle it. Owns no prompt text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from app.chat.prompts import ChatMessage, Passage, chat_messages
from app.llm.base import GenerationRequest
from app.llm.faults import ModelFault, PromptTooLong
from app.llm.instruments import trimmed_prompts
from app.safety.types import Turn
from retrieval.types import Hit

CountTokens = Callable[[Sequence[ChatMessage]], Awaitable[int]]
TEMPLATE_TOKENS = 16
CAUTION = 1.15
KEPT_PASSAGES = 2
MIN_PASSAGE_CHARS = 120


@dataclass(frozen=True, slots=True)
class Draft:
    """What still goes into the prompt; `passages` are in order of rank and carry their numbers."""

    request: GenerationRequest
    passages: tuple[Passage, ...]
    history: tuple[Turn, ...]

    def messages(self) -> list[ChatMessage]:
        return chat_messages(
            self.request.question,
            self.passages,
            department=self.request.department,
            audience=self.request.audience,
            history=self.history,
        )


class TokenEstimate:
    """An upper bound of tokens from bytes: one token per byte at worst, better once the server has counted.

    Byte-level tokenizers never need more than one token a byte; the largest share seen so far, with a margin, is
    used after the first count.
    """

    def __init__(self) -> None:
        self._per_byte: float | None = None

    def bound(self, messages: Sequence[ChatMessage]) -> int:
        share = 1.0 if self._per_byte is None else min(1.0, self._per_byte * CAUTION)
        return int(_bytes(messages) * share) + TEMPLATE_TOKENS * (len(messages) + 1)

    def counted(self, messages: Sequence[ChatMessage], tokens: int) -> None:
        share = tokens / max(1, _bytes(messages))
        self._per_byte = share if self._per_byte is None else max(self._per_byte, share)


def first_draft(request: GenerationRequest) -> Draft:
    passages = tuple(_passage(n, hit) for n, hit in enumerate(request.passages, start=1))
    return Draft(request, passages, request.history)


async def fit(draft: Draft, budget: int, estimate: TokenEstimate, count: CountTokens) -> Draft:
    """The draft shortened until it has at most `budget` tokens.

    Raises:
        PromptTooLong: rules, question and the best passage's first sentences alone do not fit.
    """
    trimmed = draft
    while not await _fits(trimmed, budget, estimate, count):
        shorter = shortened(trimmed)
        if shorter is None:
            raise PromptTooLong("rules and question alone do not fit the context")
        trimmed = shorter
    if trimmed is not draft:
        trimmed_prompts.inc()
    return trimmed


def shortened(draft: Draft) -> Draft | None:
    """One step shorter, None when nothing may go: lowest-ranked evidence, old turns, the rest of the evidence."""
    droppable = [p for p in draft.passages if p.number is not None and p.number - 1 not in draft.request.care]
    if len(droppable) > KEPT_PASSAGES:
        return _without(draft, droppable[-1])
    if draft.history:
        return replace(draft, history=draft.history[2:])
    if len(droppable) > 1:
        return _without(draft, droppable[-1])
    if len(draft.passages) > 1:
        return _without(draft, next(p for p in reversed(draft.passages) if p not in droppable[:1]))
    return _halved(draft)


def _halved(draft: Draft) -> Draft | None:
    """The only passage cut after its first half, at the end of a sentence."""
    if not draft.passages or len(draft.passages[0].text) < MIN_PASSAGE_CHARS:
        return None
    text = draft.passages[0].text
    half = text[: len(text) // 2]
    end = max(half.rfind(mark) for mark in "。！？\n") + 1
    return replace(draft, passages=(replace(draft.passages[0], text=half[:end] if end else half),))


def _without(draft: Draft, passage: Passage) -> Draft:
    return replace(draft, passages=tuple(p for p in draft.passages if p is not passage))


async def _fits(draft: Draft, budget: int, estimate: TokenEstimate, count: CountTokens) -> bool:
    messages = draft.messages()
    if estimate.bound(messages) <= budget:
        return True
    try:
        tokens = await count(messages)
    except ModelFault:
        # Nobody could count. Dropping evidence on a guess would cost an answer; a server that finds the prompt too long
        # says so, and it is shortened then.
        return True
    estimate.counted(messages, tokens)
    return tokens <= budget


def _passage(number: int, hit: Hit) -> Passage:
    chunk = hit.chunk
    return Passage(chunk.title, chunk.section, chunk.source, chunk.year, chunk.text, number)


def _bytes(messages: Sequence[ChatMessage]) -> int:
    return sum(len(m["content"].encode("utf-8", "replace")) for m in messages)
