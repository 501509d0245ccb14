"""Reads and writes uploads and the jobs that made them; knows SQL, decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables_knowledge import IngestFileRow, IngestJobRow, UploadRow


class UploadStatus(StrEnum):
    """draft -> approved | rejected; approved -> superseded by a newer version; any -> deleted."""

    DRAFT = "draft"
    APPROVED = "approved"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    DELETED = "deleted"


class JobState(StrEnum):
    """A job that took in nothing is never `succeeded`: all known already is `unchanged`, only errors is `failed`."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    UNCHANGED = "unchanged"
    FAILED = "failed"


class FileState(StrEnum):
    PENDING = "pending"
    DONE = "done"
    DUPLICATE = "duplicate"
    FAILED = "failed"


async def upload(session: AsyncSession, upload_id: str) -> UploadRow | None:
    return await session.get(UploadRow, upload_id)


async def uploads(
    session: AsyncSession, status: UploadStatus | None, before: str | None, limit: int
) -> list[UploadRow]:
    """Newest first (ULIDs sort by time); deleted ones only when asked for."""
    query = select(UploadRow).order_by(UploadRow.id.desc()).limit(limit)
    wanted = UploadRow.status != UploadStatus.DELETED if status is None else UploadRow.status == status
    query = query.where(wanted)
    if before is not None:
        query = query.where(UploadRow.id < before)
    return list((await session.execute(query)).scalars())


async def approved(session: AsyncSession) -> list[UploadRow]:
    query = select(UploadRow).where(UploadRow.status == UploadStatus.APPROVED).order_by(UploadRow.document_id)
    return list((await session.execute(query)).scalars())


async def approved_ids(session: AsyncSession) -> frozenset[str]:
    query = select(UploadRow.id).where(UploadRow.status == UploadStatus.APPROVED)
    return frozenset((await session.execute(query)).scalars())


async def document_ids(session: AsyncSession, decided_before: datetime) -> set[str]:
    """Every document that was ever uploaded and decided on, also deleted ones; not those decided on since."""
    query = select(UploadRow.document_id).where(UploadRow.decided_at.is_not(None)).distinct()
    fresh = select(UploadRow.document_id).where(UploadRow.decided_at > decided_before)
    query = query.where(UploadRow.document_id.not_in(fresh))
    return set((await session.execute(query)).scalars())


async def same_file(session: AsyncSession, file_hash: str, document_id: str) -> UploadRow | None:
    """A version of the document with this very content that waits or is served."""
    query = select(UploadRow).where(
        UploadRow.file_hash == file_hash,
        UploadRow.document_id == document_id,
        UploadRow.status.in_([UploadStatus.DRAFT, UploadStatus.APPROVED]),
    )
    return (await session.execute(query.limit(1))).scalar_one_or_none()


async def supersede(session: AsyncSession, document_id: str, status: UploadStatus, keep: str) -> None:
    """The document's versions in this status, but one, become superseded."""
    await session.execute(
        update(UploadRow)
        .where(UploadRow.document_id == document_id, UploadRow.status == status, UploadRow.id != keep)
        .values(status=UploadStatus.SUPERSEDED)
    )


async def decide(
    session: AsyncSession,
    upload_id: str,
    change: tuple[UploadStatus, UploadStatus],
    actor: str | None,
    now: datetime,
    note: str | None,
) -> bool:
    """Moves a version from one status to another; False when it was not in the first."""
    before, after = change
    statement = (
        update(UploadRow)
        .where(UploadRow.id == upload_id, UploadRow.status == before)
        .values(status=after, decided_by=actor, decided_at=now, note=note)
    )
    return await _changed(session, statement)


async def mark_indexed(session: AsyncSession, upload_id: str, collection: str | None) -> None:
    await session.execute(update(UploadRow).where(UploadRow.id == upload_id).values(indexed_in=collection))


async def job(session: AsyncSession, job_id: str) -> IngestJobRow | None:
    return await session.get(IngestJobRow, job_id)


async def jobs(session: AsyncSession, before: str | None, limit: int) -> list[IngestJobRow]:
    query = select(IngestJobRow).order_by(IngestJobRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(IngestJobRow.id < before)
    return list((await session.execute(query)).scalars())


async def files(session: AsyncSession, job_id: str) -> list[IngestFileRow]:
    query = select(IngestFileRow).where(IngestFileRow.job_id == job_id).order_by(IngestFileRow.position)
    return list((await session.execute(query)).scalars())


async def take_job(session: AsyncSession, job_id: str, now: datetime, until: datetime) -> bool:
    """Takes the work on a running job; False when it is finished or somebody else is at it."""
    free = or_(IngestJobRow.lease_until.is_(None), IngestJobRow.lease_until < now)
    statement = (
        update(IngestJobRow)
        .where(IngestJobRow.id == job_id, IngestJobRow.state == JobState.RUNNING, free)
        .values(lease_until=until, updated_at=now)
    )
    return await _changed(session, statement)


async def extend_job(session: AsyncSession, job_id: str, now: datetime, until: datetime | None) -> None:
    await session.execute(
        update(IngestJobRow).where(IngestJobRow.id == job_id).values(lease_until=until, updated_at=now)
    )


async def finish_job(session: AsyncSession, job_id: str, state: JobState, now: datetime) -> None:
    await session.execute(
        update(IngestJobRow)
        .where(IngestJobRow.id == job_id)
        .values(state=state, lease_until=None, updated_at=now)
    )


async def unfinished_jobs(session: AsyncSession, now: datetime) -> Sequence[str]:
    """Running jobs that nobody works on, oldest first."""
    free = or_(IngestJobRow.lease_until.is_(None), IngestJobRow.lease_until < now)
    query = (
        select(IngestJobRow.id).where(IngestJobRow.state == JobState.RUNNING, free).order_by(IngestJobRow.id)
    )
    return list((await session.execute(query)).scalars())


async def _changed(session: AsyncSession, statement: object) -> bool:
    result = await session.execute(statement)  # type: ignore[call-overload]
    assert isinstance(result, CursorResult)
    return bool(result.rowcount)
