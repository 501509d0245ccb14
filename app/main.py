"""Puts the application together: middleware, routes, error handlers, and the parts' life."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from app.adapters.endpoints import router as adapters_router
from app.admin.endpoints import router as admin_router
from app.chat.endpoints import router as chat_router
from app.container import built
from app.conversations.endpoints import router as conversations_router
from app.http import Exchange, install_error_handlers
from app.knowledge import graph_page
from app.knowledge.endpoints import router as knowledge_router
from app.limits import BodyLimit
from app.observability import configure_logging
from app.openapi import DESCRIPTION, TAGS
from app.operations.endpoints import api_router as health_router
from app.operations.endpoints import root_router
from app.safety.endpoints import router as safety_router
from app.settings import Settings, load_settings
from app.users.endpoints import router as users_router

API = "/api/v1"
ROUTERS = (
    users_router,
    chat_router,
    conversations_router,
    knowledge_router,
    safety_router,
    admin_router,
    adapters_router,
    health_router,
)
# A thread gives way to the event loop after this many seconds; Python's own 5 ms, with a thread a processor at work, made a
# loop that has hundreds of short things to do late by seconds.
SWITCH_S = 0.001


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Its parts are built when it starts, in the lifespan."""
    chosen = load_settings() if settings is None else settings
    configure_logging(chosen.log_level, json_lines=not chosen.development)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sys.setswitchinterval(SWITCH_S)
        async with built(chosen) as container:
            app.state.container = container
            yield

    app: FastAPI = FastAPIOffline(
        title="Anxin 安心",
        version="1.0.0",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        separate_input_output_schemas=False,
    )
    for router in ROUTERS:
        app.include_router(router, prefix=API)
    app.include_router(root_router)
    graph_page.mount(app)
    install_error_handlers(app)
    if chosen.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=chosen.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    app.add_middleware(
        BodyLimit,
        max_bytes=chosen.limits.max_body_bytes,
        max_upload_bytes=chosen.limits.max_upload_bytes,
        upload_path=f"{API}/admin/documents",
    )
    app.add_middleware(Exchange)
    return app
