"""The paraphrase detector: a message's embedding against reviewed prototype sentences.

Owns the prototypes' vectors, their hash check, and the threshold. It fires only where a real complaint is told;
context is judged by `context.py`, and rules come first.
"""

from __future__ import annotations

from pathlib import Path

from app.safety.triage_facts import Reading
from app.safety.triage_rules import Fired
from app.safety.types import Vector


class Semantic:
    """No prototypes yet."""

    @classmethod
    def load(cls, folder: Path) -> Semantic | None:
        return None

    def judge(self, embedding: Vector, reading: Reading, findings: set[str]) -> list[Fired]:
        return []
