"""Mixes single-turn and dialogue records into one training order: knowledge first, then dialogue.

Owns shares, department weights and the capped oversampling of rare diseases. The default share of single turns, 65 %,
lies in the middle of the advised 60-70 %.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.formats import Located
from finetune.problems import DataError
from finetune.records import Record

KNOWLEDGE_STAGE, DIALOGUE_STAGE = 1, 2
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MixSettings:
    """`single_share` of the result is single-turn; `departments` weights sampling (absent: as they come).

    A disease with fewer than `rare_below` of the mean count is repeated, at most `max_repeat` times each record.
    """

    seed: int
    single_share: float = 0.65
    max_repeat: int = 3
    rare_below: float = 0.5
    departments: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mixture:
    rows: list[dict[str, Any]]
    single: int
    dialogues: int
    repeated: int

    @property
    def single_share(self) -> float:
        total = self.single + self.dialogues
        return self.single / total if total else 0.0


def mix(located: Sequence[Located], settings: MixSettings) -> Mixture:
    """The mixture in training order; each row carries its `stage` (1 knowledge, 2 dialogue).

    Raises:
        DataError: bad_share, or nothing_to_mix when one of the two kinds is missing.
    """
    if not 0.6 <= settings.single_share <= 0.7:
        raise DataError("bad_share", "the share of single turns must lie between 0.60 and 0.70")
    rows = [(row.record, row.raw) for row in located if row.record is not None]
    single = [pair for pair in rows if not pair[0].is_dialogue]
    dialogues = [pair for pair in rows if pair[0].is_dialogue]
    if not single or not dialogues:
        raise DataError(
            "nothing_to_mix",
            f"{len(single)} single-turn records and {len(dialogues)} dialogues: both are needed",
        )
    chance = random.Random(settings.seed)
    single, dialogues = (
        _oversampled(_weighted(kind, settings, chance), settings) for kind in (single, dialogues)
    )
    single, dialogues = _balanced(single, dialogues, settings.single_share, chance)
    staged = [(pair, KNOWLEDGE_STAGE) for pair in single] + [(pair, DIALOGUE_STAGE) for pair in dialogues]
    out, repeated = _numbered(staged)
    return Mixture(out, len(single), len(dialogues), repeated)


Pair = tuple[Record, Any]


def _weighted(pairs: list[Pair], settings: MixSettings, chance: random.Random) -> list[Pair]:
    """As many of each department as its weight allows, by taking away from the others; nothing is repeated here."""
    shuffled = list(pairs)
    chance.shuffle(shuffled)
    if not settings.departments:
        return shuffled
    by_name: dict[str, list[Pair]] = defaultdict(list)
    for pair in shuffled:
        by_name[pair[0].department or _UNKNOWN].append(pair)
    wanted = {
        name: weight for name, weight in settings.departments.items() if weight > 0 and by_name.get(name)
    }
    if not wanted:
        raise DataError("nothing_to_mix", "none of the weighted departments has records")
    total = sum(wanted.values())
    size = min(len(by_name[name]) * total / weight for name, weight in wanted.items())
    kept = {name: max(1, math.floor(size * weight / total)) for name, weight in wanted.items()}
    chosen = [pair for name in wanted for pair in by_name[name][: kept[name]]]
    chance.shuffle(chosen)
    return chosen


def _oversampled(pairs: list[Pair], settings: MixSettings) -> list[Pair]:
    counts = Counter(record.disease for record, _ in pairs if record.disease is not None)
    if not counts:
        return pairs
    floor = settings.rare_below * counts.total() / len(counts)
    times = {
        name: min(settings.max_repeat, math.ceil(floor / count)) if count < floor else 1
        for name, count in counts.items()
    }
    return [pair for pair in pairs for _ in range(times.get(pair[0].disease or "", 1))]


def _balanced(
    single: list[Pair], dialogues: list[Pair], share: float, chance: random.Random
) -> tuple[list[Pair], list[Pair]]:
    """The largest mixture of the wanted share; what is too much of one kind stays out."""
    total = min(len(single) / share, len(dialogues) / (1 - share))
    chance.shuffle(single)
    chance.shuffle(dialogues)
    return single[: max(1, round(total * share))], dialogues[: max(1, round(total * (1 - share)))]


def _numbered(staged: Sequence[tuple[Pair, int]]) -> tuple[list[dict[str, Any]], int]:
    """Rows with their stage; a repeated record gets an id of its own and says what it repeats."""
    seen: Counter[int] = Counter()
    rows = []
    for (record, raw), stage in staged:
        seen[id(raw)] += 1
        row = {**raw, "stage": stage}
        if seen[id(raw)] > 1:
            row["copy_of"] = record.id
            row["id"] = f"{record.id or 'record'}~{seen[id(raw)]}"
        rows.append(row)
    return rows, len(rows) - len(seen)
