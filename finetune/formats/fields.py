"""Reads the fields of one raw record and remembers what was wrong and what nobody asked for.

Owns the fields that every format shares (id, department, review, …). Which fields make a format is `parse.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from finetune.problems import Code
from finetune.records import Review, ReviewStatus
from knowledge_base.document import AUDIENCES, DEPARTMENTS

_REQUIRED = object()
_TEXTS = ("id", "source", "disease", "patient_id", "date")


class Fields:
    """One pass over a raw record; every field taken is gone from `rest()`."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self._value = value
        self._taken: set[str] = set()
        self.problems: list[tuple[Code, str]] = []

    def problem(self, code: Code, message: str) -> None:
        self.problems.append((code, message))

    def has(self, name: str) -> bool:
        return name in self._value

    def called(self, *names: str) -> str:
        """The first of the names that is there; the first one when none is."""
        return next((name for name in names if name in self._value), names[0])

    def take(self, name: str, default: Any = _REQUIRED) -> Any:
        self._taken.add(name)
        value = self._value.get(name)
        if value is None:
            if default is not _REQUIRED:
                return default
            self.problem(Code.MISSING_FIELD, f"`{name}` is missing")
        return value

    def text(self, name: str, default: str | object | None = _REQUIRED) -> str:
        value = self.take(name, default)
        if value is None:
            if default is None:
                self.problem(Code.MISSING_FIELD, f"`{name}` is missing")
            return ""
        if not isinstance(value, str):
            self.problem(Code.TYPE_ERROR, f"`{name}` must be a string, not {type(value).__name__}")
            return ""
        return value

    def rest(self) -> dict[str, Any]:
        return {key: value for key, value in self._value.items() if key not in self._taken}


def shared_fields(fields: Fields) -> dict[str, Any]:
    """The keyword arguments of `Record` that every format carries."""
    texts = {name: _optional(fields, name) for name in _TEXTS}
    department = _optional(fields, "department")
    if department is not None and department not in DEPARTMENTS:
        fields.problem(
            Code.BAD_VALUE, f"`department` is {department[:30]!r}, not one of {', '.join(DEPARTMENTS)}"
        )
    audience = _optional(fields, "audience")
    if audience is not None and audience not in AUDIENCES:
        fields.problem(Code.BAD_VALUE, f"`audience` is {audience[:30]!r}, not one of {', '.join(AUDIENCES)}")
    day = texts["date"]
    if day is not None and moment(day) is None:
        fields.problem(Code.BAD_VALUE, f"`date` is {day[:30]!r}, not an ISO date (2026-01-31)")
    return {
        **texts,
        "department": department,
        "audience": audience,
        "reference": _reference(fields),
        "review": _review(fields),
    }


def moment(text: str) -> datetime | None:
    """An ISO date, date with time, or month, without its zone; None when it is none of them."""
    whole = f"{text}-01" if len(text) == len("2026-01") else text
    try:
        return datetime.fromisoformat(whole.replace("/", "-")).replace(tzinfo=None)
    except ValueError:
        return None


def _optional(fields: Fields, name: str) -> str | None:
    value = fields.take(name, default=None)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and name in ("id", "patient_id"):
        return str(value)
    if not isinstance(value, str):
        fields.problem(Code.TYPE_ERROR, f"`{name}` must be a string, not {type(value).__name__}")
        return None
    return value


def _reference(fields: Fields) -> tuple[str, ...]:
    value = fields.take("reference", default=None)
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return tuple(value)
    fields.problem(Code.TYPE_ERROR, "`reference` must be a string or a list of strings")
    return ()


def _review(fields: Fields) -> Review | None:
    value = fields.take("review", default=None)
    if isinstance(value, str) and value.lstrip().startswith("{"):  # a CSV cell
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            fields.problem(Code.TYPE_ERROR, "`review` is not valid JSON")
            return None
    if value is None or value == "":
        return None
    parts = {"status": value} if isinstance(value, str) else value
    if not isinstance(parts, dict) or not all(isinstance(part, str | None) for part in parts.values()):
        fields.problem(Code.TYPE_ERROR, "`review` must be {status, reviewer, reviewed_at}, all text")
        return None
    status = parts.get("status")
    if status not in set(ReviewStatus):
        names = ", ".join(ReviewStatus)
        fields.problem(Code.BAD_VALUE, f"`review.status` is {str(status)[:30]!r}, not one of {names}")
        return None
    return Review(ReviewStatus(status), parts.get("reviewer") or "", parts.get("reviewed_at") or "")
