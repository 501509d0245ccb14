"""What every HTTP exchange gets: a request id, security headers, a log line, metrics, and errors in one shape."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import AnxinError, BadRequest, Forbidden, InvalidPayload, NotFound, Unauthenticated
from app.identity import new_ulid
from app.observability import log, metrics

REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
DOCS_PATHS = frozenset({"/docs", "/redoc"})


def request_id(request: Request) -> str:
    value: str = request.scope.get("request_id", "")
    return value


class Exchange:
    """Outermost ASGI middleware. An error that no handler caught becomes a 500 in the house's shape."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rid = self._request_id(scope)
        scope["request_id"] = rid
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=rid)
        started, status = time.perf_counter(), 0

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_headers(rid, scope["path"])]
            await send(message)

        try:
            await self._app(scope, receive, stamped)
        except AnxinError as error:
            await error_response(error, rid)(scope, receive, stamped)
        except Exception as error:
            log.error("unhandled", error=type(error).__name__, exc_info=True)
            if status:
                raise
            await error_response(AnxinError(), rid)(scope, receive, stamped)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            spent = time.perf_counter() - started
            metrics.requests.labels(scope["method"], route, status).inc()
            metrics.request_seconds.labels(route).observe(spent)
            log.info("request", method=scope["method"], route=route, status=status, ms=round(spent * 1000, 1))

    @staticmethod
    def _request_id(scope: Scope) -> str:
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        return given if REQUEST_ID.fullmatch(given) else new_ulid()


def _headers(rid: str, path: str) -> list[tuple[bytes, bytes]]:
    headers = dict(SECURITY_HEADERS)
    if path in DOCS_PATHS:
        headers["Content-Security-Policy"] = PAGE_POLICY.replace(
            "script-src 'self'", "script-src 'self' 'unsafe-inline'"
        )
    headers["X-Request-ID"] = rid
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def error_response(error: AnxinError, rid: str) -> JSONResponse:
    headers: dict[str, str] = {"Content-Language": "zh-CN"}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.body(rid), status_code=error.status, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    """One handler per family; every answer has the same shape."""

    @app.exception_handler(AnxinError)
    async def anxin(request: Request, error: AnxinError) -> JSONResponse:
        if error.status >= 500:
            log.error("request_failed", code=error.code, cause=type(error.__cause__).__name__)
        return error_response(error, request_id(request))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        fields = [_field(item) for item in error.errors()[:10]]
        shown = InvalidPayload(_first_message(fields), details={"fields": fields})
        return error_response(shown, request_id(request))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        kind: type[AnxinError] = {401: Unauthenticated, 403: Forbidden, 404: NotFound}.get(
            error.status_code, BadRequest
        )
        shown = kind()
        response = error_response(shown, request_id(request))
        if error.status_code not in (400, 401, 403, 404):
            response.status_code = error.status_code
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response


def _field(item: Mapping[str, Any]) -> dict[str, str]:
    """Where and why, without the value that was sent."""
    where = ".".join(str(part) for part in item["loc"] if part not in ("body", "query", "path"))
    return {"field": where, "reason": str(item["msg"]).removeprefix("Value error, ")}


def _first_message(fields: list[dict[str, str]]) -> str | None:
    chinese = [f["reason"] for f in fields if any("一" <= char <= "鿿" for char in f["reason"])]
    return chinese[0] if chinese else None
