"""What the conversation endpoints take and return."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from app.chat.schemas import AnswerBody, CleanText


class ConversationOut(BaseModel):
    id: str
    title: str = Field(
        description="the beginning of the first question", examples=["阿司匹林和氯吡格雷可以一起吃吗？"]
    )
    department: str | None
    created_at: datetime
    updated_at: datetime


class ConversationPage(BaseModel):
    items: list[ConversationOut]
    next_cursor: str | None = Field(None, description="null on the last page")


class FeedbackOut(BaseModel):
    rating: Literal["up", "down"]
    resolved: bool | None
    reasons: list[str]
    updated_at: datetime


class MessageOut(BaseModel):
    """A stored turn; `answer` holds citations, review and the rest for assistant turns."""

    id: str
    role: Literal["user", "assistant"]
    status: Literal["complete", "partial", "streaming"]
    content: str
    created_at: datetime
    department: str | None = None
    answer: AnswerBody | None = None
    reasoning: str | None = None
    feedback: FeedbackOut | None = None


class ConversationDetail(ConversationOut):
    messages: list[MessageOut]


Reason = Annotated[str, Field(min_length=1, max_length=64)]


class FeedbackIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"rating": "down", "resolved": False, "reasons": ["看不懂"], "comment": "字太多"}
        },
    )

    rating: Literal["up", "down"]
    resolved: StrictBool | None = None
    reasons: list[Reason] = Field([], max_length=10)
    comment: CleanText | None = None
