"""Reads one sentence the way the review rules need it: folded, masked, cut into clauses, with its cues.

Owns folding, masking of medicine and disease names, and the context questions that every rule asks (is this place
negated, refuted, hedged, reported, a question?). Which words these are is data (`codes/lexicon.yaml`); which sentences
are wrong is decided by the rules of `review_rules.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict
from zhconv.zhconv import getdict

from app.safety.disguise import spelled, unseparated

MEDICINE, ANTIBIOTIC, MEDICINE_WORD, DISEASE = "\ue000", "\ue001", "\ue002", "\ue003"

_IGNORED = re.compile(r"[\s\u200b-\u200f\u2060\ufeff*_`#|\U0001f300-\U0001faff\u2600-\u27bf]+")
_CITATION = re.compile(r"\[\^?\d{1,3}(?:[,、\-–]\d{1,3})*\]")
_BOUNDARY = re.compile(r"[,;:。!?]")
# A heading inside the sentence that rejects the list after it: 以下做法要避免:自行停药;随意加量。
_REJECTING_HEAD = re.compile(
    r"(?:避免|不要|误区|错误|禁忌|切忌|不能|不可|切勿|严禁|大忌|不应|不宜)[^:。!?]{0,12}:[^。!?]*$"
)
# In a later clause these deny something else: 很正常,不代表肾有问题 does not refute 很正常.
_DENIES_ONLY = frozenset({"不代表", "不等于", "不意味着"})
_SIMPLIFIED = {
    ord(old): new for old, new in getdict("zh-cn").items() if len(old) == 1 and len(new) == 1 and old != "着"
}


def fold(text: str) -> str:
    """Return `text` in the one form that rules are written for: NFKC, simplified, lower case, nothing invisible."""
    plain = unicodedata.normalize("NFKC", text).translate(_SIMPLIFIED).lower()
    return _IGNORED.sub("", plain)


class LexiconFile(BaseModel):
    """`codes/lexicon.yaml`: name groups, macros and cues, each a regular expression over folded text; `spelled` are the

    words that a draft may hide in pinyin."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: str
    source: dict[str, str]
    review_date: str
    antibiotic: str
    medicine: str
    medicine_suffix: str
    medicine_word: str
    disease: str
    spelled: str = ""
    macros: dict[str, str]
    cues: dict[str, str]


class Lexicon:
    """The compiled word groups. Raises `pydantic.ValidationError` or `re.error` on a bad file."""

    def __init__(self, file: LexiconFile) -> None:
        joined = {name: value.replace("\n", "").replace(" ", "") for name, value in _groups(file).items()}
        self._masks = (
            (re.compile(joined["antibiotic"]), ANTIBIOTIC),
            (re.compile(f"{joined['medicine']}|{joined['medicine_suffix']}"), MEDICINE),
            (re.compile(joined["medicine_word"]), MEDICINE_WORD),
            (re.compile(joined["disease"]), DISEASE),
        )
        self.macros = {
            **file.macros,
            "drug": f"[{MEDICINE}{ANTIBIOTIC}{MEDICINE_WORD}]",
            "named": f"[{MEDICINE}{ANTIBIOTIC}]",
            "abx": ANTIBIOTIC,
            "disease": DISEASE,
        }
        self.cues: Mapping[str, re.Pattern[str]] = {
            name: re.compile(value.replace("\n", "").replace(" ", "")) for name, value in file.cues.items()
        }
        self.named = re.compile(f"{joined['antibiotic']}|{joined['medicine']}|{joined['medicine_suffix']}")
        self.disease = self._masks[3][0]
        self.spelled = tuple(file.spelled.split())

    @classmethod
    def load(cls, path: Path) -> Lexicon:
        return cls(LexiconFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))))

    def mask(self, folded: str) -> str:
        """Replace every known name by the one character of its kind, so that a rule speaks of kinds."""
        for pattern, token in self._masks:
            folded = pattern.sub(token, folded)
        return folded

    def expand(self, pattern: str) -> str:
        """Fill the `{name}` macros of a rule pattern; unknown names stay, so that {0,8} remains a quantifier."""
        joined = pattern.replace("\n", "").replace(" ", "")
        for _ in range(3):
            for name, value in self.macros.items():
                joined = joined.replace("{" + name + "}", value)
        return joined


def _groups(file: LexiconFile) -> dict[str, str]:
    return {
        "antibiotic": file.antibiotic,
        "medicine": file.medicine,
        "medicine_suffix": file.medicine_suffix,
        "medicine_word": file.medicine_word,
        "disease": file.disease,
    }


@dataclass(frozen=True)
class View:
    """One sentence as the rules see it. Positions are in `masked`."""

    raw: str
    lexicon: Lexicon

    @cached_property
    def folded(self) -> str:
        plain = unseparated(self.raw)
        return _CITATION.sub(
            "", fold(spelled(plain, self.lexicon.spelled) if self.lexicon.spelled else plain)
        )

    @cached_property
    def masked(self) -> str:
        return self.lexicon.mask(self.folded)

    def clause(self, start: int, end: int) -> tuple[int, int]:
        """Return the bounds of the clause or clauses that hold [start, end)."""
        before = [match.end() for match in _BOUNDARY.finditer(self.masked, 0, start)]
        after = _BOUNDARY.search(self.masked, end)
        return (before[-1] if before else 0), (after.start() if after else len(self.masked))

    @cached_property
    def question(self) -> bool:
        """True for a sentence that asks and states nothing."""
        text = self.masked.rstrip("”’」』)\"'")
        return text.endswith("?") and not re.search(r"[。!]", text[:-1])

    def negated(self, start: int) -> bool:
        """True when a word that forbids or denies stands before `start` in the same clause."""
        left, _ = self.clause(start, start)
        if _REJECTING_HEAD.search(self.masked[:left]):
            return True
        before = self._cue("negator_cancelled").sub(_blank, self.masked[left : start + 3])
        # A forbidding word may reach into the match: 不建议 before 建议自己吃.
        found = [match for match in self._cue("negator").finditer(before) if left + match.start() < start]
        return bool(found) and start - left - found[-1].end() <= _reach(before, found[-1].end())

    def denied(self, start: int, end: int) -> bool:
        """True when such a word stands inside [start, end), between the two halves of what a rule found."""
        inside = self._cue("negator_cancelled").sub("□", self.masked[start:end])
        return bool(self._cue("negator").search(inside))

    def harmful(self, end: int) -> bool:
        """True when what follows names the harm of what was matched (停药会反跳), not its absence."""
        tail = re.split(r"[。!?]", self.masked[end:], maxsplit=1)[0][:40]
        tail = self._cue("harmless").sub("□", tail)
        return bool(self._cue("harm").search(tail))

    def refuted(self, start: int, end: int) -> bool:
        return self._governs("refuted", "refuted_cancelled", start, end)

    def hedged(self, start: int, end: int) -> bool:
        return self._governs("hedged", "hedged_cancelled", start, end)

    @cached_property
    def reported(self) -> bool:
        """True when the sentence reports what others say or believe."""
        return bool(self._cue("reported").search(self.masked))

    @cached_property
    def refutes(self) -> bool:
        """True when the sentence as a whole rejects something (used on the sentence after a reported one)."""
        return bool(self._cue("refuted").search(self._without("refuted_cancelled")))

    def soft(self, start: int, end: int) -> bool:
        """True when the clause around [start, end) speaks of a possibility, not a fact."""
        left, right = self.clause(start, end)
        return bool(self._cue("soft_diagnosis").search(self.masked[left:right]))

    def conditional(self, start: int) -> bool:
        left, _ = self.clause(start, start)
        return bool(self._cue("condition").search(self.masked[left:start]))

    @cached_property
    def defines(self) -> bool:
        """True when the sentence says in general where an illness begins or what it is called."""
        return bool(self._cue("definition").search(self.masked)) and not self._cue("somebody").search(
            self.masked
        )

    @cached_property
    def cares(self) -> bool:
        """True when the sentence sends the reader to a doctor, an examination or 120."""
        return bool(self._cue("care").search(self._without("care_cancelled")))

    @cached_property
    def sends(self) -> bool:
        """True when the sentence sends the reader to emergency care now, not after waiting."""
        return bool(self._cue("emergency").search(self._without("emergency_cancelled")))

    @cached_property
    def waits(self) -> bool:
        """True when the sentence advises to wait, rest or see how it goes."""
        return bool(self._cue("waiting").search(self._without("waiting_cancelled")))

    def _governs(self, cue: str, cancelled: str, start: int, end: int) -> bool:
        """True when a cue in the sentence still holds at the match: not cancelled, not turned round by a 但是."""
        text = self._without(cancelled)
        for match in self._cue(cue).finditer(text):
            if (
                match.start() >= end
                and match.group() in _DENIES_ONLY
                and _BOUNDARY.search(text, end, match.start())
            ):
                continue
            if match.start() >= end or not self._cue("contrast").search(
                text, match.end(), max(start, match.end())
            ):
                return True
        return False

    def _without(self, cancelled: str) -> str:
        """Blank out cancelled cues, keeping every position."""
        return self._cue(cancelled).sub(_blank, self.masked)

    def _cue(self, name: str) -> re.Pattern[str]:
        return self.lexicon.cues[name]


def _reach(clause: str, end: int) -> int:
    """How many characters a forbidding word governs; further when it names a reason first (不要因为…就停药)."""
    return 30 if clause.startswith(("为了", "因为", "因", "觉得", "以为", "听"), end) else 14


def _blank(match: re.Match[str]) -> str:
    return "□" * len(match.group())
