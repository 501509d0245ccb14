"""Alembic's entry: runs the migrations on the database of the settings, or on a connection handed in."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection

from app.db import tables_adapters, tables_knowledge  # noqa: F401 (registers their tables)
from app.db.session import make_engine
from app.db.tables import Base
from app.settings import load_settings


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_online() -> None:
    url = context.config.attributes.get("url") or load_settings().database_url
    engine = make_engine(url)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


asyncio.run(run_online())
