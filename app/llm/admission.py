"""How many answers run at the model servers at once, how many may wait, and for how long; beyond that: busy, come back.

A short queue keeps the time to the first token bounded: whoever would wait longer is told so at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import ServiceBusy
from app.llm.instruments import busy_answers, running_answers, waiting_answers

RETRY_AFTER_S = 3


class Admission:
    """First come, first served. One per process."""

    def __init__(self, *, concurrency: int, queue: int, queue_timeout_s: float) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._queue = queue
        self._queue_timeout_s = queue_timeout_s
        self._waiting = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Holds one slot.

        Raises:
            ServiceBusy: the queue is full, or no slot came free in time; with `retry_after_s`.
        """
        await self._enter()
        running_answers.inc()
        try:
            yield
        finally:
            running_answers.dec()
            self._slots.release()

    async def _enter(self) -> None:
        if self._slots.locked() and self._waiting >= self._queue:
            raise busy("queue_full")
        self._waiting += 1
        waiting_answers.set(self._waiting)
        try:
            async with asyncio.timeout(self._queue_timeout_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise busy("queue_timeout") from error
        finally:
            self._waiting -= 1
            waiting_answers.set(self._waiting)


def busy(reason: str, retry_after_s: int | None = None) -> ServiceBusy:
    """The error with the header's value; also in `details`, for clients that read the event of a stream."""
    wait_s = RETRY_AFTER_S if retry_after_s is None else retry_after_s
    busy_answers.labels(reason).inc()
    return ServiceBusy(retry_after_s=wait_s, details={"retry_after_s": wait_s})
