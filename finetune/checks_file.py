"""Checks a whole file in one pass: every record by itself, then what only shows across records.

Owns duplicate ids, repeated records and the report. Memory grows with the ids and digests, not with the texts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from finetune.checks import Checker
from finetune.formats import read_records
from finetune.judge import default_judge
from finetune.problems import Code, Problem, Severity, errors_of
from finetune.records import Record
from finetune.settings import DataSettings


@dataclass(slots=True)
class FileReport:
    """What a check found; `records` counts the readable ones, `forms` by format."""

    file: str
    records: int = 0
    demo: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        return errors_of(self.problems)

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity is Severity.WARNING]

    def as_dict(self) -> dict[str, object]:
        return {
            "file": self.file,
            "ok": not self.errors,
            "records": self.records,
            "demo": self.demo,
            "forms": dict(self.forms),
            "errors": [problem.as_dict() for problem in self.errors],
            "warnings": [problem.as_dict() for problem in self.warnings],
        }


def check_file(
    path: Path, limits: DataSettings | None = None, *, checker: Checker | None = None
) -> FileReport:
    """Check every record; a broken one is reported and the rest is still checked.

    Raises:
        DataError: the file cannot be opened, or the safety rules cannot be loaded.
    """
    chosen = DataSettings() if limits is None else limits
    judging = Checker(chosen, default_judge()) if checker is None else checker
    report = FileReport(str(path))
    seen = _Seen(str(path))
    for item in read_records(path):
        report.problems += item.problems
        if item.record is None:
            continue
        report.records += 1
        report.forms[item.record.form] += 1
        found = judging.check(item.record, item.file, item.line) + seen.check(item.record, item.line)
        report.demo += any(problem.code == Code.DEMO for problem in found)
        report.problems += found
    if report.records == 0 and not report.problems:
        report.problems.append(Problem(str(path), 1, Code.EMPTY_FILE, "the file has no records"))
    return report


class _Seen:
    def __init__(self, file: str) -> None:
        self._file = file
        self._ids: dict[str, int] = {}
        self._digests: dict[bytes, int] = {}

    def check(self, record: Record, line: int) -> list[Problem]:
        found: list[Problem] = []
        if record.id is not None:
            first = self._ids.setdefault(record.id, line)
            if first != line:
                text = f"the id {record.id[:40]!r} is already used in line {first}"
                found.append(Problem(self._file, line, Code.DUPLICATE_ID, text, record_id=record.id))
        content = "\x1f".join(record.texts()).encode("utf-8", "replace")
        digest = hashlib.blake2b(content, digest_size=12).digest()
        first = self._digests.setdefault(digest, line)
        if first != line:
            text = f"the same text as line {first} (dedupe removes it)"
            problem = Problem(self._file, line, Code.DUPLICATE_RECORD, text, Severity.WARNING, record.id)
            found.append(problem)
        return found
