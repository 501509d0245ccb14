"""The index's life as an operator's client meets it, and as the command line does."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.admin.index_builds_assembly import KnowledgeAdmin
from app.db.migrate import migrate
from app.serving import ensure_index
from app.settings import Settings
from app.users.roles import Role
from knowledge_base.acceptance import Acceptance, Figures
from knowledge_base.build import BuildStopped
from tests.app.knowledge_service import finished, knowledge_app
from tests.conftest import DOCUMENTS, SMALL_LIBRARY, Service, make_settings, running

NOTE = "# 病区探视须知\n\n## 几点可以探视\n病区每天下午三点零七分开始探视，每次两个人。\n"


@pytest.fixture(scope="module")
def few_documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small library as files, so that a build takes a second."""
    folder = tmp_path_factory.mktemp("documents")
    for path in DOCUMENTS.rglob("*.md"):
        if path.stem in SMALL_LIBRARY:
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def configured(tmp_path: Path, index: Path | None, documents: Path) -> Settings:
    settings = make_settings(tmp_path / "var", index, documents_dir=documents)
    migrate(settings.database_url)
    return settings


@pytest.fixture
async def service(tmp_path: Path, small_index: Path, few_documents: Path) -> AsyncIterator[Service]:
    settings = await asyncio.to_thread(configured, tmp_path, small_index, few_documents)
    async with running(settings, knowledge_app(settings)) as served:
        yield served


@pytest.fixture
async def operator(service: Service) -> dict[str, str]:
    return await service.staff(Role.OPERATOR)


async def build(service: Service, operator: dict[str, str]) -> dict[str, Any]:
    answer = await service.http.post("/admin/index/builds", headers=operator)
    assert answer.status_code == 202, answer.text
    return await finished(service, f"/admin/index/builds/{answer.json()['id']}", operator)


def admin_of(service: Service) -> KnowledgeAdmin:
    admin: KnowledgeAdmin = service.app.state.knowledge
    return admin


async def test_build_activate_roll_back_and_prune(service: Service, operator: dict[str, str]) -> None:
    before = service.parts.searcher.index
    first = await build(service, operator)
    assert (first["state"], first["documents"], first["embedded"]) == ("accepted", len(SMALL_LIBRARY), 0)
    assert first["result"]["overall"]["questions"] >= len(SMALL_LIBRARY)
    assert service.parts.searcher.index == before, "a build alone changes nothing"

    switched = (
        await service.http.post(f"/admin/index/builds/{first['id']}/activate", headers=operator)
    ).json()
    assert (switched["build"]["state"], switched["before"]) == ("active", before)
    assert service.parts.searcher.index == first["name"]
    second = await build(service, operator)
    await service.http.post(f"/admin/index/builds/{second['id']}/activate", headers=operator)

    back = (await service.http.post("/admin/index/rollback", headers=operator)).json()
    assert back["build"]["name"] == first["name"] == service.parts.searcher.index
    states = {
        b["name"]: b["state"]
        for b in (await service.http.get("/admin/index/builds", headers=operator)).json()["items"]
    }
    assert states == {first["name"]: "active", second["name"]: "retired"}

    dropped = (await service.http.post("/admin/index/prune", json={"keep": 0}, headers=operator)).json()[
        "dropped"
    ]
    assert set(dropped) == {before, second["name"]}
    refused = await service.http.post(f"/admin/index/builds/{second['id']}/activate", headers=operator)
    assert refused.status_code == 409
    answer = await service.http.get("/knowledge/search", params={"q": "拜阿司匹林什么时候吃"})
    assert answer.json()["evidence"] == "sufficient"

    audit = (await service.http.get("/admin/audit", headers=operator)).json()["items"]
    actions = [entry["action"] for entry in reversed(audit) if entry["action"].startswith("index.")]
    assert actions == [
        "index.build",
        "index.activate",
        "index.build",
        "index.activate",
        "index.rollback",
        "index.prune",
    ]
    assert all(entry["actor_id"] for entry in audit if entry["action"].startswith("index."))


async def test_two_builds_at_once_are_refused_and_a_stopped_one_goes_on(
    service: Service, operator: dict[str, str]
) -> None:
    admin = admin_of(service)
    going, let_go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def held(name: str, told: Any) -> Acceptance:
        loop.call_soon_threadsafe(going.set)
        asyncio.run_coroutine_threadsafe(let_go.wait(), loop).result(60)
        raise BuildStopped

    original = admin.builds._examine
    admin.builds._examine = held
    first = (await service.http.post("/admin/index/builds", headers=operator)).json()
    await going.wait()
    second = await service.http.post("/admin/index/builds", headers=operator)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "state_conflict")
    let_go.set()
    await admin.builds.wait()
    stopped = (await service.http.get(f"/admin/index/builds/{first['id']}", headers=operator)).json()
    assert (stopped["state"], stopped["result"]) == ("building", None)
    refused = await service.http.post(f"/admin/index/builds/{first['id']}/activate", headers=operator)
    assert refused.status_code == 409

    admin.builds._examine = original
    resumed = await build(service, operator)
    assert (resumed["id"], resumed["state"]) == (first["id"], "accepted")


async def test_an_index_that_fails_its_questions_is_served_only_when_forced(
    service: Service, operator: dict[str, str]
) -> None:
    poor = Figures(30, 0.2, 0.4, 0.3)
    admin_of(service).builds._examine = lambda name, told: Acceptance(poor, {}, 0.5, 0.5, False)
    row = await build(service, operator)
    assert row["state"] == "rejected"
    path = f"/admin/index/builds/{row['id']}/activate"
    refused = await service.http.post(path, headers=operator)
    assert refused.status_code == 409
    assert refused.json()["error"]["details"]["result"]["overall"]["hit_at_5"] == 0.4
    assert service.parts.searcher.index != row["name"]
    assert (await service.http.post(path, json={"force": True}, headers=operator)).status_code == 200
    assert service.parts.searcher.index == row["name"]


async def test_an_index_that_lost_documents_is_not_served(
    service: Service, operator: dict[str, str], few_documents: Path
) -> None:
    full = await build(service, operator)
    await service.http.post(f"/admin/index/builds/{full['id']}/activate", headers=operator)
    hidden = [path.rename(path.with_suffix(".off")) for path in sorted(few_documents.glob("car-*.md"))[:4]]
    try:
        poorer = await build(service, operator)
    finally:
        for path in hidden:
            path.rename(path.with_suffix(".md"))
    assert poorer["state"] == "accepted"
    refused = await service.http.post(f"/admin/index/builds/{poorer['id']}/activate", headers=operator)
    assert refused.status_code == 409
    assert service.parts.searcher.index == full["name"]


async def test_what_was_deleted_stays_deleted_after_roll_back_and_what_was_approved_is_carried_over(
    service: Service, operator: dict[str, str]
) -> None:
    old = await build(service, operator)
    await service.http.post(f"/admin/index/builds/{old['id']}/activate", headers=operator)

    async def approved(name: str) -> tuple[str, str]:
        files = [("files", (name, NOTE.encode()))]
        job = (await service.http.post("/admin/documents", files=files, headers=operator)).json()
        job = await finished(service, f"/admin/documents/jobs/{job['id']}", operator)
        upload_id = job["files"][0]["upload_id"]
        answer = await service.http.post(f"/admin/documents/{upload_id}/approve", headers=operator)
        return upload_id, answer.json()["document_id"]

    doomed, doomed_document = await approved("一.md")
    new = await build(service, operator)
    await service.http.post(f"/admin/index/builds/{new['id']}/activate", headers=operator)
    _, kept_document = await approved("二.md")
    await service.http.delete(f"/admin/documents/{doomed}", headers=operator)
    await service.http.post("/admin/index/rollback", headers=operator)
    index = service.parts.searcher.index
    assert index == old["name"]
    present = await asyncio.to_thread(service.parts.store.document_ids, index)
    assert kept_document in present
    assert doomed_document not in present


async def test_only_operators_change_the_index(service: Service) -> None:
    editor = await service.staff(Role.EDITOR)
    assert (await service.http.get("/admin/index/builds", headers=editor)).status_code == 200
    for path in ("builds", "rollback", "prune"):
        assert (await service.http.post(f"/admin/index/{path}", headers=editor)).status_code == 403


async def test_nothing_to_roll_back_to(service: Service, operator: dict[str, str]) -> None:
    answer = await service.http.post("/admin/index/rollback", headers=operator)
    assert answer.status_code == 409


async def test_a_malformed_document_stops_the_build_before_it_begins(
    service: Service, operator: dict[str, str], few_documents: Path
) -> None:
    broken = few_documents / "broken.md"
    broken.write_text("kein front matter", encoding="utf-8")
    try:
        answer = await service.http.post("/admin/index/builds", headers=operator)
    finally:
        broken.unlink()
    assert answer.status_code == 503
    assert "broken.md" in answer.json()["error"]["message"]


def test_the_first_start_builds_and_the_second_does_not(tmp_path: Path, few_documents: Path) -> None:
    settings = configured(tmp_path, None, few_documents)
    said = io.StringIO()
    name = ensure_index(settings, Console(file=said))
    assert "hit@5" in said.getvalue()
    assert ensure_index(settings, Console(file=said)) == name


async def test_a_second_process_says_that_the_service_has_the_index(service: Service) -> None:
    """Milvus Lite lets the same process in; another one is told why not."""
    import os
    import sys

    script = "from app.settings import load_settings\nfrom app.cli_kb import index_app\nindex_app(['list'])\n"
    settings = service.settings
    environment = {
        **os.environ,
        "ANXIN_VAR_DIR": str(settings.var_dir),
        "ANXIN_MILVUS__URI": settings.milvus_uri,
        "COLUMNS": "200",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        env=environment,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    _, complaint = await process.communicate()
    assert process.returncode == 1
    assert "use the admin endpoints" in complaint.decode()
