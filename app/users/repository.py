"""Reads and writes users; knows SQL and nothing else."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import UserRow


async def get(session: AsyncSession, user_id: str) -> UserRow | None:
    return await session.get(UserRow, user_id)


async def by_name(session: AsyncSession, name: str) -> UserRow | None:
    return (await session.execute(select(UserRow).where(UserRow.name == name))).scalar_one_or_none()


async def staff(session: AsyncSession) -> list[UserRow]:
    rows = await session.execute(select(UserRow).where(UserRow.kind == "staff").order_by(UserRow.name))
    return list(rows.scalars())
