"""The SQL of the adapter registry. Changes are compare-and-set on `version`, so that two operators cannot both win."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.states import State, require_transition
from app.db.tables_adapters import AdapterRow
from app.errors import AdapterNotFound, StateConflict


async def find(session: AsyncSession, name: str) -> AdapterRow:
    """Raises AdapterNotFound."""
    row = await session.get(AdapterRow, name, populate_existing=True)
    if row is None:
        raise AdapterNotFound
    return row


async def every(session: AsyncSession, states: Collection[State] = tuple(State)) -> list[AdapterRow]:
    """By department, newest version first."""
    query = select(AdapterRow).where(AdapterRow.state.in_([s.value for s in states]))
    return list(
        (await session.execute(query.order_by(AdapterRow.department, AdapterRow.number.desc()))).scalars()
    )


async def next_number(session: AsyncSession, department: str) -> int:
    query = select(func.max(AdapterRow.number)).where(AdapterRow.department == department)
    highest = (await session.execute(query)).scalar_one()
    return 1 if highest is None else int(highest) + 1


async def hold_department(session: AsyncSession, department: str) -> None:
    """Makes changes to one department wait for each other: the transaction's first statement is a write on its rows."""
    await session.execute(
        update(AdapterRow).where(AdapterRow.department == department).values(version=AdapterRow.version)
    )


async def in_state(session: AsyncSession, department: str, state: State) -> AdapterRow | None:
    query = select(AdapterRow).where(AdapterRow.department == department, AdapterRow.state == state.value)
    return (await session.execute(query.execution_options(populate_existing=True))).scalar_one_or_none()


async def change(
    session: AsyncSession, row: AdapterRow, to: State | None, now: datetime, **values: Any
) -> AdapterRow:
    """Moves `row` to a state (None: stays) if nobody changed it since it was read.

    Raises:
        StateConflict: no such transition, or somebody was faster.
    """
    if to is not None:
        require_transition(row.name, State(row.state), to)
        values["state"] = to.value
    result = await session.execute(
        update(AdapterRow)
        .where(AdapterRow.name == row.name, AdapterRow.version == row.version)
        .values(version=AdapterRow.version + 1, updated_at=now, **values)
    )
    assert isinstance(result, CursorResult)
    if result.rowcount != 1:
        raise StateConflict(f"适配器 {row.name} 刚被其他人修改，请刷新后再试。", details={"name": row.name})
    return await find(session, row.name)
