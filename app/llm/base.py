"""The one protocol that every generator speaks: a request of frozen parts in, a stream of parts out.

Owns no transport and no prompt; prompts are in `app/chat/prompts.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from app.safety.types import Audience, TriageResult, Turn, Vector
from retrieval.types import Hit

GeneratorKind = Literal["vllm", "extractive", "template"]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Everything a generator may use. `passages[i]` is cited as `[i + 1]`.

    `care` marks the positions (0-based) of passages that say when to seek care. `adapter` is the LoRA adapter to
    answer with, None for the base model. `query_vector` (dim,) is the question's, in the space of the passages'.
    """

    question: str
    audience: Audience
    department: str
    passages: tuple[Hit, ...]
    triage: TriageResult
    history: tuple[Turn, ...] = ()
    care: frozenset[int] = frozenset()
    adapter: str | None = None
    message_id: str = ""
    query_vector: Vector | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """First part of every stream: who answers."""

    kind: GeneratorKind
    model: str
    adapter: str | None = None
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Thinking of the model, kept apart from the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    prompt_tokens: int = 0
    completion_tokens: int = 0


Part = Started | Text | Reasoning | Finished


class Generator(Protocol):
    """`stream` yields Started, then Text and Reasoning parts, then Finished.

    Raises (from the iterator):
        ModelUnavailable, ServiceBusy: no (further) text will come.
    Closing the iterator cancels the work behind it.
    """

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Part, None]: ...

    async def check(self) -> str: ...


@dataclass(slots=True)
class Collected:
    """What a stream amounted to so far."""

    started: Started = field(default_factory=lambda: Started("template", "reviewed-template"))
    reasoning: str = ""
    usage: Finished = field(default_factory=Finished)
