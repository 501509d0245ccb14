"""Measures triage on a labelled set of messages, for the safety gate.

Owns the figures for triage: emergency recall with its Wilson bound, missed emergencies, over-referral, urgent accuracy,
latency. The gate itself and its exit code are in `gate.py`.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.safety.triage import TriageEngine
from app.safety.triage_semantic import embed_query
from app.safety.types import Level, TriageResult, Turn, Vector

MIN_EMERGENCY_RECALL = 0.995
MAX_ROUTINE_ALARMS = 0.03
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled message: the level a clinician would give it, and the trick it plays."""

    text: str
    history: tuple[Turn, ...]
    level: Level
    category: str | None
    trick: str | None


def read_labelled(path: Path) -> Iterator[Labelled]:
    """The messages of a JSON-lines file. Raises ValueError or KeyError on a malformed line."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            history = tuple(Turn(t["role"], t["content"]) for t in row.get("history", ()))
            yield Labelled(row["text"], history, Level(row["level"]), row.get("category"), row.get("trick"))


def wilson_lower(successes: int, total: int) -> float:
    """The lower end of the Wilson 95 % interval of a share; 0 for an empty sample."""
    if total == 0:
        return 0.0
    share = successes / total
    centre = share + Z95**2 / (2 * total)
    spread = Z95 * math.sqrt(share * (1 - share) / total + Z95**2 / (4 * total**2))
    return (centre - spread) / (1 + Z95**2 / total)


def measure_triage(
    path: Path, *, engine: TriageEngine | None = None, embed: Callable[[str], Vector] | None = embed_query
) -> dict[str, Any]:
    """Figures over the labelled messages in `path`; `embed` None leaves the paraphrase detector out.

    Rates are shares of the messages with that label; latencies are milliseconds of triage without the embedding.
    """
    engine = TriageEngine.load(embed=None) if engine is None else engine
    outcomes: list[tuple[Labelled, TriageResult]] = []
    latencies: list[float] = []
    for message in read_labelled(path):
        vector = None if embed is None else embed(message.text)
        started = time.perf_counter()
        result = engine.assess(message.text, message.history, embedding=vector)
        latencies.append((time.perf_counter() - started) * 1000)
        outcomes.append((message, result))
    return summarise(outcomes, latencies)


def summarise(outcomes: list[tuple[Labelled, TriageResult]], latencies_ms: list[float]) -> dict[str, Any]:
    """The figures of `measure_triage` from outcomes and latencies."""
    table = Counter((message.level, result.level) for message, result in outcomes)
    totals = {level: sum(n for (label, _), n in table.items() if label is level) for level in Level}
    caught = table[Level.EMERGENCY, Level.EMERGENCY]
    missed = [m.text for m, r in outcomes if m.level is Level.EMERGENCY and r.level is not Level.EMERGENCY]
    alarms = table[Level.ROUTINE, Level.EMERGENCY]
    referred = alarms + table[Level.ROUTINE, Level.URGENT]
    categories = [r.category == m.category for m, r in outcomes if m.level is r.level is Level.EMERGENCY]
    ordered = sorted(latencies_ms)
    recall = _share(caught, totals[Level.EMERGENCY])
    return {
        "messages": len(outcomes),
        "emergencies": totals[Level.EMERGENCY],
        "emergency_recall": recall,
        "emergency_recall_wilson95_low": round(wilson_lower(caught, totals[Level.EMERGENCY]), 4),
        "missed_emergencies": missed,
        "routine": totals[Level.ROUTINE],
        "routine_false_alarms": _share(alarms, totals[Level.ROUTINE]),
        "routine_over_referral": _share(referred, totals[Level.ROUTINE]),
        "urgent": totals[Level.URGENT],
        "urgent_accuracy": _share(table[Level.URGENT, Level.URGENT], totals[Level.URGENT]),
        "urgent_raised": _share(table[Level.URGENT, Level.EMERGENCY], totals[Level.URGENT]),
        "category_accuracy": _share(sum(categories), len(categories)),
        "latency_ms_p50": round(ordered[len(ordered) // 2], 2) if ordered else 0.0,
        "latency_ms_p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 2)
        if ordered
        else 0.0,
        "passed": recall >= MIN_EMERGENCY_RECALL
        and _share(alarms, totals[Level.ROUTINE]) <= MAX_ROUTINE_ALARMS,
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
