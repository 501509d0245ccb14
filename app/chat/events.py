"""What the pipeline emits, in order: the same events serve JSON answers and server-sent streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

EventName = Literal["meta", "notice", "delta", "citations", "done", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `data` is JSON-serialisable."""

    name: EventName
    data: dict[str, Any]


FINAL = frozenset({"done", "error"})
