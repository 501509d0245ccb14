"""Divides records into train, validation and test sets, or into folds when there are few.

Owns sizes, groups, strata and time order. Writing the sets and their manifest is `split_files.py`. The sizes are those
of common advice for small clinical sets: under 100 records leave one out, up to 500 five folds, up to 2,000 70/15/15,
above 80/10/10.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from finetune.formats.fields import moment
from finetune.problems import DataError
from finetune.records import Record


class Plan(StrEnum):
    LEAVE_ONE_OUT = "leave_one_out"
    FIVE_FOLD = "five_fold"
    HOLD_OUT_15 = "70/15/15"
    HOLD_OUT_10 = "80/10/10"


SHARES = {Plan.HOLD_OUT_15: (0.70, 0.15, 0.15), Plan.HOLD_OUT_10: (0.80, 0.10, 0.10)}
PARTS = ("train", "val", "test")
FOLDS = 5
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Division:
    """Row numbers by part; several divisions are folds. `left_out` rows fit nowhere (see `by_time`)."""

    parts: dict[str, list[int]]
    left_out: list[int] = field(default_factory=list)


def plan_for(count: int) -> Plan:
    if count < 100:
        return Plan.LEAVE_ONE_OUT
    if count < 500:
        return Plan.FIVE_FOLD
    return Plan.HOLD_OUT_15 if count <= 2000 else Plan.HOLD_OUT_10


def group_rows(
    records: Sequence[Record], keys: Sequence[str], together: Iterable[tuple[int, int]] = ()
) -> list[list[int]]:
    """Rows that must stay on one side: connected by a patient, a source document, a field of `keys` or a given pair."""
    parent = list(range(len(records)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[str, str], int] = {}
    for row, record in enumerate(records):
        for value in _group_values(record, keys):
            parent[root(row)] = root(first.setdefault(value, row))
    for one, two in together:
        parent[root(one)] = root(two)
    groups: dict[int, list[int]] = defaultdict(list)
    for row in range(len(records)):
        groups[root(row)].append(row)
    return list(groups.values())


def _group_values(record: Record, keys: Sequence[str]) -> Iterable[tuple[str, str]]:
    if record.patient_id is not None:
        yield ("patient_id", record.patient_id)
    for reference in record.reference:
        yield ("reference", reference.split("#")[0].strip())
    for key in keys:
        value = getattr(record, key, None) if key in Record.__slots__ else record.extra.get(key)
        if isinstance(value, str | int) and value != "":
            yield (key, str(value))


def hold_out(
    records: Sequence[Record], groups: Sequence[Sequence[int]], plan: Plan, seed: int
) -> list[Division]:
    """Three parts, each with its share of every disease as far as whole groups allow."""
    shares = dict(zip(PARTS, SHARES[plan], strict=True))
    return [Division(_assigned(records, groups, shares, seed))]


def folds(
    records: Sequence[Record], groups: Sequence[Sequence[int]], plan: Plan, seed: int
) -> list[Division]:
    """One division per fold; with fewer groups than folds, one fold per group.

    Raises:
        DataError: one_group, when everything belongs together.
    """
    if len(groups) < 2:
        raise DataError("one_group", "all records belong to one patient or document; nothing can be held out")
    if plan is Plan.LEAVE_ONE_OUT:
        held = [list(group) for group in groups]
    else:
        names = [str(n) for n in range(min(FOLDS, len(groups)))]
        by_name = _assigned(records, groups, dict.fromkeys(names, 1 / len(names)), seed)
        held = [by_name[name] for name in names if by_name[name]]
    everything = range(len(records))
    return [
        Division({"train": [row for row in everything if row not in set(test)], "test": sorted(test)})
        for test in held
    ]


def _assigned(
    records: Sequence[Record], groups: Sequence[Sequence[int]], shares: dict[str, float], seed: int
) -> dict[str, list[int]]:
    """Largest groups first, each to the part that lacks most of its diseases (and of records)."""
    totals = Counter(_stratum(record) for record in records)
    order = [list(group) for group in groups]
    random.Random(seed).shuffle(order)
    order.sort(key=len, reverse=True)
    have: dict[str, Counter[str]] = {part: Counter() for part in shares}
    parts: dict[str, list[int]] = {part: [] for part in shares}
    for group in order:
        strata = Counter(_stratum(records[row]) for row in group)
        part = max(shares, key=lambda p: _lack(p, strata, shares, have, totals, len(records)))
        have[part].update(strata)
        parts[part] += group
    return {part: sorted(rows) for part, rows in parts.items()}


def _lack(
    part: str,
    strata: Counter[str],
    shares: dict[str, float],
    have: dict[str, Counter[str]],
    totals: Counter[str],
    count: int,
) -> float:
    """How far the part stays below its share, in its whole and in the strata of the group, after taking the group."""
    size = sum(strata.values())
    whole = (shares[part] * count - have[part].total() - size) / (shares[part] * count)
    fine = [
        (shares[part] * totals[name] - have[part][name] - number) / (shares[part] * totals[name])
        for name, number in strata.items()
    ]
    return whole + sum(fine) / len(fine)


def _stratum(record: Record) -> str:
    if record.disease is not None:
        return record.disease
    return _UNKNOWN if record.department is None else record.department


def by_time(records: Sequence[Record], groups: Sequence[Sequence[int]], plan: Plan) -> list[Division]:
    """The oldest to training, the newest to testing; equal dates stay together.

    A record whose group (patient, document) already lies on another side is left out, so that neither time nor groups
    leak. Few records give one hold-out too: folds have no time order.

    Raises:
        DataError: missing_date.
    """
    days = [None if record.date is None else moment(record.date) for record in records]
    undated = [row for row, day in enumerate(days) if day is None]
    if undated:
        raise DataError(
            "missing_date", f"{len(undated)} records have no `date`; --by-time needs it in every one"
        )
    order = sorted(range(len(records)), key=lambda row: (str(days[row]), row))
    shares = SHARES.get(plan, SHARES[Plan.HOLD_OUT_15])
    bounds = (round(shares[0] * len(order)), round((shares[0] + shares[1]) * len(order)))
    side: dict[int, str] = {}
    for place, row in enumerate(order):
        before = order[place - 1] if place else None
        part = PARTS[sum(place >= bound for bound in bounds)]
        side[row] = side[before] if before is not None and days[before] == days[row] else part
    return [_without_straddling(groups, side)]


def _without_straddling(groups: Sequence[Sequence[int]], side: dict[int, str]) -> Division:
    """Of a group on several sides only the rows on the side that holds most of it stay."""
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    left_out: list[int] = []
    for group in groups:
        home = Counter(side[row] for row in group).most_common(1)[0][0]
        for row in group:
            (parts[home] if side[row] == home else left_out).append(row)
    return Division({part: sorted(rows) for part, rows in parts.items()}, sorted(left_out))
