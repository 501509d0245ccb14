"""The tables, as SQLAlchemy models. Patient text is only in `*_sealed` columns (see `crypto.py`).

JSON columns hold reviewed or public content (citations, rule ids, settings), never what a patient wrote.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, Index, LargeBinary, MetaData, String, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time on every database (SQLite forgets the zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


Ulid = String(26)


class UserRow(Base):
    __tablename__ = "users"

    id: Mapped[str] = mapped_column(Ulid, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    role: Mapped[str] = mapped_column(String(16))
    name: Mapped[str | None] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(256))
    token_version: Mapped[int] = mapped_column(default=0)
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]


class ConversationRow(Base):
    """`answering_id`/`answering_until` are the lease that keeps two answers from running at once."""

    __tablename__ = "conversations"
    __table_args__ = (Index(None, "user_id", "updated_at", "id"),)

    id: Mapped[str] = mapped_column(Ulid, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    department: Mapped[str | None] = mapped_column(String(32))
    adapter: Mapped[str | None] = mapped_column(String(128))
    title_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    answering_id: Mapped[str | None] = mapped_column(Ulid)
    answering_until: Mapped[datetime | None]


class MessageRow(Base):
    """One turn. `status` is complete, partial (the answer broke off) or streaming (being written).

    `segments` are the lengths in characters of the `delta` events, so that a resumed stream repeats them exactly.
    """

    __tablename__ = "messages"
    __table_args__ = (UniqueConstraint("conversation_id", "position"),)

    id: Mapped[str] = mapped_column(Ulid, primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    position: Mapped[int]
    role: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    content_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    reasoning_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    segments: Mapped[list[Any] | None]
    department: Mapped[str | None] = mapped_column(String(32))
    audience: Mapped[str | None] = mapped_column(String(16))
    answer: Mapped[dict[str, Any] | None]
    index_name: Mapped[str | None] = mapped_column(String(128))
    rules_version: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]


class FeedbackRow(Base):
    __tablename__ = "feedback"

    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True)
    rating: Mapped[str] = mapped_column(String(8))
    resolved: Mapped[bool | None]
    reasons: Mapped[list[Any]]
    comment_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class AuditRow(Base):
    """Who changed what, when. `detail` holds ids and codes; patient text only in `text_sealed`."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "at", "id"),)

    id: Mapped[str] = mapped_column(Ulid, primary_key=True)
    at: Mapped[datetime]
    actor_id: Mapped[str | None] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(160))
    detail: Mapped[dict[str, Any]]
    text_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
