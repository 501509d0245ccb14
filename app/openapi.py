"""The shared parts of the OpenAPI description: the error shape and which errors an operation can answer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from app import errors as error_tree
from app.errors import AnxinError

DESCRIPTION = """安心 (Anxin) answers health questions from a hospital department's own reviewed knowledge, with sources.

**Start**: `POST /api/v1/auth/guest` for a token, then `POST /api/v1/chat` with `Authorization: Bearer …`.
Every error has the shape `{"error": {"code", "message", "request_id"}}`; `message` may be shown to patients.
Every response carries `X-Request-ID`. Times are ISO 8601 UTC, ids are ULIDs. 429 and 503 may carry `Retry-After`.
An emergency (`triage.level` = `emergency`) always comes with a notice: show it first, large, with a 120 button.
"""

TAGS = [
    {"name": "auth", "description": "Guest and staff tokens."},
    {"name": "chat", "description": "Ask, stream, resume."},
    {
        "name": "conversations",
        "description": "A patient's own conversations, and what he thought of the answers.",
    },
    {"name": "knowledge", "description": "Search, articles, and the medical graph."},
    {"name": "safety", "description": "Triage and review on their own, for staff and for the release gate."},
    {"name": "admin", "description": "Documents, index, adapters and the audit, for editors and operators."},
    {"name": "operations", "description": "Health and metrics."},
]


class ErrorBody(BaseModel):
    code: str = Field(examples=["conversation_not_found"], description="stable, for programs")
    message: str = Field(examples=["没有找到这段对话。"], description="Chinese, may be shown to patients")
    request_id: str = Field(examples=["01JD3ZQ6Y5T0W9X8V7M6K5H4G3"])
    details: dict[str, Any] | None = None
    notices: list[dict[str, Any]] | None = Field(
        None, description="present when an emergency was recognised although no answer could be given"
    )


class ErrorOut(BaseModel):
    error: ErrorBody


def _codes(status: int) -> list[str]:
    classes = [c for c in vars(error_tree).values() if isinstance(c, type) and issubclass(c, AnxinError)]
    return sorted({c.code for c in classes if c.status == status})


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` entry of an operation that can answer these statuses."""
    out: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 400}):
        example = {
            "error": {"code": _codes(status)[0], "message": "…", "request_id": "01JD3ZQ6Y5T0W9X8V7M6K5H4G3"}
        }
        out[status] = {
            "model": ErrorOut,
            "description": "Error: " + ", ".join(f"`{code}`" for code in _codes(status)),
            "content": {"application/json": {"example": example}},
        }
    return out
