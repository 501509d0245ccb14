"""Accounts over HTTP: guest and staff tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import OAuth2PasswordRequestForm

from app.dependencies import Users, limit_guest_tokens, limit_logins
from app.openapi import errors
from app.users.schemas import TokenOut, UserOut
from app.users.service import Issued

router = APIRouter(prefix="/auth", tags=["auth"])


def token_out(issued: Issued) -> TokenOut:
    user = issued.user
    out = UserOut(id=user.id, kind=user.kind, role=user.role, name=user.name, created_at=user.created_at)
    return TokenOut(access_token=issued.token, expires_in=issued.expires_in_s, user=out)


@router.post(
    "/guest",
    summary="Get a guest token",
    responses=errors(403, 429, 503),
    dependencies=[Depends(limit_guest_tokens)],
)
async def guest(users: Users) -> TokenOut:
    """Creates a guest patient and returns a bearer token. Keep the token: it is the key to his conversations."""
    return token_out(await users.guest())


@router.post(
    "/staff",
    summary="Log in as staff",
    responses=errors(401, 422, 429, 503),
    dependencies=[Depends(limit_logins)],
)
async def staff(users: Users, form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> TokenOut:
    """OAuth2 password form; the account is created on the machine with `anxin staff add`."""
    return token_out(await users.login(form.username, form.password))
