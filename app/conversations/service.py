"""Conversations of one user: open for an answer, list, read, delete, rate. Another's id is simply not found."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.conversations import repository
from app.conversations.writer import AnswerWriter, Opened
from app.db.crypto import Vault
from app.db.session import Database
from app.db.tables import ConversationRow, FeedbackRow, MessageRow
from app.errors import (
    AnswerInProgress,
    ConversationBusy,
    ConversationNotFound,
    InvalidCursor,
    MessageNotFound,
)
from app.identity import Clock, NewId, new_ulid, utc_now
from app.safety.types import Turn

HISTORY_MESSAGES = 40


@dataclass(frozen=True, slots=True)
class StoredMessage:
    id: str
    conversation_id: str
    role: str
    status: str
    content: str
    segments: tuple[int, ...]
    department: str | None
    answer: dict[str, Any] | None
    reasoning: str | None
    created_at: datetime
    feedback: FeedbackRow | None = None


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    id: str
    title: str
    department: str | None
    created_at: datetime
    updated_at: datetime


class ConversationService:
    """Every public method is one transaction and checks the owner."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        *,
        lease_s: float,
        clock: Clock = utc_now,
        new_id: NewId = new_ulid,
    ) -> None:
        self._database = database
        self._vault = vault
        self._lease = timedelta(seconds=lease_s)
        self._clock = clock
        self._new_id = new_id

    async def begin(self, user_id: str, conversation_id: str | None) -> Opened:
        """Opens (or creates) a conversation for one answer and takes its lease.

        Raises:
            ConversationNotFound: unknown, deleted or another user's.
            ConversationBusy: another answer is running in it.
        """
        now = self._clock()
        message_id = self._new_id()
        async with self._database.begin() as session:
            if conversation_id is None:
                row = self._new_row(user_id, message_id, now)
                session.add(row)
                return Opened(row.id, message_id, user_id, True, None, None, ())
            found = await repository.owned(session, conversation_id, user_id)
            if found is None:
                raise ConversationNotFound
            if not await repository.take_lease(session, found.id, message_id, now, now + self._lease):
                raise ConversationBusy(retry_after_s=2)
            turns = await repository.history(session, found.id, HISTORY_MESSAGES)
            opened_from = (found.id, message_id, user_id, False, found.department, found.adapter)
            return Opened(*opened_from, tuple(self._turn(row) for row in turns))

    def writer(self, opened: Opened, question: str) -> AnswerWriter:
        return AnswerWriter(opened, question, self._database, self._vault, self._clock, self._new_id)

    async def page(
        self, user_id: str, cursor: str | None, limit: int
    ) -> tuple[list[ConversationSummary], str | None]:
        """One page, newest first, and the cursor of the next page or None.

        Raises:
            InvalidCursor: the cursor was not made by this method.
        """
        after = decode_cursor(cursor) if cursor else None
        async with self._database.begin() as session:
            rows = await repository.page(session, user_id, after, limit + 1)
        shown = [self._summary(row) for row in rows[:limit]]
        more = len(rows) > limit
        return shown, encode_cursor(shown[-1].updated_at, shown[-1].id) if more else None

    async def read(
        self, user_id: str, conversation_id: str
    ) -> tuple[ConversationSummary, list[StoredMessage]]:
        async with self._database.begin() as session:
            row = await repository.owned(session, conversation_id, user_id)
            if row is None:
                raise ConversationNotFound
            messages = await repository.history(session, row.id, 1000)
            rated = [await repository.feedback(session, m.id) for m in messages]
        return self._summary(row), [self._message(m, f) for m, f in zip(messages, rated, strict=True)]

    async def delete(self, user_id: str, conversation_id: str) -> None:
        async with self._database.begin() as session:
            row = await repository.owned(session, conversation_id, user_id)
            if row is None:
                raise ConversationNotFound
            await repository.remove(session, row.id)

    async def message(self, user_id: str, message_id: str) -> StoredMessage:
        """A finished answer of this user.

        Raises:
            MessageNotFound: unknown or another user's.
            AnswerInProgress: it is still being written (perhaps by another replica).
        """
        now = self._clock()
        async with self._database.begin() as session:
            row = await repository.owned_message(session, message_id, user_id)
            unfinished = row is None or row.status == "streaming"
            if unfinished and await repository.answering(session, message_id, user_id, now):
                raise AnswerInProgress(retry_after_s=2)
            if row is None or row.role != "assistant":
                raise MessageNotFound
            return self._message(row, None)

    async def rate(
        self,
        user_id: str,
        message_id: str,
        *,
        rating: str,
        resolved: bool | None,
        reasons: Sequence[str],
        comment: str | None,
    ) -> FeedbackRow:
        """Stores or replaces the user's opinion of an answer."""
        now = self._clock()
        async with self._database.begin() as session:
            message = await repository.owned_message(session, message_id, user_id)
            if message is None or message.role != "assistant":
                raise MessageNotFound
            row = await repository.feedback(session, message_id)
            if row is None:
                row = FeedbackRow(message_id=message_id, created_at=now)
                session.add(row)
            row.rating, row.resolved, row.reasons, row.updated_at = rating, resolved, list(reasons), now
            row.comment_sealed = None if comment is None else self._vault.seal(comment, row_id=message_id)
            return row

    async def recent_questions(self, user_id: str, limit: int = 5) -> list[str]:
        """The user's newest questions, newest first, over his last conversations."""
        async with self._database.begin() as session:
            rows = await repository.page(session, user_id, None, 3)
            turns = [row for c in rows for row in reversed(await repository.history(session, c.id, 10))]
        questions = [self._turn(row).content for row in turns if row.role == "user"]
        return questions[:limit]

    async def close_broken(self) -> int:
        """Marks answers left unfinished by a crash as partial; returns how many."""
        async with self._database.begin() as session:
            return await repository.close_broken(session, self._clock())

    def _new_row(self, user_id: str, message_id: str, now: datetime) -> ConversationRow:
        return ConversationRow(
            id=self._new_id(),
            user_id=user_id,
            created_at=now,
            updated_at=now,
            answering_id=message_id,
            answering_until=now + self._lease,
        )

    def _turn(self, row: MessageRow) -> Turn:
        role = "user" if row.role == "user" else "assistant"
        return Turn(role, self._vault.open(row.content_sealed, row_id=row.id))  # type: ignore[arg-type]

    def _summary(self, row: ConversationRow) -> ConversationSummary:
        title = "" if row.title_sealed is None else self._vault.open(row.title_sealed, row_id=row.id)
        return ConversationSummary(row.id, title, row.department, row.created_at, row.updated_at)

    def _message(self, row: MessageRow, feedback: FeedbackRow | None) -> StoredMessage:
        reasoning = row.reasoning_sealed
        return StoredMessage(
            id=row.id,
            conversation_id=row.conversation_id,
            role=row.role,
            status=row.status,
            content=self._vault.open(row.content_sealed, row_id=row.id),
            segments=tuple(row.segments or ()),
            department=row.department,
            answer=row.answer,
            reasoning=None if reasoning is None else self._vault.open(reasoning, row_id=row.id),
            created_at=row.created_at,
            feedback=feedback,
        )


def encode_cursor(at: datetime, row_id: str) -> str:
    return urlsafe_b64encode(f"{at.isoformat()}|{row_id}".encode()).decode()


def decode_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        at, row_id = urlsafe_b64decode(cursor.encode("ascii")).decode().split("|")
        moment = datetime.fromisoformat(at)
    except (ValueError, UnicodeError) as error:
        raise InvalidCursor from error
    if moment.tzinfo is None:
        raise InvalidCursor
    return moment, row_id
