"""Stores one answer while it is shown: what a reader has seen is always in the database before he sees it.

A writer holds the conversation's lease from `ConversationService.begin`. It ends with exactly one of `finish`
(complete answer, one transaction) and `abort` (partial when text was shown, otherwise no trace).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.conversations import repository
from app.db.crypto import Vault
from app.db.session import Database
from app.db.tables import ConversationRow, MessageRow
from app.errors import ConversationNotFound
from app.identity import Clock, NewId
from app.safety.types import Turn

TITLE_CHARS = 30


@dataclass(frozen=True, slots=True)
class Opened:
    """A conversation that is ready to take an answer."""

    conversation_id: str
    message_id: str
    user_id: str
    is_new: bool
    department: str | None
    adapter: str | None
    history: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class AnswerMeta:
    """What is stored beside the text; `body` is `AnswerBody` as JSON."""

    body: dict[str, Any]
    department: str
    audience: str
    adapter: str | None = None
    index_name: str | None = None
    rules_version: str | None = None
    request_id: str | None = None
    reasoning: str | None = None


@dataclass(slots=True)
class AnswerWriter:
    opened: Opened
    question: str
    database: Database
    vault: Vault
    clock: Clock
    new_id: NewId
    segments: list[str] = field(default_factory=list)
    _stored: bool = False
    _done: bool = False

    async def show(self, segment: str, meta: AnswerMeta) -> None:
        """Stores `segment` as the next part of the answer; call before it is sent.

        Raises:
            StorageUnavailable: it could not be stored, so it must not be shown.
            ConversationNotFound: the conversation was deleted meanwhile.
        """
        parts = [*self.segments, segment]
        async with self.database.begin() as session:
            await self._write(session, parts, meta, status="streaming")
        self.segments = parts
        self._stored = True

    async def finish(self, segments: list[str], meta: AnswerMeta) -> None:
        """Stores the complete answer and frees the conversation, in one transaction."""
        async with self.database.begin() as session:
            await self._write(session, segments, meta, status="complete")
            await self._release(session, meta)
        self.segments = segments
        self._stored = self._done = True

    async def abort(self, meta: AnswerMeta | None) -> None:
        """Ends an answer that broke off; idempotent, and does nothing after `finish`."""
        if self._done:
            return
        self._done = True
        async with self.database.begin() as session:
            row = await session.get(MessageRow, self.opened.message_id) if self._stored else None
            if row is not None:
                row.status = "partial"
                if meta is not None:
                    row.answer = meta.body
            await repository.end_lease(
                session, self.opened.conversation_id, self.opened.message_id, self.clock()
            )
            if not self._stored and self.opened.is_new:
                await repository.remove(session, self.opened.conversation_id)

    async def _release(self, session: AsyncSession, meta: AnswerMeta) -> None:
        opened = self.opened
        if not await repository.end_lease(session, opened.conversation_id, opened.message_id, self.clock()):
            raise ConversationNotFound
        conversation = await session.get(ConversationRow, opened.conversation_id)
        assert conversation is not None
        conversation.department = meta.department
        conversation.adapter = meta.adapter
        if conversation.title_sealed is None:
            conversation.title_sealed = self.vault.seal(self.question[:TITLE_CHARS], row_id=conversation.id)

    async def _write(self, session: AsyncSession, parts: list[str], meta: AnswerMeta, *, status: str) -> None:
        """One statement once the answer has its row: this runs for every sentence of every answer."""
        values = self._values(parts, meta, status)
        if self._stored:
            if not await repository.change_message(session, self.opened.message_id, values):
                raise ConversationNotFound
            return
        if await session.get(ConversationRow, self.opened.conversation_id) is None:
            raise ConversationNotFound
        await self._insert(session, values)

    def _values(self, parts: list[str], meta: AnswerMeta, status: str) -> dict[str, Any]:
        row_id = self.opened.message_id
        values: dict[str, Any] = {
            "content_sealed": self.vault.seal("".join(parts), row_id=row_id),
            "segments": [len(part) for part in parts],
            "status": status,
            "answer": meta.body,
            "department": meta.department,
            "audience": meta.audience,
            "index_name": meta.index_name,
            "rules_version": meta.rules_version,
            "request_id": meta.request_id,
        }
        if meta.reasoning is not None:
            values["reasoning_sealed"] = self.vault.seal(meta.reasoning, row_id=row_id)
        return values

    async def _insert(self, session: AsyncSession, values: dict[str, Any]) -> None:
        position = await repository.next_position(session, self.opened.conversation_id)
        now = self.clock()
        question_id = self.new_id()
        session.add(
            MessageRow(
                id=question_id,
                conversation_id=self.opened.conversation_id,
                position=position,
                role="user",
                status="complete",
                content_sealed=self.vault.seal(self.question, row_id=question_id),
                created_at=now,
            )
        )
        session.add(
            MessageRow(
                id=self.opened.message_id,
                conversation_id=self.opened.conversation_id,
                position=position + 1,
                role="assistant",
                created_at=now,
                **values,
            )
        )
