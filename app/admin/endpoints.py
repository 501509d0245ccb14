"""The audit over HTTP. Adapters and the index have their own modules beside this one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.dependencies import Parts, Staff
from app.openapi import errors
from app.users.roles import Role

router = APIRouter(prefix="/admin", tags=["admin"])


class AuditEntryOut(BaseModel):
    id: str
    at: datetime
    actor_id: str | None
    action: str
    target: str
    detail: dict[str, Any]
    text: str | None = None


class AuditPage(BaseModel):
    items: list[AuditEntryOut]
    next_cursor: str | None = None


@router.get("/audit", summary="Who changed what, when", responses=errors(401, 403, 422, 429, 503))
async def audit(
    caller: Staff,
    parts: Parts,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> AuditPage:
    """Newest first. The text of a blocked answer is shown to clinicians only."""
    entries, following = await parts.audit.page(cursor, limit, with_text=caller.role is Role.CLINICIAN)
    items = [AuditEntryOut.model_validate(entry, from_attributes=True) for entry in entries]
    return AuditPage(items=items, next_cursor=following)
