"""The chat contract: what clients send and receive. Names are fixed for clients."""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from app.errors import ConversationNotFound
from app.safety.types import Audience, Level, Notice, Verdict, ViolationCode
from retrieval.types import EvidenceLevel

MAX_MESSAGE_CHARS = 2000
ULID_PATTERN = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


class Department(StrEnum):
    CARDIOLOGY = "cardiology"
    ALLERGY = "allergy"
    STROKE_REHAB = "stroke_rehab"
    GENERAL = "general"


def clean_text(text: str) -> str:
    """NFC without control or invisible characters, trimmed.

    Raises:
        ValueError: lone surrogates, nothing left, or longer than `MAX_MESSAGE_CHARS`.
    """
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("文字编码有误，请重新输入")
    cleaned = _CONTROL.sub("", unicodedata.normalize("NFC", text.replace("\r\n", "\n"))).strip()
    if not cleaned:
        raise ValueError("请输入您的问题")
    if len(cleaned) > MAX_MESSAGE_CHARS:
        raise ValueError(f"问题请控制在{MAX_MESSAGE_CHARS}字以内")
    return cleaned


CleanText = Annotated[str, Field(min_length=1, max_length=4 * MAX_MESSAGE_CHARS), AfterValidator(clean_text)]


def known_form(value: str) -> str:
    """The id when it has the form of one; anything else cannot exist.

    Raises:
        ConversationNotFound: so that a malformed id answers like an unknown one.
    """
    if not re.fullmatch(ULID_PATTERN, value):
        raise ConversationNotFound
    return value


Ulid = Annotated[
    str, Field(max_length=64, examples=["01JD3ZQ6Y5T0W9X8V7M6K5H4G3"]), AfterValidator(known_form)
]


class ChatIn(BaseModel):
    """One question. Leave `conversation_id` out to start a conversation."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"message": "阿司匹林和氯吡格雷可以一起吃吗？", "audience": "patient", "stream": False}
        },
    )

    message: CleanText = Field(description=f"1 to {MAX_MESSAGE_CHARS} characters")
    conversation_id: Ulid | None = None
    department: Department | None = Field(None, description="null lets the service choose")
    audience: Audience = Audience.PATIENT
    stream: StrictBool = False


class NoticeOut(BaseModel):
    kind: Literal["emergency", "crisis", "urgent"]
    title: str
    text: str
    phone: str | None = Field(None, examples=["120"])

    @classmethod
    def of(cls, notice: Notice) -> NoticeOut:
        return cls(kind=notice.kind, title=notice.title, text=notice.text, phone=notice.phone)


class TriageBrief(BaseModel):
    level: Level
    category: str | None = Field(None, examples=["acs"])
    rules: list[str] = []


class CitationOut(BaseModel):
    """`n` is the number in the answer's `[n]`; `document_id` opens with `GET /articles/{document_id}`."""

    n: int
    chunk_id: str
    document_id: str
    title: str
    section: str
    source: str
    year: int | str = Field(description="a year, or 现行版 for a drug label")
    quote: str
    page: int | None = None


class ReviewBrief(BaseModel):
    verdict: Verdict
    violations: list[ViolationCode] = []


class GeneratorOut(BaseModel):
    kind: Literal["vllm", "extractive", "template"]
    model: str
    adapter: str | None = None
    degraded: bool = False


class UsageOut(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class AiLabelOut(BaseModel):
    """The label for AI-generated content (人工智能生成合成内容标识办法, 2025), to be shown with the answer."""

    text: str
    version: str


class AnswerBody(BaseModel):
    """Everything about an answer but its text and ids; stored with the message as it was sent."""

    triage: TriageBrief
    notices: list[NoticeOut] = []
    questions: list[str] = Field([], description="what the service needs to know to judge the urgency")
    citations: list[CitationOut] = []
    disclaimer: str = ""
    disclaimer_version: str = ""
    ai_label: AiLabelOut | None = None
    review: ReviewBrief
    generator: GeneratorOut
    evidence: EvidenceLevel
    usage: UsageOut = UsageOut()
    timings_ms: dict[str, float] = {}


class ChatDone(AnswerBody):
    """The `done` event of the stream."""

    conversation_id: str
    message_id: str
    department: Department
    reasoning: str | None = Field(None, description="clinician audience only; show folded")


class ChatOut(ChatDone):
    """The whole answer. Join `disclaimer` below it and show `notices` above it."""

    answer: str = Field(examples=["可以，但必须由医生决定……[1]"])
