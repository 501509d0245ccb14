"""What endpoints ask for by type: the parts built at start, the caller, and the limits on him."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.container import Container
from app.conversations.service import ConversationService
from app.errors import Forbidden, Unauthenticated
from app.users.roles import STAFF_ROLES, Identity, Role
from app.users.service import UserService

bearer = HTTPBearer(auto_error=False, description="a token from /auth/guest or /auth/staff")


def container(request: Request) -> Container:
    built: Container = request.app.state.container
    return built


Parts = Annotated[Container, Depends(container)]


def users(parts: Parts) -> UserService:
    return parts.users


def conversations(parts: Parts) -> ConversationService:
    return parts.conversations


Users = Annotated[UserService, Depends(users)]
Conversations = Annotated[ConversationService, Depends(conversations)]


def address(request: Request) -> str:
    return request.client.host if request.client is not None else "unknown"


async def identify(
    request: Request,
    parts: Parts,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Identity:
    """Who calls, after the limits of his address and token.

    Raises:
        Unauthenticated and its kinds; RateLimited.
    """
    await parts.limiter.hit(parts.settings.limits.address_rate, "address", address(request))
    if credentials is None:
        if request.headers.get("authorization"):
            raise Unauthenticated
        if not parts.settings.anonymous_allowed:
            raise Unauthenticated
        identity = await parts.users.anonymous()
        rate, key = parts.settings.limits.address_rate, f"anonymous:{address(request)}"
    else:
        identity = await parts.users.authenticate(credentials.credentials)
        limits = parts.settings.limits
        rate, key = (limits.staff_rate if identity.is_staff else limits.guest_rate), identity.token_id
    await parts.limiter.hit(rate, "token", key)
    return identity


Caller = Annotated[Identity, Depends(identify)]


def require(*roles: Role) -> Callable[[Identity], Awaitable[Identity]]:
    """A dependency that lets only these roles pass."""

    async def allowed(caller: Caller) -> Identity:
        if caller.role not in roles:
            raise Forbidden
        return caller

    return allowed


Staff = Annotated[Identity, Depends(require(*STAFF_ROLES))]
Editor = Annotated[Identity, Depends(require(Role.EDITOR, Role.OPERATOR))]
Operator = Annotated[Identity, Depends(require(Role.OPERATOR))]


async def limit_reading(request: Request, parts: Parts) -> None:
    """Public reading is limited per address only."""
    await parts.limiter.hit(parts.settings.limits.address_rate, "address", address(request))


async def limit_guest_tokens(request: Request, parts: Parts) -> None:
    await parts.limiter.hit(parts.settings.limits.guest_token_rate, "guest-token", address(request))


async def limit_logins(request: Request, parts: Parts) -> None:
    await parts.limiter.hit(parts.settings.limits.login_rate, "login", address(request))
