"""The evaluation questions with their reference facts, and the multiple-choice items; read and checked as a whole.

Owns the form of `finetune/eval/*.jsonl`. Scoring is `facts.py`, `safety.py` and `choices.py`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune.training.errors import SettingsError

FOLDER = Path(__file__).parents[1] / "eval"
QUESTIONS = FOLDER / "questions.jsonl"
CHOICES = FOLDER / "choices.jsonl"
GENERAL = FOLDER / "general.jsonl"


class Kind(StrEnum):
    """What is asked about; the shares are those of the department's own consultations."""

    MEDICATION = "medication"
    SYMPTOMS = "symptoms"
    LIFESTYLE = "lifestyle"
    RESULTS = "results"
    AFTER_PROCEDURE = "after_procedure"


SHARES = {
    Kind.MEDICATION: 0.38,
    Kind.SYMPTOMS: 0.25,
    Kind.LIFESTYLE: 0.18,
    Kind.RESULTS: 0.12,
    Kind.AFTER_PROCEDURE: 0.07,
}

Ways = tuple[str, ...]


class Question(BaseModel):
    """One question. Each entry of `must_say` and of `safety` is a fact in several wordings, any of which will do;
    `must_not_say` are wordings that no right answer contains. `reference` names knowledge documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    department: str
    type: Kind
    question: str = Field(min_length=4)
    must_say: tuple[Ways, ...] = Field(min_length=1)
    must_not_say: tuple[str, ...] = ()
    safety: tuple[Ways, ...] = ()
    reference: tuple[str, ...] = Field(min_length=1)
    audience: str = "patient"


class Choice(BaseModel):
    """One multiple-choice item; `answer` is the index of the right option."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    question: str
    options: tuple[str, ...] = Field(min_length=2)
    answer: int = Field(ge=0)
    department: str | None = None
    reference: tuple[str, ...] = ()


def load_questions(path: Path = QUESTIONS) -> list[Question]:
    """Raises SettingsError with the line when the file cannot be used."""
    return [Question.model_validate(row) for row in _rows(path, Question)]


def load_choices(path: Path = CHOICES) -> list[Choice]:
    choices = [Choice.model_validate(row) for row in _rows(path, Choice)]
    for choice in choices:
        if choice.answer >= len(choice.options):
            raise SettingsError(f"{path}: {choice.id}: answer {choice.answer} is no option")
    return choices


def _rows(path: Path, model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            identity = str(model.model_validate(row).model_dump()["id"])
        except (ValueError, ValidationError) as error:
            raise SettingsError(f"{path}:{number}: {str(error).splitlines()[0]}") from error
        if identity in seen:
            raise SettingsError(f"{path}:{number}: id {identity} occurs twice")
        seen.add(identity)
        yield row


def shares(questions: Sequence[Question]) -> dict[Kind, float]:
    """The share of each kind among the questions."""
    counts = Counter(question.type for question in questions)
    return {kind: counts[kind] / max(1, len(questions)) for kind in Kind}
