"""The database: one engine, sessions that are one transaction each, and errors translated at this boundary."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from app.errors import StorageUnavailable

SQLITE_BUSY_MS = 5000
# How long a transaction waits for one of the pool's connections. All of them at work is no fault: an answer that is late is
# better than one that breaks off.
POOL_WAIT_S = 30.0


def make_engine(url: str, *, pool_size: int = 10, connect_timeout_s: float = 5.0) -> AsyncEngine:
    """An engine for SQLite (WAL, foreign keys on) or PostgreSQL; nothing connects yet."""
    if url.startswith("sqlite"):
        engine = create_async_engine(url, connect_args={"timeout": SQLITE_BUSY_MS / 1000})
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine
    return create_async_engine(
        url,
        pool_size=pool_size,
        pool_pre_ping=True,
        pool_timeout=POOL_WAIT_S,
        connect_args={"timeout": connect_timeout_s},
    )


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        f"busy_timeout={SQLITE_BUSY_MS}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class Database:
    """Hands out transactions. `begin()` commits when the block ends and rolls back when it raises."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """One transaction.

        Raises:
            StorageUnavailable: the database cannot be reached, is locked or full.
        """
        try:
            async with self._sessions() as session, session.begin():
                yield session
        except (OperationalError, InterfaceError, PoolTimeout, OSError) as error:
            raise StorageUnavailable from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise StorageUnavailable from error
            raise

    async def check(self) -> str:
        """The schema revision in use.

        Raises:
            StorageUnavailable: not reachable, or not migrated.
        """
        async with self.begin() as session:
            try:
                return str(
                    (await session.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
                )
            except SQLAlchemyError as error:
                raise StorageUnavailable from error

    async def close(self) -> None:
        await self.engine.dispose()
