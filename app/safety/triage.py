"""Decides how urgent a message is, before any model sees it.

Owns the order of the triage steps. Recognition, context, rules and notices live in their own modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.safety.types import Level, Notice, Span, TriageResult, Turn, Vector

FIRST_RULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "acs.first": ("acs", ("胸痛", "大汗")),
    "stroke.first": ("stroke", ("口角歪斜", "说不清")),
    "self_harm.first": ("self_harm", ("不想活",)),
}


class TriageEngine:
    """First form of the engine: three fixed combinations behind the final interface."""

    version = "0"

    @classmethod
    def load(cls, folder: Path | None = None) -> TriageEngine:
        return cls()

    def assess(
        self, message: str, history: Sequence[Turn] = (), *, embedding: Vector | None = None
    ) -> TriageResult:
        for rule, (category, words) in FIRST_RULES.items():
            if all(word in message for word in words):
                start = message.find(words[0])
                crisis = category == "self_harm"
                notice = Notice("crisis" if crisis else "emergency", "请立即求助", "请马上拨打120。", "120")
                return TriageResult(
                    Level.EMERGENCY,
                    category,
                    (rule,),
                    (Span(start, start + len(words[0]), rule),),
                    (notice,),
                    (),
                    words,
                )
        return TriageResult(Level.ROUTINE)
