"""Parts that fail: nothing is lost, nothing half-stored, an emergency still shows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from app.db.migrate import migrate
from app.db.tables import MessageRow
from app.safety.types import ReviewContext, ReviewSession
from app.settings import LimitSettings
from tests.app.test_chat import EMERGENCY, TOGETHER
from tests.conftest import Service, make_settings, running


@pytest.fixture
async def lone(tmp_path: Path, small_index: Path):  # type: ignore[no-untyped-def]
    """A service of the test's own, to break."""
    settings = make_settings(tmp_path, small_index)
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as served:
        yield served


async def break_database(service: Service) -> None:
    async with service.parts.database.begin() as session:
        await session.execute(text("ALTER TABLE conversations RENAME TO gone"))


async def test_missing_index_is_said_honestly_and_emergencies_still_fire(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, None)
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as service:
        guest = await service.guest()
        answer = (await service.ask(guest, TOGETHER)).json()
        assert "知识库暂时不可用" in answer["answer"]
        assert answer["generator"]["degraded"] is True
        assert (await service.ask(guest, EMERGENCY)).json()["triage"]["level"] == "emergency"
        assert (await service.http.get("/health/ready")).status_code == 503
        assert (await service.http.get("/health/live")).status_code == 200
        assert (await service.http.get("/knowledge/search", params={"q": "阿司匹林"})).status_code == 503


async def test_unreachable_database_shows_nothing_but_the_emergency(lone: Service) -> None:
    guest = await lone.guest()
    await lone.parts.database.engine.dispose()
    await break_database(lone)
    routine = await lone.ask(guest, TOGETHER)
    assert routine.status_code == 503
    assert routine.json()["error"]["code"] == "storage_unavailable"
    assert "answer" not in routine.json()
    emergency = await lone.ask(guest, EMERGENCY)
    assert emergency.status_code == 503
    assert emergency.json()["error"]["notices"][0]["phone"] == "120"
    assert "120" in emergency.json()["error"]["message"]


async def test_review_that_breaks_blocks_the_answer(lone: Service) -> None:
    class Broken:
        version = "broken"

        def open(self, context: ReviewContext) -> ReviewSession:
            raise RuntimeError("no rules")

    object.__setattr__(lone.parts.pipeline, "reviewer", Broken())
    guest = await lone.guest()
    answer = (await lone.ask(guest, TOGETHER)).json()
    assert answer["review"]["verdict"] == "blocked"
    assert "没有通过安全审核" in answer["answer"]
    assert answer["citations"] == []
    assert (await lone.ask(guest, EMERGENCY)).json()["notices"][0]["phone"] == "120"


async def test_message_text_is_unreadable_in_the_database(lone: Service) -> None:
    guest = await lone.guest()
    await lone.ask(guest, TOGETHER)
    async with lone.parts.database.begin() as session:
        rows = (await session.execute(text("SELECT * FROM messages"))).all()
    assert len(rows) == 2
    stored = str(rows)
    assert "阿司匹林和氯吡格雷可以一起吃吗" not in stored
    wal = b"".join(path.read_bytes() for path in lone.settings.var_dir.glob("anxin.db*"))
    assert TOGETHER.encode() not in wal


async def test_a_crash_leaves_no_answer_streaming(tmp_path: Path, small_index: Path) -> None:
    settings = make_settings(tmp_path, small_index)
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as service:
        guest = await service.guest()
        answer = (await service.ask(guest, TOGETHER)).json()
        async with service.parts.database.begin() as session:
            row = await session.get(MessageRow, answer["message_id"])
            assert row is not None
            row.status = "streaming"
    second = tmp_path / "second"
    again = settings.model_copy(update={"milvus": make_settings(second, small_index).milvus})
    async with running(again) as service:
        read = await service.http.get(f"/conversations/{answer['conversation_id']}", headers=guest)
        assert read.json()["messages"][-1]["status"] == "partial"


async def test_too_many_questions_are_told_when_to_come_back(tmp_path: Path, small_index: Path) -> None:
    settings = make_settings(tmp_path, small_index, limits=LimitSettings(guest_rate="2/minute"))
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as service:
        guest = await service.guest()
        codes = [(await service.http.get("/conversations", headers=guest)).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        refused = await service.http.get("/conversations", headers=guest)
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["code"] == "rate_limited"
        assert (await service.http.get("/conversations", headers=await service.guest())).status_code == 200


async def test_second_process_is_told_that_the_index_is_locked(lone: Service) -> None:
    code = (
        "import sys\nfrom retrieval.store import MilvusStore\nfrom retrieval.errors import IndexLocked\n"
        f"try:\n    MilvusStore({lone.settings.milvus_uri!r}).alias_target()\n"
        "except IndexLocked:\n    sys.exit(42)\n"
    )
    import sys

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 42
