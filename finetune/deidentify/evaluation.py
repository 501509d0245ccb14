"""Recall and precision of de-identification by type on the synthetic records.

Owns the counting: a true span is found when a find of its type overlaps it and at least nine tenths of it (for recall)
would be replaced; a find is right when it overlaps a true span of its type.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from finetune.deidentify.find import find_spans
from finetune.deidentify.synthetic import RECORDS, records

_COVERED = 0.9


@dataclass(slots=True)
class Score:
    """Counts of one type; `missed` and `wrong` hold what went wrong, for reading."""

    true: int = 0
    found: int = 0
    right: int = 0
    recalled: int = 0
    missed: list[str] | None = None
    wrong: list[str] | None = None

    @property
    def recall(self) -> float:
        return self.recalled / self.true if self.true else 1.0

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0

    def as_dict(self) -> dict[str, object]:
        return {
            "true": self.true,
            "found": self.found,
            "recall": round(self.recall, 4),
            "precision": round(self.precision, 4),
            "missed": self.missed or [],
            "wrong": self.wrong or [],
        }


def evaluate_parts() -> dict[str, dict[str, Score]]:
    """Scores by part (dev, measured) and type, with `all` over the types."""
    return {part: evaluate(part) for part in RECORDS}


def evaluate(part: str) -> dict[str, Score]:
    scores: dict[str, Score] = defaultdict(lambda: Score(missed=[], wrong=[]))
    for record in records(part):
        finds = [(str(span.type), span.start, span.end) for span in find_spans(record.text)]
        for kind, start, end in record.spans:
            covered = sum(_overlap((start, end), (s, e)) for _, s, e in finds)
            same = any(k == kind and _overlap((start, end), (s, e)) for k, s, e in finds)
            _count(scores, kind, recalled=same and covered >= _COVERED * (end - start))
            if not (same and covered >= _COVERED * (end - start)):
                _note(scores[kind].missed, record.text, start, end)
        for kind, start, end in finds:
            right = any(k == kind and _overlap((start, end), (s, e)) for k, s, e in record.spans)
            for name in (kind, "all"):
                scores[name].found += 1
                scores[name].right += right
            if not right:
                _note(scores[kind].wrong, record.text, start, end)
    return dict(sorted(scores.items()))


def _count(scores: Mapping[str, Score], kind: str, *, recalled: bool) -> None:
    for name in (kind, "all"):
        scores[name].true += 1
        scores[name].recalled += recalled


def _overlap(one: tuple[int, int], two: tuple[int, int]) -> int:
    return max(0, min(one[1], two[1]) - max(one[0], two[0]))


def _note(notes: list[str] | None, text: str, start: int, end: int) -> None:
    if notes is not None:
        notes.append(f"{text[max(0, start - 8) : start]}[{text[start:end]}]{text[end : end + 6]}")


def table(scores: Mapping[str, Score]) -> str:
    lines = [f"{'type':18} {'true':>5} {'found':>5} {'recall':>7} {'precision':>9}"]
    lines += [
        f"{kind:18} {s.true:5d} {s.found:5d} {s.recall:7.3f} {s.precision:9.3f}" for kind, s in scores.items()
    ]
    return "\n".join(lines)
