"""Rate limits per token and per address, and the limit on request bodies."""

from __future__ import annotations

import math
import time

from limits import parse
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.storage import storage_from_string
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import PayloadTooLarge, RateLimited
from app.observability import log


class RateLimiter:
    """Counts in memory, or in a store shared by replicas (`async+redis://…`). A store that is down lets pass."""

    def __init__(self, storage_url: str) -> None:
        storage = storage_from_string(storage_url)
        assert isinstance(storage, Storage)
        self._local = isinstance(storage, MemoryStorage)
        self._limiter = MovingWindowRateLimiter(storage)

    async def hit(self, rate: str, scope: str, key: str) -> None:
        """Counts one use.

        Raises:
            RateLimited: with the seconds until the next one is allowed.
        """
        item = parse(rate)
        try:
            if await self._limiter.hit(item, scope, key):
                return
            window = await self._limiter.get_window_stats(item, scope, key)
        except Exception as error:
            if self._local:
                raise
            log.error("rate_limit_store_down", error=type(error).__name__)
            return
        raise RateLimited(retry_after_s=max(1, math.ceil(window.reset_time - time.time())))


class BodyLimit:
    """ASGI middleware: answers 413 to bodies that are too large, also when their length was not declared."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, max_upload_bytes: int, upload_path: str) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_upload_bytes = max_upload_bytes
        self._upload_path = upload_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._max_upload_bytes if scope["path"] == self._upload_path else self._max_bytes
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            raise PayloadTooLarge
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise PayloadTooLarge
            return message

        await self._app(scope, counted, send)
