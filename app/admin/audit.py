"""The audit log: who changed what, when, and every answer that was blocked (its text sealed)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.conversations.service import decode_cursor, encode_cursor
from app.db.crypto import Vault
from app.db.session import Database
from app.db.tables import AuditRow
from app.identity import Clock, NewId, new_ulid, utc_now


@dataclass(frozen=True, slots=True)
class AuditEntry:
    id: str
    at: datetime
    actor_id: str | None
    action: str
    target: str
    detail: dict[str, Any]
    text: str | None


class AuditLog:
    """Appends and reads; nothing here changes or deletes an entry."""

    def __init__(
        self, database: Database, vault: Vault, *, clock: Clock = utc_now, new_id: NewId = new_ulid
    ) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._new_id = new_id

    async def record(
        self,
        actor_id: str | None,
        action: str,
        target: str,
        detail: dict[str, Any],
        *,
        text: str | None = None,
    ) -> None:
        async with self._database.begin() as session:
            self.add(session, actor_id, action, target, detail, text=text)

    def add(
        self,
        session: AsyncSession,
        actor_id: str | None,
        action: str,
        target: str,
        detail: dict[str, Any],
        *,
        text: str | None = None,
    ) -> None:
        """Adds an entry to a running transaction, so that a change and its record stand or fall together."""
        row_id = self._new_id()
        sealed = None if text is None else self._vault.seal(text, row_id=row_id)
        session.add(
            AuditRow(
                id=row_id,
                at=self._clock(),
                actor_id=actor_id,
                action=action,
                target=target,
                detail=detail,
                text_sealed=sealed,
            )
        )

    async def latest(self, action: str) -> AuditEntry | None:
        """The newest entry of one action, without its sealed text."""
        query = (
            select(AuditRow).where(AuditRow.action == action).order_by(AuditRow.at.desc(), AuditRow.id.desc())
        )
        async with self._database.begin() as session:
            row = (await session.execute(query.limit(1))).scalar_one_or_none()
        return None if row is None else self._entry(row, with_text=False)

    async def page(
        self, cursor: str | None, limit: int, *, with_text: bool
    ) -> tuple[list[AuditEntry], str | None]:
        """Newest first. Sealed texts are opened only when `with_text` (clinician role)."""
        query = select(AuditRow).order_by(AuditRow.at.desc(), AuditRow.id.desc()).limit(limit + 1)
        if cursor:
            at, last_id = decode_cursor(cursor)
            query = query.where(or_(AuditRow.at < at, and_(AuditRow.at == at, AuditRow.id < last_id)))
        async with self._database.begin() as session:
            rows = list((await session.execute(query)).scalars())
        entries = [self._entry(row, with_text) for row in rows[:limit]]
        more = len(rows) > limit
        return entries, encode_cursor(entries[-1].at, entries[-1].id) if more else None

    def _entry(self, row: AuditRow, with_text: bool) -> AuditEntry:
        text = None
        if with_text and row.text_sealed is not None:
            text = self._vault.open(row.text_sealed, row_id=row.id)
        return AuditEntry(row.id, row.at, row.actor_id, row.action, row.target, row.detail, text)
