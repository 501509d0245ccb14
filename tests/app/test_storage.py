"""Migrations, encryption, and the database on both engines."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from pathlib import Path

import pytest
from alembic import command

from app.db.crypto import DecryptionError, Vault
from app.db.migrate import alembic_config, migrate
from app.db.session import Database, make_engine
from app.errors import StorageUnavailable

KEY_A, KEY_B = (b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def upgrade_downgrade_and_compare(url: str) -> None:
    config = alembic_config(url)
    command.upgrade(config, "head")
    command.check(config)
    command.downgrade(config, "base")
    command.upgrade(config, "head")


async def test_models_and_migrations_agree_on_sqlite(tmp_path: Path) -> None:
    await asyncio.to_thread(upgrade_downgrade_and_compare, f"sqlite+aiosqlite:///{tmp_path}/new.db")


async def test_models_and_migrations_agree_on_postgres(postgres: str) -> None:
    database = Database(make_engine(postgres).execution_options(isolation_level="AUTOCOMMIT"))
    async with database.engine.connect() as connection:
        from sqlalchemy import text

        await connection.execute(text("DROP DATABASE IF EXISTS fresh"))
        await connection.execute(text("CREATE DATABASE fresh"))
    await database.close()
    await asyncio.to_thread(upgrade_downgrade_and_compare, postgres.replace("@/postgres", "@/fresh"))


async def test_unmigrated_and_unreachable_databases_are_unavailable(tmp_path: Path) -> None:
    empty = Database(make_engine(f"sqlite+aiosqlite:///{tmp_path}/empty.db"))
    with pytest.raises(StorageUnavailable):
        await empty.check()
    await empty.close()
    nowhere = Database(make_engine("postgresql+asyncpg://postgres@127.0.0.1:1/none", connect_timeout_s=1))
    with pytest.raises(StorageUnavailable):
        await nowhere.check()
    await nowhere.close()


async def test_migrating_twice_is_harmless(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/twice.db"
    for _ in range(2):
        await asyncio.to_thread(migrate, url)


def test_a_sealed_text_opens_only_in_its_row_with_its_key() -> None:
    vault = Vault({"a": KEY_A}, "a")
    sealed = vault.seal("我胸闷", row_id="row-1")
    assert "我胸闷".encode() not in sealed
    assert vault.open(sealed, row_id="row-1") == "我胸闷"
    assert vault.seal("我胸闷", row_id="row-1") != sealed
    for broken in (sealed[:-1], sealed[:10], b"", b"\x02" + sealed[1:]):
        with pytest.raises(DecryptionError):
            vault.open(broken, row_id="row-1")
    with pytest.raises(DecryptionError):
        vault.open(sealed, row_id="row-2")
    with pytest.raises(DecryptionError):
        Vault({"b": KEY_B}, "b").open(sealed, row_id="row-1")


def test_keys_rotate_without_losing_old_texts() -> None:
    old = Vault({"a": KEY_A}, "a").seal("旧", row_id="r")
    rotated = Vault({"a": KEY_A, "b": KEY_B}, "b")
    assert rotated.open(old, row_id="r") == "旧"
    assert Vault({"b": KEY_B}, "b").open(rotated.seal("新", row_id="r"), row_id="r") == "新"
