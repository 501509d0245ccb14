"""The adapter registry's table: one row per immutable version, and what the database itself must never allow."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables import Base


class AdapterRow(Base):
    """`version` counts changes, for compare-and-set. At most one active and one canary row per department.

    `replaced` is the name that was active before this one, None when it was the base model. `evaluation` holds the
    figures that the training side sent along.
    """

    __tablename__ = "adapters"
    __table_args__ = (
        UniqueConstraint("department", "number"),
        Index(
            "uq_adapters_one_active",
            "department",
            unique=True,
            sqlite_where=text("state = 'active'"),
            postgresql_where=text("state = 'active'"),
        ),
        Index(
            "uq_adapters_one_canary",
            "department",
            unique=True,
            sqlite_where=text("state = 'canary'"),
            postgresql_where=text("state = 'canary'"),
        ),
    )

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    department: Mapped[str] = mapped_column(String(32))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    version: Mapped[int] = mapped_column(default=1)
    base_model: Mapped[str] = mapped_column(String(256))
    rank: Mapped[int]
    target_modules: Mapped[list[Any]]
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    demo: Mapped[bool] = mapped_column(default=False)
    note: Mapped[str | None] = mapped_column(String(400))
    canary_percent: Mapped[int | None]
    canary_since: Mapped[datetime | None]
    replaced: Mapped[str | None] = mapped_column(String(64))
    evaluation: Mapped[dict[str, Any] | None]
    smoke_report: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    activated_at: Mapped[datetime | None]
