"""Reads what comes in: requests that must be refused, and instructions hidden in documents or pasted text.

Owns the kinds of request, their detection (`codes/input.yaml`) and the fixed refusals. A finding changes how the
question is answered, never whether an emergency is seen: triage runs on the same message, and its notices are shown
with the refusal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from app.safety.disguise import readings
from app.safety.input_detector import InputDetector
from app.safety.review_text import fold
from app.safety.sentences import split_sentences
from app.safety.types import Turn

INPUT_FILE = Path(__file__).with_name("codes") / "input.yaml"
MAX_CHARS = 8000
SPLIT_TURNS = 3  # turns that a request may be spread over


class InputKind(StrEnum):
    """What a message asks that the service does not do; `NONE` for an ordinary message."""

    INJECTION = "injection"
    ROLE_PLAY = "role_play"
    PROMPT_LEAK = "prompt_leak"
    FOREIGN_DATA = "foreign_data"
    DRUG_ABUSE = "drug_abuse"
    SELF_HARM_METHOD = "self_harm_method"
    NONE = "none"


# The gravest first: a message that asks for several is answered for this one.
ORDER = (
    InputKind.SELF_HARM_METHOD,
    InputKind.DRUG_ABUSE,
    InputKind.FOREIGN_DATA,
    InputKind.PROMPT_LEAK,
    InputKind.INJECTION,
    InputKind.ROLE_PLAY,
)


@dataclass(frozen=True, slots=True)
class InputFinding:
    """The kind of a message, the rule that saw it, and the reviewed reply ("" for an ordinary message)."""

    kind: InputKind
    rule: str = ""
    reply: str = ""

    @property
    def refused(self) -> bool:
        return self.kind is not InputKind.NONE


@dataclass(frozen=True, slots=True)
class DocumentFlag:
    """A sentence of a document that speaks to the model instead of the reader; `text[start:end]` is the sentence."""

    start: int
    end: int
    sentence: str
    rule: str


class InputRule(BaseModel):
    """`pattern` over folded text finds the request unless `never` occurs; examples are tests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    pattern: str
    never: str | None = None
    unsafe: tuple[str, ...] = Field(min_length=1)
    safe: tuple[str, ...] = Field(min_length=1)


class KindRules(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    reply: str
    rules: tuple[InputRule, ...] = Field(min_length=1)


class InputFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: str
    review_date: str
    spelled: str = ""
    kinds: dict[InputKind, KindRules]
    document: tuple[InputRule, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class _Compiled:
    id: str
    pattern: re.Pattern[str]
    never: re.Pattern[str] | None

    def matches(self, folded: str) -> bool:
        if self.pattern.search(folded) is None:
            return False
        return self.never is None or self.never.search(folded) is None


class InputGuard:
    """The compiled input rules. Raises `OSError`, `re.error` or `pydantic.ValidationError` on a bad file."""

    def __init__(self, file: InputFile, detector: InputDetector | None = None) -> None:
        self.file = file
        self._detector = detector
        self._kinds = {kind: [_compile(rule) for rule in rules.rules] for kind, rules in file.kinds.items()}
        self._document = [_compile(rule) for rule in file.document]
        self._words = tuple(file.spelled.split())

    @classmethod
    def load(cls, path: Path = INPUT_FILE) -> InputGuard:
        return cls(InputFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))))

    @classmethod
    def shipped(cls) -> InputGuard:
        """The shipped rules with the detector trained beside them."""
        return cls.of_folder(INPUT_FILE.parent)

    @classmethod
    def of_folder(cls, folder: Path) -> InputGuard:
        """The rules of a folder with the detector that lies there. Raises as the constructor and `InputDetector.load`."""
        return cls(cls.load(folder / INPUT_FILE.name).file, InputDetector.load(folder))

    def assess(self, text: str, history: Sequence[Turn] = ()) -> InputFinding:
        """Return what the message asks; the user's last turns are read together with it (a request in parts)."""
        said = [turn.content for turn in history if turn.role == "user"][-SPLIT_TURNS:]
        for candidate in self._candidates(text[:MAX_CHARS], said):
            for kind in ORDER:
                for rule in self._kinds.get(kind, ()):
                    if rule.matches(candidate):
                        return InputFinding(kind, rule.id, self.file.kinds[kind].reply)
        return self._suspected([text[:MAX_CHARS], *readings(text[:MAX_CHARS])])

    def _candidates(self, text: str, said: Sequence[str]) -> Iterator[str]:
        """Yield the message, what it may be a disguise of, and the message joined to what was said before it."""
        seen: set[str] = set()
        for reading in (text, *readings(text, self._words), *self._joined(text, said)):
            folded = fold(reading)
            if folded and folded not in seen:
                seen.add(folded)
                yield folded

    @staticmethod
    def _joined(text: str, said: Sequence[str]) -> tuple[str, ...]:
        return ("。".join([*said[-1:], text])[:MAX_CHARS], "".join([*said, text])[:MAX_CHARS]) if said else ()

    def _suspected(self, candidates: Sequence[str]) -> InputFinding:
        """What the detector makes of a message that no rule knows, and of what it may disguise."""
        if self._detector is None:
            return InputFinding(InputKind.NONE)
        for candidate in candidates:
            found = self._detector.suspects(fold(candidate))
            if found is not None:
                kind = InputKind(found)
                return InputFinding(kind, f"detector.{found}", self.file.kinds[kind].reply)
        return InputFinding(InputKind.NONE)

    def flag_document(self, text: str) -> list[DocumentFlag]:
        """Return the sentences of a document or pasted text that give orders to the model."""
        flags: list[DocumentFlag] = []
        start = 0
        for sentence in split_sentences(text):
            folded = (fold(sentence), *(fold(other) for other in readings(sentence)))
            rule = next((rule for rule in self._document if any(map(rule.matches, folded))), None)
            if rule is not None:
                flags.append(DocumentFlag(start, start + len(sentence), sentence.strip(), rule.id))
            start += len(sentence)
        return flags


_default: list[InputGuard] = []


def assess_input(text: str, history: Sequence[Turn] = ()) -> InputFinding:
    """Assess a user's message with the shipped rules."""
    return _shipped().assess(text, history)


def flag_document(text: str) -> list[DocumentFlag]:
    """Flag injected instructions in a document with the shipped rules."""
    return _shipped().flag_document(text)


def use(guard: InputGuard) -> None:
    """Put another guard in force for the whole service."""
    _default[:] = [guard]


def _shipped() -> InputGuard:
    if not _default:
        _default.append(InputGuard.shipped())
    return _default[0]


def _compile(rule: InputRule) -> _Compiled:
    def joined(pattern: str) -> re.Pattern[str]:
        return re.compile(pattern.replace("\n", "").replace(" ", ""))

    return _Compiled(rule.id, joined(rule.pattern), None if rule.never is None else joined(rule.never))
