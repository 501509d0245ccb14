"""Measures review on labelled drafts, claim pairs and attacks; the figures behind `make safety-gate`.

Owns the measuring, not the bounds (`gate.py`). Drafts are reviewed as the service does it: the question is triaged
first, and the reviewer is the shipped one.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.safety.injection import InputKind, assess_input, flag_document
from app.safety.review import SafetyReviewer
from app.safety.types import (
    Audience,
    Evidence,
    Level,
    ReviewContext,
    ReviewResult,
    Triage,
    TriageResult,
    Verdict,
)


@dataclass(slots=True)
class DraftFigures:
    """Counts over labelled drafts; `stopped` and `named` are by code: not passed, and with the right code."""

    unsafe: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)
    safe: int = 0
    passed: int = 0
    missed: list[str] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        total = sum(self.unsafe.values())
        return {
            "unsafe_drafts": total,
            "safe_drafts": self.safe,
            "unsafe_recall": _share(sum(self.stopped.values()), total),
            "right_code": _share(sum(self.named.values()), total),
            "safe_pass": _share(self.passed, self.safe),
            "recall_by_code": {
                code: _share(self.stopped[code], count) for code, count in sorted(self.unsafe.items())
            },
            "named_by_code": {
                code: _share(self.named[code], count) for code, count in sorted(self.unsafe.items())
            },
            "missed": self.missed,
            "false_alarms": self.false_alarms,
            "latency_ms_p50": percentile(self.latency_ms, 50),
            "latency_ms_p99": percentile(self.latency_ms, 99),
        }


def measure_drafts(path: Path, reviewer: SafetyReviewer, triage: Triage) -> dict[str, Any]:
    """Review every draft of a JSONL file with `id`, `question`, `draft`, `evidence`, `audience`, `codes`."""
    figures = DraftFigures()
    for row in rows(path):
        context = context_of(row, triage)
        started = time.perf_counter()
        result = reviewer.review(context, row["draft"])
        figures.latency_ms.append((time.perf_counter() - started) * 1000)
        _count(figures, row, result)
    return figures.as_dict()


def measure_claims(path: Path, reviewer: SafetyReviewer) -> dict[str, Any]:
    """Precision and recall of "this passage supports this claim" over labelled pairs."""
    counts: Counter[tuple[bool, bool]] = Counter()
    for row in rows(path):
        found = reviewer.claims.supports(row["claim"], row["passage"])
        counts[found, row["supported"]] += 1
    right = counts[True, True]
    return {
        "claim_pairs": sum(counts.values()),
        "support_precision": _share(right, right + counts[True, False]),
        "support_recall": _share(right, right + counts[False, True]),
    }


def measure_attacks(path: Path, reviewer: SafetyReviewer) -> dict[str, Any]:
    """Share of attacks withstood, and of look-alikes let through, over input, documents and disguised drafts."""
    withstood = attacks = let_through = harmless = 0
    failed: list[str] = []
    for row in rows(path):
        expected = row["expected"] not in {InputKind.NONE.value, "clean"}
        good = _stopped(row, reviewer) is expected
        attacks += expected
        harmless += not expected
        withstood += expected and good
        let_through += (not expected) and good
        if not good:
            failed.append(row["id"])
    return {
        "attacks": attacks,
        "attacks_withstood": _share(withstood, attacks),
        "look_alikes_let_through": _share(let_through, harmless),
        "attacks_failed": failed,
    }


def context_of(row: dict[str, Any], triage: Triage) -> ReviewContext:
    evidence = tuple(Evidence(item["id"], item["title"], item["text"]) for item in row["evidence"])
    return ReviewContext(row["question"], evidence, triage.assess(row["question"]), Audience(row["audience"]))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def percentile(values: Sequence[float], share: int) -> float:
    """Rounded to a hundredth; 0.0 for no values."""
    return round(float(np.percentile(values, share)), 2) if values else 0.0


def _count(figures: DraftFigures, row: dict[str, Any], result: ReviewResult) -> None:
    stopped = result.verdict is not Verdict.PASS
    if not row["codes"]:
        figures.safe += 1
        figures.passed += not stopped
        if stopped:
            figures.false_alarms.append(row["id"])
        return
    code = row["codes"][0]
    figures.unsafe[code] += 1
    figures.stopped[code] += stopped
    figures.named[code] += bool({violation.code.value for violation in result.violations} & set(row["codes"]))
    if not stopped:
        figures.missed.append(row["id"])


def _stopped(row: dict[str, Any], reviewer: SafetyReviewer) -> bool:
    if row["channel"] == "input":
        return assess_input(row["text"]).refused
    if row["channel"] == "document":
        return bool(flag_document(row["text"]))
    context = ReviewContext("请问怎么办", (), TriageResult(Level.ROUTINE))
    return reviewer.review(context, row["text"]).verdict is not Verdict.PASS


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 1.0
