"""Exported ratings and clinicians' corrections to review candidates and preference pairs.

Owns who may enter: only messages whose patient consented, and only after de-identification. Everything that comes out
waits for a person; a correction is a clinician's text but still has to be approved as training data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune.deidentify import deidentify_value
from finetune.formats.source import Item
from finetune.problems import Code, Problem
from finetune.records import AI_GENERATED


class FeedbackEntry(BaseModel):
    """One exported message with what was said about it; unknown fields are not taken over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    message_id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    rating: Literal["up", "down"] | None = None
    reasons: tuple[str, ...] = ()
    comment: str = ""
    correction: str = ""
    corrected_by: str = ""
    consent: bool = False
    department: str | None = None
    audience: Literal["patient", "clinician"] = "patient"
    references: tuple[str, ...] = ()


@dataclass(slots=True)
class FeedbackResult:
    """`candidates` are Alpaca rows, `preferences` preference pairs, all with an open review."""

    candidates: list[dict[str, Any]] = field(default_factory=list)
    preferences: list[dict[str, Any]] = field(default_factory=list)
    without_consent: int = 0
    without_value: int = 0
    problems: list[Problem] = field(default_factory=list)


def from_feedback(items: Iterable[Item], file: str, secret: str) -> FeedbackResult:
    """Read every entry; broken ones are reported with their line, the rest goes on."""
    result = FeedbackResult()
    for item in items:
        if item.code is not None:
            result.problems.append(Problem(file, item.line, item.code, item.message))
            continue
        try:
            entry = FeedbackEntry.model_validate(item.value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            result.problems.append(Problem(file, item.line, Code.TYPE_ERROR, f"`{where}`: {first['msg']}"))
            continue
        _take(entry, result, secret)
    return result


def _take(entry: FeedbackEntry, result: FeedbackResult, secret: str) -> None:
    if not entry.consent:
        result.without_consent += 1
        return
    corrected = bool(entry.correction.strip())
    if not corrected and entry.rating != "up":
        result.without_value += 1
        return
    clean, _ = deidentify_value(
        {"question": entry.question, "answer": entry.answer, "correction": entry.correction},
        secret=secret,
        key=entry.message_id,
    )
    result.candidates.append(
        {
            "id": f"fb-{entry.message_id}",
            "instruction": clean["question"],
            "input": "",
            "output": clean["correction"] if corrected else clean["answer"],
            **_shared(entry),
            # The service's own answer stays machine text, however much it was liked.
            "source": "clinician_correction" if corrected else AI_GENERATED,
        }
    )
    if corrected:
        result.preferences.append(
            {
                "id": f"fp-{entry.message_id}",
                "prompt": clean["question"],
                "chosen": clean["correction"],
                "rejected": clean["answer"],
                "reasons": list(entry.reasons),
                **_shared(entry),
                "source": "clinician_correction",
            }
        )


def _shared(entry: FeedbackEntry) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "department": entry.department,
        "audience": entry.audience,
        "reference": list(entry.references),
        "corrected_by": entry.corrected_by,
        "review": {"status": "pending", "reviewer": "", "reviewed_at": ""},
    }
    return {key: value for key, value in fields.items() if value not in (None, [], "")}
