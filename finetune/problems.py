"""What can be wrong with a record, as one vocabulary with fixed codes (listed in `docs/finetuning-data.md`).

Owns the codes and the shape of a finding. Which record has which problem is decided by the readers and `checks*.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


class Code(StrEnum):
    """Fixed codes; the violation codes of the answer review are used beside them as they are."""

    BAD_JSON = "bad_json"
    BAD_ENCODING = "bad_encoding"
    BAD_CSV = "bad_csv"
    UNKNOWN_FORMAT = "unknown_format"
    MISSING_FIELD = "missing_field"
    TYPE_ERROR = "type_error"
    BAD_VALUE = "bad_value"
    EMPTY_INPUT = "empty_input"
    EMPTY_OUTPUT = "empty_output"
    INPUT_TOO_LONG = "input_too_long"
    OUTPUT_TOO_LONG = "output_too_long"
    REASONING_TOO_LONG = "reasoning_too_long"
    ROLE_ORDER = "role_order"
    SPECIAL_TOKEN = "special_token"
    TURNS_OUT_OF_RANGE = "turns_out_of_range"
    NO_FOLLOW_UP_QUESTION = "no_follow_up_question"
    NO_CLEAR_ADVICE = "no_clear_advice"
    MISSING_SAFETY_LINE = "missing_safety_line"
    MISSING_SOURCE = "missing_source"
    UNAPPROVED_AI_GENERATED = "unapproved_ai_generated"
    REJECTED_BY_REVIEW = "rejected_by_review"
    REVIEW_PENDING = "review_pending"
    DEMO = "demo"
    DUPLICATE_ID = "duplicate_id"
    DUPLICATE_RECORD = "duplicate_record"
    PERSONAL_DATA = "personal_data"
    SAME_ANSWERS = "same_answers"
    CANNOT_CONVERT = "cannot_convert"
    EMPTY_FILE = "empty_file"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding; `line` is 1-based, where the record begins in `file`. `code` is a `Code` or a review code."""

    file: str
    line: int
    code: str
    message: str
    severity: Severity = Severity.ERROR
    record_id: str | None = None

    def as_dict(self) -> dict[str, object]:
        return {
            "file": self.file,
            "line": self.line,
            "code": str(self.code),
            "message": self.message,
            "severity": str(self.severity),
            "id": self.record_id,
        }

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity} {self.code}: {self.message}"


def errors_of(problems: Iterable[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity is Severity.ERROR]


class DataError(Exception):
    """A data command cannot go on: `code` is stable, the message says what to do."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)
