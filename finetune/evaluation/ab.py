"""Blind A/B sheets: two systems' answers side by side in random order, a sealed key, and the unblinding.

Owns the sheet, the key and the tally. The key file stays with the engineer; a rater who has only the sheet cannot tell
the systems apart, and a sheet that was changed besides its marks is noticed.
"""

from __future__ import annotations

import csv
import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from finetune.evaluation.answers import Answer
from finetune.evaluation.questions import Question
from finetune.evaluation.sheets import cell
from finetune.evaluation.statistics import binomial_two_sided, bootstrap
from finetune.training.errors import SettingsError

COLUMNS = ("序号", "问题", "回答甲", "回答乙", "更好(甲/乙/平)", "意见")
CHOICE = COLUMNS[4]
FIRST, SECOND, TIE = "甲", "乙", "平"


@dataclass(frozen=True, slots=True)
class Tally:
    """Preferences after unblinding; `p_value` is the sign test without ties, the interval that of A's share."""

    a: str
    b: str
    a_better: int
    b_better: int
    ties: int
    unmarked: int
    share_a: float
    low: float
    high: float
    p_value: float


def write_blind(
    sheet: Path,
    key: Path,
    questions: Sequence[Question],
    systems: tuple[tuple[str, Sequence[Answer]], tuple[str, Sequence[Answer]]],
    *,
    seed: int | None = None,
) -> None:
    """Write the sheet and its key; without `seed` the order cannot be guessed.

    Raises:
        SettingsError: one of the two files exists.
    """
    for path in (sheet, key):
        if path.exists():
            raise SettingsError(f"{path} exists")
    seed = secrets.randbits(64) if seed is None else seed
    source = Random(seed)
    order = list(range(len(questions)))
    source.shuffle(order)
    rows, sealed = [], []
    for number, index in enumerate(order, start=1):
        swapped = source.random() < 0.5
        pair = [systems[0][1][index].answer, systems[1][1][index].answer]
        left, right = pair[::-1] if swapped else pair
        rows.append([str(number), questions[index].question, left, right])
        sealed.append({"row": number, "id": questions[index].id, "swapped": swapped, "seal": _seal(rows[-1])})
    _write_sheet(sheet, rows)
    content = {"a": systems[0][0], "b": systems[1][0], "seed": seed, "rows": sealed}
    key.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    key.chmod(0o600)


def _write_sheet(sheet: Path, rows: Sequence[Sequence[str]]) -> None:
    sheet.parent.mkdir(parents=True, exist_ok=True)
    with sheet.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([[*(cell(value) for value in row), "", ""] for row in rows])


def _seal(values: Sequence[str]) -> str:
    """Of the text as a spreadsheet keeps it: line ends and outer spaces may change."""
    plain = "\x1f".join("".join(value.removeprefix("'").split()) for value in values)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def unblind(sheets: Sequence[Path], key: Path) -> Tally:
    """Count the marks of all filled sheets.

    Raises:
        SettingsError: not a sheet of this key, a changed row, or a mark that is none, with file and line.
    """
    try:
        content = json.loads(key.read_text(encoding="utf-8"))
        rows = {str(row["row"]): row for row in content["rows"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{key} is no key of a blind sheet") from error
    wins: list[float] = []
    unmarked = 0
    for sheet in sheets:
        for place, row in _read(sheet):
            sealed = rows.get(row["序号"].strip())
            if sealed is None or _seal([row[name] for name in COLUMNS[:4]]) != sealed["seal"]:
                raise SettingsError(f"{place}: this row is not as it was handed out")
            mark = row[CHOICE].strip()
            if mark not in (FIRST, SECOND, TIE, ""):
                raise SettingsError(f"{place}: {mark!r} is none of 甲, 乙, 平")
            if not mark:
                unmarked += 1
            else:
                wins.append(0.5 if mark == TIE else float((mark == FIRST) != sealed["swapped"]))
    return _tally(str(content["a"]), str(content["b"]), wins, unmarked)


def _read(sheet: Path) -> list[tuple[str, dict[str, str]]]:
    try:
        with sheet.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or not set(COLUMNS) <= set(reader.fieldnames):
                raise SettingsError(f"{sheet}: not a blind sheet (columns {', '.join(COLUMNS)})")
            return [(f"{sheet}:{line}", row) for line, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{sheet}: {error}") from error


def _tally(a: str, b: str, wins: Sequence[float], unmarked: int) -> Tally:
    a_better, b_better = wins.count(1.0), wins.count(0.0)
    share = bootstrap(wins)
    p_value = binomial_two_sided(a_better, a_better + b_better)
    ties = len(wins) - a_better - b_better
    return Tally(a, b, a_better, b_better, ties, unmarked, share.score, share.low, share.high, p_value)
