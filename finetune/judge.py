"""The service's own triage and review, applied to training text: one judge for what is taught and what is answered.

Owns the adaptation of a record to what the judge takes. The rules are `app/safety`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache

from app.safety.review import SafetyReviewer
from app.safety.triage import TriageEngine
from app.safety.types import (
    RANK,
    Audience,
    Level,
    ReviewContext,
    TriageResult,
    Turn,
    ViolationCode,
)
from finetune.problems import DataError
from finetune.records import Record

# These two compare an answer with the passages shown beside it; a training record has none. Its own rule is
# `missing_source`.
_NEEDS_EVIDENCE = frozenset({ViolationCode.UNSUPPORTED_CLAIM, ViolationCode.FALSE_CITATION})
_NO_DEADLINE_S = 1e9


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence that the review would not let pass; `turn` is the 1-based number of the answer."""

    code: str
    turn: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The most urgent level of the questions, and what the review objects to in the answers."""

    urgency: Level
    findings: tuple[Finding, ...]


class Judge:
    """Loads the rules once; not safe to share between threads while one is judging.

    Without the reader, which would make a check of 2,000 records minutes longer: people approve records afterwards, and
    the answers of the trained model meet it in evaluation and service.
    """

    def __init__(self) -> None:
        try:
            self._triage = TriageEngine.load(read=None)
            self._reviewer = SafetyReviewer.load(
                triage=self._triage, reader=lambda: None, deadline_s=_NO_DEADLINE_S
            )
        except (OSError, ValueError) as error:
            raise DataError("no_safety_rules", f"the safety rules cannot be loaded: {error}") from error

    def verdict(self, record: Record) -> Verdict:
        """Triage of every question and review of every answer, for the audience that the record is written for."""
        audience = Audience.CLINICIAN if record.audience == Audience.CLINICIAN else Audience.PATIENT
        found: list[Finding] = []
        history: list[Turn] = []
        highest, turn = Level.ROUTINE, 0
        latest, question = TriageResult(Level.ROUTINE), ""
        for message in record.messages:
            if message.role == "system":
                continue
            if message.role == "user":
                latest, question = self._triage.assess(message.content, tuple(history)), message.content
                highest = max(highest, latest.level, key=RANK.__getitem__)
            else:
                turn += 1
                context = ReviewContext(
                    question, (), latest, audience, tuple(history), department=record.department
                )
                found += self._review(context, message.content, turn)
            history.append(Turn(message.role, message.content))
        return Verdict(highest, tuple(found))

    def _review(self, context: ReviewContext, answer: str, turn: int) -> list[Finding]:
        result = self._reviewer.review(context, answer)
        return [
            Finding(str(violation.code), turn, violation.span)
            for violation in result.violations
            if violation.code not in _NEEDS_EVIDENCE
        ]


@lru_cache(maxsize=1)
def default_judge() -> Judge:
    """The judge with the shipped rules.

    Raises:
        DataError: no_safety_rules.
    """
    logging.getLogger("jieba").setLevel(logging.WARNING)
    return Judge()
