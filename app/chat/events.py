"""What the pipeline emits, in order: the same events serve JSON answers and server-sent streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

EventName = Literal["meta", "notice", "delta", "citations", "done", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `data` is JSON-serialisable."""

    name: EventName
    data: dict[str, Any]


FINAL = frozenset({"done", "error"})


def opening(ids: Mapping[str, Any], body: Mapping[str, Any]) -> list[Event]:
    """The events before the text: in an emergency the notices come before everything else."""
    triage = body.get("triage")
    notices = [Event("notice", notice) for notice in body.get("notices") or []]
    meta = Event("meta", {**ids, "triage": triage})
    notices_first = isinstance(triage, dict) and triage.get("level") == "emergency"
    return [*notices, meta] if notices_first else [meta, *notices]


def arrange(
    ids: Mapping[str, Any], body: Mapping[str, Any], deltas: Sequence[str], done: Mapping[str, Any]
) -> list[Event]:
    """All events of one answer, in order."""
    texts = [Event("delta", {"text": text}) for text in deltas]
    citations = Event("citations", {"citations": body.get("citations") or []})
    return [*opening(ids, body), *texts, citations, Event("done", dict(done))]
