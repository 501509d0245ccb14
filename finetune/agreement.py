"""Agreement of two annotators: Cohen's kappa with its interval, and every disagreement.

Owns matching by id and the figures (Cohen 1960; standard error after Fleiss, Cohen and Everitt 1969, simple form).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetune.formats import Located
from finetune.problems import DataError


@dataclass(frozen=True, slots=True)
class Disagreement:
    id: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """`kappa` is None when both annotators used one same label throughout (agreement beyond chance is undefined)."""

    compared: int
    observed: float
    expected: float
    kappa: float | None
    interval: tuple[float, float] | None
    disagreements: tuple[Disagreement, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        return {
            "compared": self.compared,
            "observed": round(self.observed, 4),
            "expected": round(self.expected, 4),
            "kappa": None if self.kappa is None else round(self.kappa, 4),
            "interval_95": None if self.interval is None else [round(v, 4) for v in self.interval],
            "disagreements": [{"id": d.id, "first": d.first, "second": d.second} for d in self.disagreements],
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
        }


def labels_of(rows: Sequence[Located], field: str) -> dict[str, str]:
    """Label by id; raises DataError when an id is missing or doubled, or a row has no such label."""
    labels: dict[str, str] = {}
    for row in rows:
        raw = row.raw if isinstance(row.raw, Mapping) else {}
        identity, label = raw.get("id"), raw.get(field)
        if identity is None or label is None or label == "":
            raise DataError("no_label", f"{row.file}:{row.line}: needs `id` and `{field}`")
        if str(identity) in labels:
            raise DataError("duplicate_id", f"{row.file}:{row.line}: the id {identity!r} occurs twice")
        labels[str(identity)] = str(label)
    return labels


def compare(first: Mapping[str, str], second: Mapping[str, str]) -> Agreement:
    """Raises DataError nothing_shared when the two have no id in common."""
    shared = [identity for identity in first if identity in second]
    if not shared:
        raise DataError("nothing_shared", "the two files have no id in common")
    count = len(shared)
    observed = sum(first[i] == second[i] for i in shared) / count
    one, two = Counter(first[i] for i in shared), Counter(second[i] for i in shared)
    expected = sum(one[label] * two[label] for label in one) / count**2
    kappa = interval = None
    if expected < 1:
        kappa = (observed - expected) / (1 - expected)
        error = math.sqrt(observed * (1 - observed) / (count * (1 - expected) ** 2))
        interval = (max(-1.0, kappa - 1.96 * error), min(1.0, kappa + 1.96 * error))
    return Agreement(
        compared=count,
        observed=observed,
        expected=expected,
        kappa=kappa,
        interval=interval,
        disagreements=tuple(Disagreement(i, first[i], second[i]) for i in shared if first[i] != second[i]),
        only_first=tuple(i for i in first if i not in second),
        only_second=tuple(i for i in second if i not in first),
    )
