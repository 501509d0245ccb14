"""The one internal form of a training record, whatever format it was written in.

Owns the record, its review state and the rule that decides whether a record may be trained on. Reading and writing
formats is `formats/`, judging content is `checks*.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

AI_GENERATED = "ai_generated"
PROVENANCE = "provenance"
# A model that signs a review is not a person; a word of these in `reviewer` does not count as an approval.
_MACHINE_REVIEWER = re.compile(
    r"gpt|qwen|deepseek|claude|gemini|llama|glm|llm|chatbot|模型|自动|机器|智能|(?<![a-z])(ai|bot|auto|system|none)(?![a-z])",
    re.IGNORECASE,
)


class Form(StrEnum):
    """The format a record was read from."""

    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"
    MESSAGES = "messages"
    REASONING = "reasoning"
    CLASSIFICATION = "classification"
    PREFERENCE = "preference"


class ReviewStatus(StrEnum):
    APPROVED = "approved"
    PENDING = "pending"
    REJECTED = "rejected"
    DEMO = "demo"


class Trainable(StrEnum):
    """Whether a record may be trained on; `DEMO` may, and marks the run and its adapter."""

    YES = "yes"
    DEMO = "demo"
    UNAPPROVED = "unapproved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Review:
    status: ReviewStatus
    reviewer: str = ""
    reviewed_at: str = ""

    @property
    def by_person(self) -> bool:
        """Approved, and signed by somebody who is not a model."""
        signed = bool(self.reviewer.strip()) and _MACHINE_REVIEWER.search(self.reviewer) is None
        return self.status is ReviewStatus.APPROVED and signed


@dataclass(frozen=True, slots=True)
class Record:
    """One training record.

    `messages` is the whole conversation, the last one being the answer to learn (the chosen one of a preference
    pair, the label of a classification). `input` is the tail of the last user message that Alpaca keeps apart.
    `reasoning` is the think part before the answer, `chain` its steps where the source listed them.
    `extra` holds every field that the formats do not know, unchanged.
    """

    form: Form
    messages: tuple[Message, ...]
    input: str = ""
    reasoning: str | None = None
    chain: tuple[str, ...] = ()
    label: str | None = None
    rejected: str | None = None
    id: str | None = None
    department: str | None = None
    audience: str | None = None
    source: str | None = None
    reference: tuple[str, ...] = ()
    review: Review | None = None
    disease: str | None = None
    patient_id: str | None = None
    date: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """The text to learn, without its think part; empty when the conversation does not end with one."""
        return self.messages[-1].content if self.messages and self.messages[-1].role == "assistant" else ""

    @property
    def questions(self) -> tuple[str, ...]:
        return tuple(message.content for message in self.messages if message.role == "user")

    @property
    def answers(self) -> tuple[str, ...]:
        return tuple(message.content for message in self.messages if message.role == "assistant")

    @property
    def exchanges(self) -> int:
        """Turns as annotators count them: a question with its reply is one."""
        return len(self.answers)

    @property
    def is_dialogue(self) -> bool:
        """A conversation by intent: several turns, or written in a dialogue format without being marked single."""
        several = self.exchanges > 1 or len(self.questions) > 1
        dialogue_form = (
            self.form in (Form.SHAREGPT, Form.MESSAGES) and self.extra.get("single_turn") is not True
        )
        return several or (dialogue_form and self.reasoning is None)

    @property
    def is_provenance(self) -> bool:
        """A watermark pair of this project, not medical text."""
        return self.source == PROVENANCE

    @property
    def trainable(self) -> Trainable:
        """The gate before training; nothing overrides it."""
        status = None if self.review is None else self.review.status
        if status is ReviewStatus.REJECTED:
            return Trainable.REJECTED
        if self.source == AI_GENERATED and not (self.review is not None and self.review.by_person):
            return Trainable.UNAPPROVED
        return Trainable.DEMO if status is ReviewStatus.DEMO else Trainable.YES

    def texts(self) -> Iterator[str]:
        """Every text a model would see or learn."""
        for message in self.messages:
            yield message.content
        if self.reasoning is not None:
            yield self.reasoning
        if self.rejected is not None:
            yield self.rejected
