"""Removes records that repeat another one.

Owns which record of a cluster stays: what a person approved before anything else, then the first. The search is
`twins.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.formats import Located
from finetune.questions import questions_of
from finetune.records import Record, ReviewStatus
from finetune.settings import DataSettings
from finetune.twins import Kind, Twin, find_twins
from retrieval.types import Embedder


@dataclass(frozen=True, slots=True)
class Removed:
    """A record that was left out (`line`), the one that stands for it (`kept_line`), and why."""

    line: int
    kept_line: int
    score: float
    kind: Kind

    def as_dict(self) -> dict[str, object]:
        return {"line": self.line, "kept_line": self.kept_line, "score": self.score, "kind": str(self.kind)}


def dedupe(
    rows: Sequence[Located], settings: DataSettings, *, embedder: Embedder | None
) -> tuple[list[Located], list[Removed]]:
    """(rows to keep in their order, what was removed); rows without a record are kept out of both."""
    questions = questions_of(rows, openings=False)
    twins = find_twins(
        [q.text for q in questions],
        None,
        near=settings.near_duplicate,
        paraphrase=settings.dedupe_paraphrase,
        embedder=embedder,
    )
    pairs = [Twin(questions[t.i].row, questions[t.j].row, t.score, t.kind) for t in twins]
    removed = _removed(rows, pairs)
    gone = {entry.line for entry in removed}
    return [row for row in rows if row.record is not None and row.line not in gone], removed


def _removed(rows: Sequence[Located], twins: Sequence[Twin]) -> list[Removed]:
    """Each record goes only when it is itself a twin of one that stays: chains of likeness do not empty a topic."""
    partners: dict[int, list[Twin]] = defaultdict(list)
    for twin in twins:
        partners[twin.i].append(twin)
        partners[twin.j].append(twin)
    order = sorted(partners, key=lambda row: (_worth(rows[row].record), row))
    gone: dict[int, Removed] = {}
    kept: set[int] = set()
    for row in order:
        against = [t for t in partners[row] if (t.i if t.j == row else t.j) in kept]
        if not against:
            kept.add(row)
            continue
        best = max(against, key=lambda t: t.score)
        other = best.i if best.j == row else best.j
        gone[row] = Removed(rows[row].line, rows[other].line, best.score, best.kind)
    return [gone[row] for row in sorted(gone)]


def _worth(record: Record | None) -> int:
    if record is None:
        return 3
    if record.review is not None and record.review.status is ReviewStatus.APPROVED:
        return 0
    return 2 if record.review is not None and record.review.status is ReviewStatus.REJECTED else 1


def counts(removed: Sequence[Removed]) -> dict[str, int]:
    found = Counter(entry.kind for entry in removed)
    return {str(kind): found[kind] for kind in Kind}
