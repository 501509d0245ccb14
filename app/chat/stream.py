"""Runs answers in the background and hands their events to any number of readers, also after a dropped connection.

An answer outlives its reader: when the last reader leaves, it goes on for a grace period in which the reader may come
back with `Last-Event-ID`; after that it is cancelled, which reaches the model server. Finished runs are kept for a
short while; later readers are served from the stored message by `replay`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from app.chat.events import FINAL, Event, arrange
from app.conversations.service import StoredMessage


@dataclass(slots=True)
class Run:
    """One running answer: what it has emitted and who is listening."""

    message_id: str
    user_id: str
    events: list[Event] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    readers: int = 0
    reaper: asyncio.TimerHandle | None = None

    @property
    def finished(self) -> bool:
        return bool(self.events) and self.events[-1].name in FINAL

    def emit(self, event: Event) -> None:
        self.events.append(event)
        self.changed.set()
        self.changed = asyncio.Event()


class Runs:
    """All answers running in this process, by message id."""

    def __init__(self, *, grace_s: float, keep_s: float) -> None:
        self._grace_s = grace_s
        self._keep_s = keep_s
        self._runs: dict[str, Run] = {}

    def start(self, message_id: str, user_id: str, source: AsyncIterator[Event]) -> Run:
        """Begins to consume `source`; the events wait in the run for its readers."""
        run = Run(message_id, user_id)
        self._runs[message_id] = run
        run.task = asyncio.create_task(self._consume(run, source), name=f"answer-{message_id}")
        return run

    def find(self, message_id: str, user_id: str) -> Run | None:
        run = self._runs.get(message_id)
        return run if run is not None and run.user_id == user_id else None

    async def read(self, run: Run, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """The run's events with their ids (from 1), those up to `after` left out; ends with `done` or `error`."""
        run.readers += 1
        if run.reaper is not None:
            run.reaper.cancel()
            run.reaper = None
        position = max(0, after)
        try:
            while True:
                changed = run.changed
                while position < len(run.events):
                    position += 1
                    yield position, run.events[position - 1]
                if run.finished or (run.task is not None and run.task.done()):
                    return
                await changed.wait()
        finally:
            run.readers -= 1
            if run.readers == 0 and not run.finished:
                run.reaper = asyncio.get_running_loop().call_later(self._grace_s, self._cancel, run)

    async def close(self) -> None:
        """Cancels what still runs and waits for it to be stored as partial."""
        tasks = [run.task for run in self._runs.values() if run.task is not None and not run.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    def __len__(self) -> int:
        return sum(1 for run in self._runs.values() if not run.finished)

    def _cancel(self, run: Run) -> None:
        if run.readers == 0 and run.task is not None:
            run.task.cancel()

    async def _consume(self, run: Run, source: AsyncIterator[Event]) -> None:
        try:
            async for event in source:
                run.emit(event)
        finally:
            aclose = getattr(source, "aclose", None)
            if aclose is not None:
                with suppress(Exception):
                    await aclose()
            run.changed.set()
            asyncio.get_running_loop().call_later(self._keep_s, self._runs.pop, run.message_id, None)


def replay(message: StoredMessage) -> list[Event]:
    """The events of a stored answer, exactly as they were streamed (same number, same texts)."""
    body = dict(message.answer or {})
    ids = {
        "conversation_id": message.conversation_id,
        "message_id": message.id,
        "department": message.department,
    }
    deltas, start = [], 0
    for length in message.segments:
        deltas.append(message.content[start : start + length])
        start += length
    done = {**body, **ids, "reasoning": message.reasoning, "status": message.status}
    return arrange(ids, body, deltas, done)
