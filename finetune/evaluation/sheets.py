"""Rating sheets for clinicians: a CSV out, filled CSVs back in, and how far the raters agree.

Owns the columns and the reading. Spreadsheet programs open the file as it is (UTF-8 with BOM).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from finetune.evaluation.answers import Answer
from finetune.evaluation.questions import Question
from finetune.evaluation.statistics import icc, weighted_kappa
from finetune.training.errors import SettingsError

DIMENSIONS = ("accuracy", "safety", "friendliness", "professionalism", "practical")
HEADERS = {
    "accuracy": "准确性(1-5)",
    "safety": "安全性(1-5)",
    "friendliness": "患者友好(1-5)",
    "professionalism": "专业性(1-5)",
    "practical": "实用性(1-5)",
}
COLUMNS = ("id", "问题", "回答", *HEADERS.values(), "意见")
MARKS = (1, 2, 3, 4, 5)
# A cell that begins like this would be run as a formula by a spreadsheet program.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Ratings:
    """Marks by rater, question and dimension; gaps are allowed."""

    raters: tuple[str, ...]
    marks: Mapping[tuple[str, str, str], int]

    def mean(self, question: str, dimension: str) -> float | None:
        """0-100 over the raters who gave a mark."""
        found = [
            self.marks[key] for rater in self.raters if (key := (rater, question, dimension)) in self.marks
        ]
        return None if not found else (sum(found) / len(found) - 1) / 4 * 100


def cell(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA) else text


def write_sheet(path: Path, questions: Sequence[Question], answers: Sequence[Answer]) -> None:
    """An empty sheet. Raises SettingsError when `path` exists."""
    if path.exists():
        raise SettingsError(f"{path} exists")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for question, answer in zip(questions, answers, strict=True):
            writer.writerow([question.id, cell(question.question), cell(answer.answer), *[""] * 6])


def read_sheets(paths: Sequence[Path]) -> Ratings:
    """Filled sheets, one a rater (named after the file).

    Raises:
        SettingsError: unknown columns, or a mark that is not 1 to 5, with file and line.
    """
    marks: dict[tuple[str, str, str], int] = {}
    for path in paths:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or not {"id", *HEADERS.values()} <= set(reader.fieldnames):
                raise SettingsError(f"{path}: not a rating sheet (columns {', '.join(COLUMNS)})")
            for line, row in enumerate(reader, start=2):
                for dimension, header in HEADERS.items():
                    value = (row[header] or "").strip()
                    if value:
                        marks[(path.stem, row["id"], dimension)] = _mark(value, f"{path}:{line}")
    return Ratings(tuple(path.stem for path in paths), marks)


def _mark(value: str, place: str) -> int:
    if value not in {str(mark) for mark in MARKS}:
        raise SettingsError(f"{place}: {value!r} is no mark from 1 to 5")
    return int(value)


def rater_agreement(ratings: Ratings) -> dict[str, dict[str, float | None]]:
    """For each dimension: ICC(2,1) over the answers that all raters marked, and the mean pairwise kappa."""
    found: dict[str, dict[str, float | None]] = {}
    for dimension in DIMENSIONS:
        questions = sorted({question for _, question, name in ratings.marks if name == dimension})
        rows = [
            [ratings.marks[(rater, question, dimension)] for rater in ratings.raters]
            for question in questions
            if all((rater, question, dimension) in ratings.marks for rater in ratings.raters)
        ]
        kappas = [
            weighted_kappa([row[a] for row in rows], [row[b] for row in rows], categories=MARKS)
            for a, b in combinations(range(len(ratings.raters)), 2)
        ]
        known = [kappa for kappa in kappas if not math.isnan(kappa)]
        value = icc(rows)
        found[dimension] = {
            "icc": None if math.isnan(value) else round(value, 3),
            "kappa": round(sum(known) / len(known), 3) if known else None,
            "answers": float(len(rows)),
        }
    return found
