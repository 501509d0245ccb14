"""The adapter registry over HTTP: staff may look, operators may change."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path

from app.adapters.schemas import (
    AdapterOut,
    AdaptersOut,
    CanaryIn,
    ChangeIn,
    RegisterIn,
    ReplicaOut,
    RollbackIn,
    RolledBackOut,
)
from app.dependencies import Operator, Parts, Staff
from app.openapi import errors

router = APIRouter(prefix="/admin/adapters", tags=["admin"])
Name = Annotated[str, Path(max_length=64, description="<department>-v<N>")]
Change = Annotated[ChangeIn, Body(default_factory=ChangeIn)]
CHANGE_ERRORS = errors(401, 403, 404, 409, 422, 429, 503)


@router.get("", summary="Adapters and model servers", responses=errors(401, 403, 429, 503))
async def adapters(caller: Staff, parts: Parts) -> AdaptersOut:
    """By department, newest first."""
    rows = await parts.adapters.service.every()
    return AdaptersOut(
        items=[AdapterOut.of(row) for row in rows],
        replicas=[ReplicaOut.of(state) for state in parts.adapters.pool.states()],
    )


@router.post(
    "", status_code=201, summary="Register a folder", responses=errors(400, 401, 403, 409, 422, 429, 503)
)
async def register(caller: Operator, parts: Parts, body: RegisterIn) -> AdapterOut:
    """Checks the folder and keeps an immutable copy of it under the name."""
    row = await parts.adapters.service.register(
        caller.user_id,
        body.path,
        name=body.name,
        department=body.department,
        note=body.note,
        claims=body.claims(),
    )
    return AdapterOut.of(row)


@router.post("/rollback", summary="Back to the version before", responses=CHANGE_ERRORS)
async def rollback(caller: Operator, parts: Parts, body: RollbackIn) -> RolledBackOut:
    """Activates the version that was active before; without one the department answers with the base model."""
    row = await parts.adapters.service.rollback(caller.user_id, body.department)
    return RolledBackOut(department=body.department, adapter=None if row is None else AdapterOut.of(row))


@router.post("/{name}/load", summary="Load on every model server", responses=CHANGE_ERRORS)
async def load(caller: Operator, parts: Parts, name: Name, body: Change) -> AdapterOut:
    """Counts only after each server answered a probe through the name; can be repeated."""
    return AdapterOut.of(await parts.adapters.service.load(caller.user_id, name, body.version))


@router.post("/{name}/smoke-test", summary="Probe on every model server", responses=CHANGE_ERRORS)
async def smoke_test(caller: Operator, parts: Parts, name: Name, body: Change) -> AdapterOut:
    """Answers, differs from the base model, knows red flags, cites what it was given."""
    return AdapterOut.of(await parts.adapters.service.smoke_test(caller.user_id, name, body.version))


@router.post("/{name}/canary", summary="Give it a share of new conversations", responses=CHANGE_ERRORS)
async def canary(caller: Operator, parts: Parts, name: Name, body: CanaryIn) -> AdapterOut:
    """Sticky per conversation: a conversation keeps what it began with."""
    row = await parts.adapters.service.canary(caller.user_id, name, body.percent, body.version)
    return AdapterOut.of(row)


@router.post("/{name}/activate", summary="Make it the department's adapter", responses=CHANGE_ERRORS)
async def activate(caller: Operator, parts: Parts, name: Name, body: Change) -> AdapterOut:
    """All new conversations of the department use it; the one before stays loaded for a roll back."""
    return AdapterOut.of(await parts.adapters.service.activate(caller.user_id, name, body.version))


@router.post("/{name}/retire", summary="End it for ever", responses=CHANGE_ERRORS)
async def retire(caller: Operator, parts: Parts, name: Name, body: Change) -> AdapterOut:
    """It takes no new answers from now on and is unloaded once those that run have ended."""
    return AdapterOut.of(await parts.adapters.service.retire(caller.user_id, name, body.version))
