"""The application with the knowledge's editors' side, and waiting for its background work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from app.admin.documents_endpoints import router as documents_router
from app.admin.index_builds_assembly import KnowledgeAdmin, administered
from app.admin.index_builds_endpoints import router as builds_router
from app.main import API, create_app
from app.settings import Settings
from tests.conftest import Service

BUSY = ("running", "building")


def knowledge_app(settings: Settings) -> FastAPI:
    """`create_app`; adds the routers and services where it does not mount them itself."""
    app = create_app(settings)
    if any(getattr(route, "path", "").startswith(f"{API}/admin/documents") for route in app.routes):
        return app
    for router in (documents_router, builds_router):
        app.include_router(router, prefix=API)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(served: FastAPI) -> AsyncIterator[None]:
        async with inner(served), administered(served.state.container) as knowledge:
            served.state.knowledge = knowledge
            yield

    app.router.lifespan_context = lifespan
    return app


async def finished(service: Service, path: str, headers: dict[str, str]) -> dict[str, Any]:
    """The job or build once nothing is worked on any more."""
    knowledge: KnowledgeAdmin = service.app.state.knowledge
    await asyncio.gather(*knowledge.running)
    await knowledge.builds.wait()
    state: dict[str, Any] = (await service.http.get(path, headers=headers)).json()
    assert state["state"] not in BUSY, state
    return state
