"""What the account endpoints return."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class UserOut(BaseModel):
    id: str = Field(examples=["01JD3ZQ6Y5T0W9X8V7M6K5H4G3"])
    kind: str = Field(examples=["guest"])
    role: str = Field(examples=["patient"])
    name: str | None = None
    created_at: datetime


class TokenOut(BaseModel):
    """A bearer token; send it as `Authorization: Bearer …`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "access_token": "eyJhbGciOi…",
                "token_type": "bearer",
                "expires_in": 2592000,
                "user": {
                    "id": "01JD3ZQ6Y5T0W9X8V7M6K5H4G3",
                    "kind": "guest",
                    "role": "patient",
                    "name": None,
                    "created_at": "2026-01-01T08:00:00Z",
                },
            }
        }
    )

    access_token: str
    token_type: str = "bearer"
    expires_in: int = Field(description="seconds")
    user: UserOut
