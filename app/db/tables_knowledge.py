"""The tables of the knowledge: uploaded documents, the jobs that read them, and the index builds.

Nothing here is patient text. The documents of the repository are files, not rows.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables import Base, Ulid


class IngestJobRow(Base):
    """One upload of files. `lease_until` shows that somebody is working on it; past, anybody may go on."""

    __tablename__ = "ingest_jobs"

    id: Mapped[str] = mapped_column(Ulid, primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    about: Mapped[dict[str, Any]]
    created_by: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]


class IngestFileRow(Base):
    """One file of a job. `parts_done` of `parts_total` are pages where the file has pages."""

    __tablename__ = "ingest_files"
    __table_args__ = (Index(None, "job_id", "position"),)

    id: Mapped[str] = mapped_column(Ulid, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("ingest_jobs.id", ondelete="CASCADE"))
    position: Mapped[int]
    name: Mapped[str] = mapped_column(String(200))
    stored: Mapped[str] = mapped_column(String(400))
    size: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    problem: Mapped[str | None] = mapped_column(String(32))
    message: Mapped[str | None] = mapped_column(String(400))
    parts_done: Mapped[int] = mapped_column(default=0)
    parts_total: Mapped[int] = mapped_column(default=0)
    upload_id: Mapped[str | None] = mapped_column(Ulid)


class UploadRow(Base):
    """One version of an uploaded document. `content` is its text by section (see `knowledge_base.stored`).

    At most one version of a document is approved. `indexed_in` is the collection that holds it as it is.
    """

    __tablename__ = "uploads"
    __table_args__ = (
        Index(None, "document_id", "status"),
        Index(None, "status", "id"),
        Index(None, "file_hash"),
        Index(
            "uq_uploads_one_approved",
            "document_id",
            unique=True,
            sqlite_where=text("status = 'approved'"),
            postgresql_where=text("status = 'approved'"),
        ),
    )

    id: Mapped[str] = mapped_column(Ulid, primary_key=True)
    document_id: Mapped[str] = mapped_column(String(80))
    title: Mapped[str] = mapped_column(String(200))
    department: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(32))
    audience: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    file_name: Mapped[str] = mapped_column(String(200))
    file_kind: Mapped[str] = mapped_column(String(16))
    file_hash: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    pages: Mapped[int | None]
    chars: Mapped[int]
    flags: Mapped[list[Any]]
    content: Mapped[str | None] = mapped_column(Text)
    expires_on: Mapped[str | None] = mapped_column(String(10))
    uploaded_by: Mapped[str | None] = mapped_column(String(64))
    uploaded_at: Mapped[datetime]
    decided_by: Mapped[str | None] = mapped_column(String(64))
    decided_at: Mapped[datetime | None]
    note: Mapped[str | None] = mapped_column(String(500))
    indexed_in: Mapped[str | None] = mapped_column(String(128))


class IndexBuildRow(Base):
    """One collection and its life. `ordinal` counts activations, so that roll back knows what came before.

    `result` holds the acceptance figures; `lease_until` as for jobs.
    """

    __tablename__ = "index_builds"
    __table_args__ = (Index(None, "state", "id"),)

    id: Mapped[str] = mapped_column(Ulid, primary_key=True)
    name: Mapped[str] = mapped_column(String(128), unique=True)
    state: Mapped[str] = mapped_column(String(16))
    fingerprint: Mapped[str] = mapped_column(String(80))
    documents: Mapped[int] = mapped_column(default=0)
    chunks: Mapped[int] = mapped_column(default=0)
    embedded: Mapped[int] = mapped_column(default=0)
    step: Mapped[str] = mapped_column(String(16), default="")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None] = mapped_column(String(400))
    created_by: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    activated_at: Mapped[datetime | None]
    ordinal: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
