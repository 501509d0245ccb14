"""Conversations over HTTP: list, read, delete, rate."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator

from app.chat.schemas import ULID_PATTERN, AnswerBody
from app.conversations.schemas import (
    ConversationDetail,
    ConversationOut,
    ConversationPage,
    FeedbackIn,
    FeedbackOut,
    MessageOut,
)
from app.conversations.service import ConversationSummary, StoredMessage
from app.db.tables import FeedbackRow
from app.dependencies import Caller, Conversations
from app.errors import ConversationNotFound, MessageNotFound, NotFound
from app.openapi import errors

router = APIRouter(tags=["conversations"])


def conversation_form(value: str) -> str:
    return _form(value, ConversationNotFound)


def message_form(value: str) -> str:
    return _form(value, MessageNotFound)


def _form(value: str, otherwise: type[NotFound]) -> str:
    """A malformed id answers like an unknown one, before it reaches the database."""
    if not re.fullmatch(ULID_PATTERN, value):
        raise otherwise
    return value


_PATH = Path(examples=["01JD3ZQ6Y5T0W9X8V7M6K5H4G3"])
ConversationId = Annotated[str, _PATH, AfterValidator(conversation_form)]
MessageId = Annotated[str, _PATH, AfterValidator(message_form)]


def summary_out(summary: ConversationSummary) -> ConversationOut:
    return ConversationOut.model_validate(summary, from_attributes=True)


def feedback_out(row: FeedbackRow) -> FeedbackOut:
    return FeedbackOut.model_validate(row, from_attributes=True)


def message_out(message: StoredMessage) -> MessageOut:
    return MessageOut.model_validate(
        {
            "id": message.id,
            "role": message.role,
            "status": message.status,
            "content": message.content,
            "created_at": message.created_at,
            "department": message.department,
            "answer": None if message.answer is None else AnswerBody.model_validate(message.answer),
            "reasoning": message.reasoning,
            "feedback": None if message.feedback is None else feedback_out(message.feedback),
        }
    )


@router.get("/conversations", summary="List my conversations", responses=errors(401, 422, 429, 503))
async def list_conversations(
    caller: Caller,
    conversations: Conversations,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ConversationPage:
    """Newest first. Pass `next_cursor` back as `cursor` for the next page."""
    items, following = await conversations.page(caller.user_id, cursor, limit)
    return ConversationPage(items=[summary_out(item) for item in items], next_cursor=following)


@router.get(
    "/conversations/{conversation_id}",
    summary="Read one conversation",
    responses=errors(401, 404, 422, 429, 503),
)
async def read_conversation(
    caller: Caller, conversations: Conversations, conversation_id: ConversationId
) -> ConversationDetail:
    """All messages, oldest first, each answer with its citations."""
    summary, messages = await conversations.read(caller.user_id, conversation_id)
    return ConversationDetail(
        **summary_out(summary).model_dump(), messages=[message_out(m) for m in messages]
    )


@router.delete(
    "/conversations/{conversation_id}",
    summary="Delete one conversation",
    status_code=204,
    responses=errors(401, 404, 422, 429, 503),
)
async def delete_conversation(
    caller: Caller, conversations: Conversations, conversation_id: ConversationId
) -> Response:
    """Deletes the conversation with all its messages and ratings, for good."""
    await conversations.delete(caller.user_id, conversation_id)
    return Response(status_code=204)


@router.post(
    "/messages/{message_id}/feedback", summary="Rate an answer", responses=errors(401, 404, 422, 429, 503)
)
async def rate_message(
    caller: Caller, conversations: Conversations, message_id: MessageId, feedback: FeedbackIn
) -> FeedbackOut:
    """One opinion per answer; sending again replaces it."""
    row = await conversations.rate(
        caller.user_id,
        message_id,
        rating=feedback.rating,
        resolved=feedback.resolved,
        reasons=feedback.reasons,
        comment=feedback.comment,
    )
    return feedback_out(row)
