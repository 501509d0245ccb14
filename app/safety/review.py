"""Reviews an answer sentence by sentence before anything of it leaves the service.

Owns the reviewer that is built once, and what it hands to each answer. How a session streams, holds, amends and
blocks is in `review_session.py`; what is wrong with a sentence is found in `review_checks.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.safety.claims import ClaimChecker
from app.safety.interactions import CombinationChecker, MedicalTerms, ReviewedTerms
from app.safety.review_checks import Parts
from app.safety.review_detector import Detector
from app.safety.review_rules import RuleSet
from app.safety.review_session import Session
from app.safety.review_wording import Wording
from app.safety.types import ReviewContext, ReviewResult, Triage, Vector

CODES_FOLDER = Path(__file__).with_name("codes")
DEADLINE_S = 2.0

Embed = Callable[[Sequence[str]], Sequence[Vector]]


class SafetyReviewer:
    """Holds the compiled rules; `open` starts the review of one answer. Safe to share between threads."""

    def __init__(self, parts: Parts, version: str) -> None:
        self._parts = parts
        self.version = version

    @classmethod
    def load(
        cls,
        folder: Path | str | None = None,
        *,
        graph: MedicalTerms | None = None,
        triage: Triage | None = None,
        embed: Embed | None = None,
        prompts: Sequence[str] = (),
        cite_missing: bool = False,
        clock: Callable[[], float] = time.perf_counter,
        deadline_s: float = DEADLINE_S,
    ) -> SafetyReviewer:
        """Compile the rules of `folder` (default: the shipped ones).

        `graph` resolves medicines and their interactions (the medical graph; without it a small reviewed table).
        `triage` reads the draft for red flags; `embed` turns texts into unit vectors for sentence similarity.
        `prompts` are the system prompts that no answer may repeat. With `cite_missing` a supported number without a
        citation gets one, which makes the verdict `amended`. `deadline_s` bounds the time spent reviewing one answer.

        Raises `OSError`, `re.error` or `pydantic.ValidationError` when the folder cannot be used.
        """
        home = CODES_FOLDER if folder is None else Path(folder)
        rules = RuleSet.load(home)
        terms = ReviewedTerms.load(home) if graph is None else graph
        parts = Parts(
            rules=rules,
            wording=Wording.load(home),
            detector=Detector.load(home),
            combinations=CombinationChecker(terms, rules.lexicon),
            claims=ClaimChecker(terms, rules.lexicon, embed=embed, cite_missing=cite_missing),
            triage=triage,
            prompts=tuple(prompts),
            clock=clock,
            deadline_s=deadline_s,
        )
        return cls(parts, rules.version)

    @property
    def claims(self) -> ClaimChecker:
        """The check of claims, for calibration and the release gate."""
        return self._parts.claims

    def open(self, context: ReviewContext) -> Session:
        """Start reviewing one answer; never raises, a failure shows as a blocked answer."""
        return Session(self._parts, context)

    def review(self, context: ReviewContext, draft: str) -> ReviewResult:
        """Review a whole draft at once."""
        session = self.open(context)
        session.feed(draft)
        return session.close()[1]
