"""Reviews an answer sentence by sentence before anything of it leaves the service.

Owns the reviewer that is built once, and what it hands to each answer. How a session streams, holds, amends and
blocks is in `review_session.py`; what is wrong with a sentence is found in `review_checks.py`.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from app.safety.claims import ClaimChecker
from app.safety.injection import InputGuard, use
from app.safety.interactions import CombinationChecker, MedicalTerms, ReviewedTerms
from app.safety.reader import Reader, shipped_reader
from app.safety.review_checks import Parts
from app.safety.review_detector import Detector, lexicon_hash
from app.safety.review_rules import LEXICON_FILE, RuleSet
from app.safety.review_session import Session
from app.safety.review_wording import Wording
from app.safety.types import ReviewContext, ReviewResult, Triage

CODES_FOLDER = Path(__file__).with_name("codes")
DEADLINE_S = 2.0

# What a folder that cannot be used raises while it is read.
UNUSABLE = (OSError, ValueError, KeyError, re.error, yaml.YAMLError)


class CodesError(ValueError):
    """The files of a folder are valid each but do not fit together."""


class SafetyReviewer:
    """Holds the compiled rules; `open` starts the review of one answer. Safe to share between threads."""

    def __init__(
        self, make: Callable[[], tuple[Parts, str]], folder: Path, alarm: Callable[[str], None] | None = None
    ) -> None:
        self._make = make
        self._parts, self._version = make()
        self.folder = folder
        self._alarm = alarm

    @property
    def version(self) -> str:
        """Digest of the files in force."""
        return self._version

    def reload(self) -> bool:
        """Read the folder again. A bad file keeps the rules in force, raises the alarm and returns False.

        Answers under review go on with the rules they began with.
        """
        try:
            parts, version = self._make()
            if self._version != version:
                use(InputGuard.of_folder(self.folder))
        except UNUSABLE as error:
            if self._alarm is not None:
                self._alarm(str(error))
            return False
        self._parts, self._version = parts, version
        return True

    @classmethod
    def load(
        cls,
        folder: Path | str | None = None,
        *,
        graph: MedicalTerms | None = None,
        triage: Triage | None = None,
        reader: Callable[[], Reader | None] = shipped_reader,
        prompts: Sequence[str] = (),
        cite_missing: bool = False,
        clock: Callable[[], float] = time.perf_counter,
        deadline_s: float = DEADLINE_S,
        alarm: Callable[[str], None] | None = None,
    ) -> SafetyReviewer:
        """Compile the rules of `folder` (default: the shipped ones).

        `graph` resolves medicines and their interactions (the medical graph; without it a small reviewed table).
        `triage` reads the draft for red flags. `reader` gives the transformer for a second opinion, or None to do without.
        `prompts` are the system prompts that no answer may repeat. With `cite_missing` a supported number without a
        citation gets one, which makes the verdict `amended`. `deadline_s` bounds the time spent on one sentence, so that a
        long answer on a busy machine is not blocked for its length.
        `alarm` is told why a reload was refused.

        Raises one of `UNUSABLE` when the folder cannot be used (a `pydantic.ValidationError` is a `ValueError`).
        """
        home = CODES_FOLDER if folder is None else Path(folder)

        def make() -> tuple[Parts, str]:
            rules = RuleSet.load(home)
            terms = ReviewedTerms.load(home) if graph is None else graph
            second = reader()
            parts = Parts(
                rules=rules,
                wording=Wording.load(home),
                detector=_detector(home),
                reader=second,
                combinations=CombinationChecker(terms, rules.lexicon),
                claims=ClaimChecker(terms, rules.lexicon, cite_missing=cite_missing, reader=second),
                triage=triage,
                prompts=tuple(prompts),
                clock=clock,
                deadline_s=deadline_s,
            )
            return parts, folder_version(home)

        return cls(make, home, alarm)

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


def folder_version(folder: Path) -> str:
    """Digest of the rule files of a folder; any change of a file is another version."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.yaml")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _detector(folder: Path) -> Detector:
    detector = Detector.load(folder)
    if detector.trained_with != lexicon_hash(folder / LEXICON_FILE):
        raise CodesError(
            f"{LEXICON_FILE} changed: train the detector again (python -m app.safety.review_train)"
        )
    return detector
