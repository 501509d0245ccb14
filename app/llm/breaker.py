"""A circuit breaker for one replica: after repeated failures it is left alone, then tried once, then trusted again.

Time is monotonic and injected, so a wall clock that is set back changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum

FAILURES_TO_OPEN = 3
COOL_DOWN_S = 5.0
MAX_COOL_DOWN_S = 60.0


class Circuit(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """`allows` before a call, then exactly one of `succeeded` and `failed`. The cool-down doubles up to a minute."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._cool_down_s = COOL_DOWN_S
        self._opened_at: float | None = None
        self._trial_since: float | None = None

    @property
    def state(self) -> Circuit:
        if self._opened_at is None:
            return Circuit.CLOSED
        waited = self._clock() - self._opened_at
        return Circuit.HALF_OPEN if waited >= self._cool_down_s else Circuit.OPEN

    @property
    def allows(self) -> bool:
        """Whether a call may be made now; in the half-open state one at a time."""
        state = self.state
        if state is not Circuit.HALF_OPEN:
            return state is Circuit.CLOSED
        return self._trial_since is None or self._clock() - self._trial_since >= self._cool_down_s

    def begin(self) -> None:
        """Marks that a call was started, so that a half-open circuit lets no second one through."""
        if self.state is Circuit.HALF_OPEN:
            self._trial_since = self._clock()

    def succeeded(self) -> None:
        self._failures, self._opened_at, self._trial_since = 0, None, None
        self._cool_down_s = COOL_DOWN_S

    def failed(self) -> None:
        self._failures += 1
        if self._opened_at is not None and self.state is Circuit.HALF_OPEN:
            self._cool_down_s = min(MAX_COOL_DOWN_S, self._cool_down_s * 2)
        if self._failures >= FAILURES_TO_OPEN:
            self._opened_at, self._trial_since = self._clock(), None

    def abandoned(self) -> None:
        """The call ended without telling anything (the reader left)."""
        self._trial_since = None
