"""Reads and writes index builds; knows SQL, decides nothing. Which collection is served is Milvus' alias alone."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CursorResult, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables_knowledge import IndexBuildRow


class BuildState(StrEnum):
    """building -> accepted | rejected | failed; accepted (or rejected, forced) -> active -> retired; any -> dropped.

    `building` without a living lease was cut off and is gone on with by the next build of the same documents.
    """

    BUILDING = "building"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    ACTIVE = "active"
    RETIRED = "retired"
    DROPPED = "dropped"


ACTIVATABLE = frozenset({BuildState.ACCEPTED, BuildState.REJECTED, BuildState.RETIRED})


async def build(session: AsyncSession, build_id: str) -> IndexBuildRow | None:
    return await session.get(IndexBuildRow, build_id)


async def by_name(session: AsyncSession, name: str) -> IndexBuildRow | None:
    return (
        await session.execute(select(IndexBuildRow).where(IndexBuildRow.name == name))
    ).scalar_one_or_none()


async def builds(session: AsyncSession, before: str | None, limit: int) -> list[IndexBuildRow]:
    """Newest first."""
    query = select(IndexBuildRow).order_by(IndexBuildRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(IndexBuildRow.id < before)
    return list((await session.execute(query)).scalars())


async def existing(session: AsyncSession) -> list[IndexBuildRow]:
    """Builds whose collection was not dropped, newest first."""
    query = select(IndexBuildRow).where(IndexBuildRow.state != BuildState.DROPPED)
    return list((await session.execute(query.order_by(IndexBuildRow.id.desc()))).scalars())


async def being_built(session: AsyncSession, now: datetime) -> IndexBuildRow | None:
    """The build that somebody works on right now."""
    query = select(IndexBuildRow).where(
        IndexBuildRow.state == BuildState.BUILDING, IndexBuildRow.lease_until >= now
    )
    return (await session.execute(query.limit(1))).scalar_one_or_none()


async def interrupted(session: AsyncSession, fingerprint: str) -> IndexBuildRow | None:
    """The newest unfinished build of the same documents."""
    query = (
        select(IndexBuildRow)
        .where(
            IndexBuildRow.state.in_([BuildState.BUILDING, BuildState.FAILED]),
            IndexBuildRow.fingerprint == fingerprint,
        )
        .order_by(IndexBuildRow.id.desc())
        .limit(1)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def take(session: AsyncSession, build_id: str, now: datetime, until: datetime) -> bool:
    """Takes an unfinished build; False when somebody else was faster."""
    free = or_(IndexBuildRow.lease_until.is_(None), IndexBuildRow.lease_until < now)
    unfinished = IndexBuildRow.state.in_([BuildState.BUILDING, BuildState.FAILED])
    result = await session.execute(
        update(IndexBuildRow)
        .where(IndexBuildRow.id == build_id, unfinished, free)
        .values(state=BuildState.BUILDING, lease_until=until, error=None)
    )
    assert isinstance(result, CursorResult)
    return bool(result.rowcount)


async def previous(session: AsyncSession) -> IndexBuildRow | None:
    """What was served before the build that is served now."""
    query = (
        select(IndexBuildRow)
        .where(IndexBuildRow.state == BuildState.RETIRED)
        .order_by(IndexBuildRow.ordinal.desc())
        .limit(1)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def next_ordinal(session: AsyncSession) -> int:
    highest = (await session.execute(select(func.max(IndexBuildRow.ordinal)))).scalar_one_or_none()
    return 1 if highest is None else highest + 1


async def active(session: AsyncSession) -> list[IndexBuildRow]:
    query = select(IndexBuildRow).where(IndexBuildRow.state == BuildState.ACTIVE)
    return list((await session.execute(query)).scalars())
