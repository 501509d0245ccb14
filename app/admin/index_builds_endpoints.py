"""Index builds over HTTP, for operators: build, look, activate, roll back, prune."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, status
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field

from app.admin.documents_endpoints import Admin
from app.admin.index_builds_repository import BuildState
from app.db.tables_knowledge import IndexBuildRow
from app.dependencies import Operator, Staff
from app.openapi import errors

router = APIRouter(prefix="/admin/index", tags=["admin"])
BuildId = Annotated[str, PathParameter(min_length=26, max_length=26)]


class BuildOut(BaseModel):
    """`result` holds the acceptance figures; `step`, `done`, `total` the progress while building."""

    id: str
    name: str = Field(description="the collection")
    state: BuildState
    documents: int
    chunks: int
    embedded: int = Field(description="texts that had no vector yet")
    step: str
    done: int
    total: int
    result: dict[str, Any] | None
    error: str | None
    created_by: str | None
    created_at: datetime
    finished_at: datetime | None
    activated_at: datetime | None

    @classmethod
    def of(cls, row: IndexBuildRow) -> BuildOut:
        return cls.model_validate(row, from_attributes=True)


class BuildPage(BaseModel):
    items: list[BuildOut]
    next_cursor: str | None = None


class SwitchOut(BaseModel):
    build: BuildOut
    before: str | None = Field(description="the collection that was served before")


class PruneOut(BaseModel):
    dropped: list[str]


@router.get("/builds", summary="List index builds", responses=errors(401, 403, 422, 429, 503))
async def builds(
    caller: Staff,
    admin: Admin,
    cursor: Annotated[str | None, Query(max_length=26)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> BuildPage:
    """Newest first; exactly one is `active`."""
    rows, following = await admin.builds.page(cursor, limit)
    return BuildPage(items=[BuildOut.of(row) for row in rows], next_cursor=following)


@router.post(
    "/builds",
    summary="Build a new index",
    status_code=status.HTTP_202_ACCEPTED,
    responses=errors(401, 403, 409, 429, 503),
)
async def build(caller: Operator, admin: Admin) -> BuildOut:
    """In the background, beside the served one; an interrupted build of the same documents is gone on with."""
    return BuildOut.of(await admin.builds.start(caller.user_id))


@router.get("/builds/{build_id}", summary="Follow a build", responses=errors(401, 403, 404, 422, 429, 503))
async def read(caller: Staff, admin: Admin, build_id: BuildId) -> BuildOut:
    """Progress, and the acceptance figures when it has finished."""
    return BuildOut.of(await admin.builds.get(build_id))


@router.post(
    "/builds/{build_id}/activate",
    summary="Serve a build",
    responses=errors(401, 403, 404, 409, 422, 429, 503),
)
async def activate(
    caller: Operator, admin: Admin, build_id: BuildId, force: Annotated[bool, Body(embed=True)] = False
) -> SwitchOut:
    """Refused when acceptance failed or a fifth of the documents is missing, unless forced."""
    switched = await admin.builds.activate(build_id, caller.user_id, force=force)
    return SwitchOut(build=BuildOut.of(switched.row), before=switched.before)


@router.post("/rollback", summary="Serve what was served before", responses=errors(401, 403, 409, 429, 503))
async def roll_back(caller: Operator, admin: Admin) -> SwitchOut:
    """Decisions about uploads made since then are carried over: what was deleted stays deleted."""
    switched = await admin.builds.roll_back(caller.user_id)
    return SwitchOut(build=BuildOut.of(switched.row), before=switched.before)


@router.post("/prune", summary="Drop old indexes", responses=errors(401, 403, 409, 422, 429, 503))
async def prune(
    caller: Operator, admin: Admin, keep: Annotated[int, Body(embed=True, ge=0, le=20)] = 1
) -> PruneOut:
    """Keeps the served one and `keep` besides it."""
    return PruneOut(dropped=await admin.builds.prune(keep, caller.user_id))
