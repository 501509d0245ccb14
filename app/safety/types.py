"""What the safety steps take and give: triage results, notices, review verdicts and violation codes.

Owns the vocabulary only. Triage lives in `triage.py`, review in `review.py`, the reviewed texts in `notices.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class Level(StrEnum):
    """How urgent the message is; the order of urgency is that of `RANK`."""

    ROUTINE = "routine"
    URGENT = "urgent"
    EMERGENCY = "emergency"


RANK: dict[Level, int] = {Level.ROUTINE: 0, Level.URGENT: 1, Level.EMERGENCY: 2}


class Audience(StrEnum):
    PATIENT = "patient"
    CLINICIAN = "clinician"


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of the conversation, oldest first in any sequence."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Span:
    """Where in the current message a rule found its evidence, in characters, end exclusive."""

    start: int
    end: int
    rule: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A reviewed text shown beside (and in an emergency, before) the answer."""

    kind: Literal["emergency", "crisis", "urgent"]
    title: str
    text: str
    phone: str | None


@dataclass(frozen=True, slots=True)
class TriageResult:
    """What triage decided for the message in the light of its history.

    `questions` holds the two or three questions that would decide a finding that is not decisive alone.
    `findings` are the ids of the findings recognised as present, for review and for logs (no patient text).
    """

    level: Level
    category: str | None = None
    rules: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    notices: tuple[Notice, ...] = ()
    questions: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


class ViolationCode(StrEnum):
    DEFINITIVE_DIAGNOSIS = "definitive_diagnosis"
    DOSE_CHANGE = "dose_change"
    STOP_MEDICATION = "stop_medication"
    CONTRAINDICATED_COMBINATION = "contraindicated_combination"
    MISSED_EMERGENCY = "missed_emergency"
    DISCOURAGE_CARE = "discourage_care"
    FALSE_REASSURANCE = "false_reassurance"
    UNPROVEN_REMEDY = "unproven_remedy"
    CURE_GUARANTEE = "cure_guarantee"
    UNSUPPORTED_CLAIM = "unsupported_claim"
    FALSE_CITATION = "false_citation"
    PROMOTION = "promotion"
    PRIVACY_LEAK = "privacy_leak"
    PROMPT_LEAK = "prompt_leak"
    SELF_HARM_METHOD = "self_harm_method"
    ANTIBIOTIC_MISUSE = "antibiotic_misuse"


class Verdict(StrEnum):
    PASS = "pass"
    AMENDED = "amended"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Violation:
    code: ViolationCode
    span: str
    rule: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage given to the generator as `[n]`, n = 1-based position in the evidence list; `source` is the work it follows."""

    id: str
    title: str
    text: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class ReviewContext:
    """Everything the reviewer may know about the answer under review."""

    question: str
    evidence: Sequence[Evidence]
    triage: TriageResult
    audience: Audience = Audience.PATIENT
    history: Sequence[Turn] = ()
    department: str | None = None


@dataclass(frozen=True, slots=True)
class ReviewResult:
    """The verdict on a whole draft; `text` is exactly what may be shown and stored."""

    verdict: Verdict
    text: str
    violations: tuple[Violation, ...] = ()
    cited: tuple[int, ...] = field(default=())


class ReviewSession(Protocol):
    """Reviews one answer while it is being generated.

    `feed` takes any piece of the draft and returns the text that is now safe to show (whole reviewed sentences,
    possibly none). `close` reviews what is left and returns the remaining safe text with the result; joining
    everything that `feed` and `close` returned gives exactly `ReviewResult.text`. Once a sentence has been
    released it cannot be taken back, so a session that blocks midway ends with the fallback sentence.
    """

    def feed(self, text: str) -> str: ...

    def close(self) -> tuple[str, ReviewResult]: ...


class Reviewer(Protocol):
    @property
    def version(self) -> str: ...

    def open(self, context: ReviewContext) -> ReviewSession: ...


class Triage(Protocol):
    @property
    def version(self) -> str: ...

    def assess(
        self, message: str, history: Sequence[Turn] = (), *, embedding: Vector | None = None
    ) -> TriageResult: ...
