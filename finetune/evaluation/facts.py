"""Accuracy: which reference facts an answer states, which forbidden ones, and which of its numbers nothing supports.

Owns the matching. A wording is found after normalisation (full-width forms, traditional characters, spaces, range
signs, citation marks); a found wording that the clause negates does not count, unless the wording itself is a negation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.evaluation.questions import Question, Ways

_CITATION = re.compile(r"\[\^?\d+\]|［\d+］")
_RANGE = re.compile(r"(?<=\d)\s*(?:[~～〜—–\-－至到]+)\s*(?=\d)")
GAP = "…"
_KEPT = "\ue7f2"  # stands for the gap mark while NFKC would take it apart
_GAP = "[^。！？；!?;]{0,14}?"
_SPACE = re.compile(r"\s+")
_CLAUSE_END = "。！？；!?;，,、\n"
# A whole negation reaches a few characters on, up to a word that turns the clause; a bare 不 only what follows at once.
_NEGATION = re.compile(
    r"(?:不要|不能|不可|不宜|不应|不得|不必|不用|不需|无需|不建议|不推荐|避免|切勿|禁止|禁用|别|勿|并非|不是)"
    r"[^。！？；，、就则时再应后要请]{0,6}$|(?:没有|未|不)$"
)
_STARTS_NEGATED = re.compile(r"^(?:不|别|勿|无需|禁|避免|切勿|没有|未)")
_UNITS = {
    "毫克": "mg",
    "微克": "μg",
    "毫升": "ml",
    "毫米汞柱": "mmhg",
    "毫摩尔/升": "mmol/l",
    "千克": "kg",
    "µg": "μg",
}
# A wrong number costs as much as half a question: a patient acts on it.
NUMBER_PENALTY = 50.0


@dataclass(frozen=True, slots=True)
class FactScore:
    """0-100 with what was missing, said though forbidden, and stated without support."""

    score: float
    missing: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()


def normalise(text: str) -> str:
    """One spelling for what means the same: NFKC, simplified, lower case, no spaces, `-` between numbers."""
    import zhconv

    text = unicodedata.normalize("NFKC", _CITATION.sub("", text.replace("...", "").replace(GAP, _KEPT)))
    text = zhconv.convert(text, "zh-cn").lower()
    text = _RANGE.sub("-", text)
    for long, short in _UNITS.items():
        text = text.replace(long, short)
    return _SPACE.sub("", text).replace(_KEPT, GAP)


def says(answer: str, ways: Ways) -> bool:
    """Whether the normalised answer states the fact in any of its wordings."""
    return any(_stated(answer, normalise(way)) for way in ways)


def _stated(answer: str, wording: str) -> bool:
    """Whether the wording occurs without a negation before it. `…` in a wording stands for a few characters of the
    same sentence. A wording that is a negation itself, or a number (`不超过3次` states the 3), needs no such check."""
    if not wording:
        return False
    free = _STARTS_NEGATED.match(wording) is not None or wording[0].isdigit()
    pattern = _GAP.join(re.escape(part) for part in wording.split(GAP))
    return any(free or not _negated(answer, found.start()) for found in re.finditer(pattern, answer))


def _negated(answer: str, start: int) -> bool:
    """Whether the clause before the wording ends in a negation that reaches it."""
    opening = max((answer.rfind(mark, 0, start) for mark in _CLAUSE_END), default=-1)
    return _NEGATION.search(answer[opening + 1 : start]) is not None


def score_facts(question: Question, answer: str, *, unsupported: Sequence[str] = ()) -> FactScore:
    """The share of facts stated, nothing when something forbidden is said, less a penalty for each made-up number.

    `unsupported` are sentences of the answer with numbers or drugs that the reference documents do not support.
    """
    text = normalise(answer)
    missing = tuple("/".join(ways[:2]) for ways in question.must_say if not says(text, ways))
    forbidden = tuple(wording for wording in question.must_not_say if _stated(text, normalise(wording)))
    share = 100.0 * (1 - len(missing) / len(question.must_say))
    score = 0.0 if forbidden else max(0.0, share - NUMBER_PENALTY * len(unsupported))
    return FactScore(score, missing, forbidden, tuple(unsupported))
