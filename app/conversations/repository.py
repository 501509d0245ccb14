"""Reads and writes conversations, messages and feedback; knows SQL and sealed bytes, no plain text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import ConversationRow, FeedbackRow, MessageRow


async def owned(session: AsyncSession, conversation_id: str, user_id: str) -> ConversationRow | None:
    query = select(ConversationRow).where(
        ConversationRow.id == conversation_id, ConversationRow.user_id == user_id
    )
    return (await session.execute(query)).scalar_one_or_none()


async def take_lease(
    session: AsyncSession, conversation_id: str, message_id: str, now: datetime, until: datetime
) -> bool:
    """Marks the conversation as answering; False when another answer holds an unexpired lease."""
    free = or_(ConversationRow.answering_until.is_(None), ConversationRow.answering_until < now)
    statement = (
        update(ConversationRow)
        .where(ConversationRow.id == conversation_id, free)
        .values(answering_id=message_id, answering_until=until)
    )
    return await _changed(session, statement)


async def end_lease(session: AsyncSession, conversation_id: str, message_id: str, now: datetime) -> bool:
    """Frees the conversation; False when it was deleted meanwhile or another answer took over."""
    statement = (
        update(ConversationRow)
        .where(ConversationRow.id == conversation_id, ConversationRow.answering_id == message_id)
        .values(answering_id=None, answering_until=None, updated_at=now)
    )
    return await _changed(session, statement)


async def change_message(session: AsyncSession, message_id: str, values: dict[str, Any]) -> bool:
    """Writes these columns; False when the message was deleted."""
    return await _changed(session, update(MessageRow).where(MessageRow.id == message_id).values(**values))


async def _changed(session: AsyncSession, statement: object) -> bool:
    result = await session.execute(statement)  # type: ignore[call-overload]
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


async def history(session: AsyncSession, conversation_id: str, limit: int) -> list[MessageRow]:
    """The newest `limit` messages, oldest first."""
    query = (
        select(MessageRow)
        .where(MessageRow.conversation_id == conversation_id)
        .order_by(MessageRow.position.desc())
        .limit(limit)
    )
    return list(reversed((await session.execute(query)).scalars().all()))


async def next_position(session: AsyncSession, conversation_id: str) -> int:
    query = select(func.max(MessageRow.position)).where(MessageRow.conversation_id == conversation_id)
    last = (await session.execute(query)).scalar_one_or_none()
    return 0 if last is None else last + 1


async def owned_message(session: AsyncSession, message_id: str, user_id: str) -> MessageRow | None:
    query = (
        select(MessageRow)
        .join(ConversationRow, ConversationRow.id == MessageRow.conversation_id)
        .where(MessageRow.id == message_id, ConversationRow.user_id == user_id)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def answering(session: AsyncSession, message_id: str, user_id: str, now: datetime) -> bool:
    """Whether this message is being answered right now, by any replica."""
    query = select(ConversationRow.id).where(
        ConversationRow.answering_id == message_id,
        ConversationRow.user_id == user_id,
        ConversationRow.answering_until >= now,
    )
    return (await session.execute(query)).scalar_one_or_none() is not None


async def page(
    session: AsyncSession, user_id: str, after: tuple[datetime, str] | None, limit: int
) -> Sequence[ConversationRow]:
    """Conversations that have messages, newest first, after the given (updated_at, id)."""
    has_messages = select(MessageRow.id).where(MessageRow.conversation_id == ConversationRow.id).exists()
    query = select(ConversationRow).where(ConversationRow.user_id == user_id, has_messages)
    if after is not None:
        at, last_id = after
        same_time = and_(ConversationRow.updated_at == at, ConversationRow.id < last_id)
        query = query.where(or_(ConversationRow.updated_at < at, same_time))
    query = query.order_by(ConversationRow.updated_at.desc(), ConversationRow.id.desc()).limit(limit)
    return (await session.execute(query)).scalars().all()


async def remove(session: AsyncSession, conversation_id: str) -> None:
    await session.execute(delete(ConversationRow).where(ConversationRow.id == conversation_id))


async def has_messages(session: AsyncSession, conversation_id: str) -> bool:
    query = select(MessageRow.id).where(MessageRow.conversation_id == conversation_id).limit(1)
    return (await session.execute(query)).scalar_one_or_none() is not None


async def feedback(session: AsyncSession, message_id: str) -> FeedbackRow | None:
    return await session.get(FeedbackRow, message_id)


async def close_broken(session: AsyncSession, now: datetime) -> int:
    """Marks answers that a crash left streaming as partial; returns how many."""
    expired = select(ConversationRow.id).where(
        or_(ConversationRow.answering_until.is_(None), ConversationRow.answering_until < now)
    )
    statement = (
        update(MessageRow)
        .where(MessageRow.status == "streaming", MessageRow.conversation_id.in_(expired))
        .values(status="partial")
    )
    result = await session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount
