"""Health of each part, and metrics."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from app.dependencies import Parts
from app.errors import AnxinError
from app.observability import metrics
from app.openapi import errors
from retrieval.errors import RetrievalError

api_router = APIRouter(prefix="/health", tags=["operations"])
root_router = APIRouter()
CHECK_TIMEOUT_S = 3.0


class PartState(BaseModel):
    name: str = Field(examples=["database"])
    state: Literal["ok", "degraded", "down"]
    version: str | None = None
    detail: str | None = None


class Readiness(BaseModel):
    ready: bool
    parts: list[PartState]


class Liveness(BaseModel):
    status: Literal["ok"] = "ok"


@api_router.get("/live", summary="Is the process alive", responses=errors(500))
async def live() -> Liveness:
    """Answers as long as the process can answer at all."""
    return Liveness()


async def database_state(parts: Parts) -> PartState:
    try:
        revision = await asyncio.wait_for(parts.database.check(), CHECK_TIMEOUT_S)
    except (AnxinError, TimeoutError) as error:
        return PartState(name="database", state="down", detail=type(error).__name__)
    return PartState(name="database", state="ok", version=revision)


async def index_state(parts: Parts) -> PartState:
    try:
        target = await asyncio.wait_for(asyncio.to_thread(parts.store.alias_target), CHECK_TIMEOUT_S)
    except (RetrievalError, TimeoutError) as error:
        return PartState(name="index", state="down", detail=type(error).__name__)
    if target is None:
        return PartState(name="index", state="down", detail="no index is active")
    return PartState(name="index", state="ok", version=target)


async def generator_state(parts: Parts) -> PartState:
    try:
        version = await asyncio.wait_for(parts.generator.check(), CHECK_TIMEOUT_S)
    except (AnxinError, TimeoutError) as error:
        return PartState(name="generator", state="degraded", detail=type(error).__name__)
    return PartState(name="generator", state="ok", version=version)


@api_router.get(
    "/ready", summary="Can the service answer", responses={503: {"model": Readiness}, **errors(500)}
)
async def ready(
    response: Response,
    database: Annotated[PartState, Depends(database_state)],
    index: Annotated[PartState, Depends(index_state)],
    generator: Annotated[PartState, Depends(generator_state)],
    parts: Parts,
) -> Readiness:
    """Each dependency with its state and version; 503 while one that is needed is down."""
    rules = PartState(name="rules", state="ok", version=parts.triage.version)
    embedder = PartState(name="embedder", state="ok", version=parts.embedder.name)
    states = [database, index, generator, rules, embedder]
    is_ready = all(state.state != "down" for state in states)
    response.status_code = 200 if is_ready else 503
    return Readiness(ready=is_ready, parts=states)


@root_router.get("/metrics", include_in_schema=False)
async def prometheus(parts: Parts) -> Response:
    metrics.streams.set(len(parts.runs))
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
