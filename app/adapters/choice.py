"""Which adapter answers a conversation: the one it began with while that serves, else its share of the canary, else
the department's active one, else the base model.

Reads the registry at most every two seconds; when the database is away the last picture stays in use.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ulid import ULID

from app.adapters import repository
from app.adapters.states import TAKES_TRAFFIC, State
from app.conversations.writer import Opened
from app.db.session import Database
from app.errors import StorageUnavailable
from app.observability import log

FRESH_S = 2.0
BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Canary:
    name: str
    percent: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """The adapters of one department that take traffic."""

    active: str | None = None
    canary: Canary | None = None


class AdapterChooser:
    """Called once per question; is the pipeline's `choose_adapter`."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lines: dict[str, Line] = {}
        self._read_at: float | None = None

    async def __call__(self, department: str, opened: Opened) -> str | None:
        return choose((await self._current()).get(department, Line()), opened)

    def forget(self) -> None:
        """The registry changed in this process: read again at the next question."""
        self._read_at = None

    async def _current(self) -> dict[str, Line]:
        now = self._clock()
        if self._read_at is None or now - self._read_at >= FRESH_S:
            try:
                self._lines = await self._read()
            except StorageUnavailable:
                log.warning("adapter_lines_not_read")
            self._read_at = now
        return self._lines

    async def _read(self) -> dict[str, Line]:
        async with self._database.begin() as session:
            rows = await repository.every(session, TAKES_TRAFFIC)
        lines: dict[str, Line] = {}
        for row in rows:
            line = lines.get(row.department, Line())
            if State(row.state) is State.ACTIVE:
                lines[row.department] = Line(row.name, line.canary)
            elif row.canary_percent is not None and row.canary_since is not None:
                lines[row.department] = Line(
                    line.active, Canary(row.name, row.canary_percent, row.canary_since)
                )
        return lines


def choose(line: Line, opened: Opened) -> str | None:
    """Pure. A conversation keeps its adapter while that takes traffic; only one begun under the canary may get it."""
    canary = line.canary
    if opened.adapter is not None and opened.adapter in (
        line.active,
        None if canary is None else canary.name,
    ):
        return opened.adapter
    if canary is not None and _gets(canary, opened.conversation_id):
        return canary.name
    return line.active


def _gets(canary: Canary, conversation_id: str) -> bool:
    in_share = bucket(conversation_id, canary.name) < canary.percent * BUCKETS // 100
    return in_share and _began(conversation_id) >= canary.since.timestamp()


def bucket(conversation_id: str, name: str) -> int:
    """0..9999, the same for a conversation and an adapter on every replica of the service."""
    digest = hashlib.sha256(f"{name}\n{conversation_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


def _began(conversation_id: str) -> float:
    """When the conversation was created, as its ULID says (milliseconds are cut, hence never later)."""
    return float(ULID.from_str(conversation_id).timestamp)
