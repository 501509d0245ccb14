"""Reviews answers off the event loop: tokens are gathered here, whole sentences go to a thread.

A thread a processor is enough: the review is work, not waiting, and more threads would only keep the event loop from
its turn. Owns those threads and the gathering; what may be shown is the session's own decision.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor, ThreadPoolExecutor

from app.safety.sentences import SentenceBuffer
from app.safety.types import ReviewResult, ReviewSession


def review_threads() -> ThreadPoolExecutor:
    """The threads that review all answers of this process."""
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="review")


class SentenceReview:
    """One answer's review session, fed whenever a sentence is complete. Not for several tasks at once."""

    def __init__(self, session: ReviewSession, threads: Executor) -> None:
        self._session = session
        self._threads = threads
        self._ahead = SentenceBuffer()
        self._waiting: list[str] = []

    async def feed(self, text: str) -> str:
        """Take a piece of the draft; return what may be shown now, empty while no sentence is complete."""
        self._waiting.append(text)
        if not self._ahead.feed(text):
            return ""
        pieces = self._taken()
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._session.feed, pieces)

    async def close(self) -> tuple[str, ReviewResult]:
        """Review the rest; return the last text to show and the result."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._last, self._taken())

    def _taken(self) -> str:
        text = "".join(self._waiting)
        self._waiting.clear()
        return text

    def _last(self, text: str) -> tuple[str, ReviewResult]:
        ready = self._session.feed(text) if text else ""
        rest, result = self._session.close()
        return ready + rest, result
