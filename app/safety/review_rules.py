"""The violation rules: their YAML form, their compilation, and which of them a sentence breaks.

Owns how a rule is read and applied to one sentence in its context. The rules themselves are data with an owner, a
source and a review date (`codes/*.yaml`); streaming, amending and blocking are in `review.py`, support by evidence
in `claims.py`, pairs of medicines in `interactions.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from app.safety.review_text import Lexicon, View
from app.safety.types import Audience, ViolationCode

LEXICON_FILE = "lexicon.yaml"
RULE_GLOB = "code_*.yaml"


class Action(StrEnum):
    """What happens to a sentence that breaks a rule."""

    REMOVE = "remove"
    REPLACE = "replace"
    BLOCK = "block"


Guard = Literal[
    "negated",
    "denied",
    "refuted",
    "hedged",
    "harm",
    "soft",
    "conditional",
    "cares",
    "sends",
    "care_near",
    "known",
    "given",
    "definition",
    "foreign",
]


class SourceRef(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    year: str


class Examples(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    unsafe: tuple[str, ...] = Field(min_length=1)
    safe: tuple[str, ...] = Field(min_length=1)


class RuleFile(BaseModel):
    """One rule: `pattern` breaks it unless a guard holds there; `also` must occur in the sentence too, `question`

    in the question, `about` in either; `never` must not occur. One that `yields` is silent where the trained models are sure
    of a safe sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    pattern: str
    also: str | None = None
    about: str | None = None
    never: str | None = None
    question: str | None = None
    question_example: str = ""
    unless: tuple[Guard, ...] = ()
    audience: tuple[Audience, ...] = (Audience.PATIENT, Audience.CLINICIAN)
    unmasked: bool = False
    yields: bool = False
    action: Action | None = None
    examples: Examples


class CodeFile(BaseModel):
    """The rules of one code. `likeness` is what a sentence must mention before the detector may name this code;

    with `likeness_alone` a detector that is sure needs no mention."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: ViolationCode
    owner: str
    source: SourceRef
    review_date: str
    action: Action
    wording: str = ""
    likeness: str | None = None
    likeness_alone: bool = False
    rules: tuple[RuleFile, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule with what its code file says about owner, action and reviewed wording."""

    id: str
    code: ViolationCode
    pattern: re.Pattern[str]
    also: re.Pattern[str] | None
    about: re.Pattern[str] | None
    never: re.Pattern[str] | None
    question: re.Pattern[str] | None
    unless: frozenset[str]
    audience: frozenset[Audience]
    unmasked: bool
    yields: bool
    action: Action
    wording: str
    examples: Examples
    question_example: str


@dataclass(frozen=True, slots=True)
class Found:
    """A rule broken by a sentence. `open` guards may still be met by the sentence that follows."""

    rule: Rule
    open: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules may know beyond the sentence: the question (masked and folded), the audience,

    and everything that was given to the answer (user turns and evidence, folded).
    """

    question: str
    question_folded: str
    audience: Audience
    given: str = ""


class RuleSet:
    """All rules of a folder, compiled. Raises `pydantic.ValidationError`, `re.error` or `OSError` on a bad folder."""

    def __init__(
        self,
        lexicon: Lexicon,
        rules: tuple[Rule, ...],
        gates: Mapping[ViolationCode, re.Pattern[str]],
        version: str,
        alone: frozenset[ViolationCode] = frozenset(),
    ) -> None:
        self.lexicon = lexicon
        self.rules = rules
        self.version = version
        self._gates = gates
        self._alone = alone
        self._stand_ins = {rule.code: replace(rule, id=f"{rule.code}.likeness") for rule in reversed(rules)}

    @classmethod
    def load(cls, folder: Path) -> RuleSet:
        lexicon = Lexicon.load(folder / LEXICON_FILE)
        files = [
            CodeFile.model_validate(yaml.safe_load(path.read_text("utf-8"))) for path in _rule_files(folder)
        ]
        if not files:
            raise FileNotFoundError(f"no {RULE_GLOB} in {folder}")
        rules = tuple(_compile(lexicon, file, rule) for file in files for rule in file.rules)
        gates = {
            file.code: re.compile(lexicon.expand(file.likeness))
            for file in files
            if file.likeness is not None
        }
        alone = frozenset(file.code for file in files if file.likeness_alone)
        return cls(lexicon, rules, gates, max(file.review_date for file in files), alone)

    def stand_in(self, code: ViolationCode, view: View, *, sure: bool = False) -> Rule | None:
        """Return the rule that `lends` to a finding of the linear detector alone.

        None when the sentence mentions nothing that this code is about, unless the detector is `sure` of a code that names nothing.
        """
        gate = self._gates.get(code)
        sure = sure and code in self._alone
        mentioned = gate is not None and (sure or gate.search(view.masked) is not None)
        return self.lends(code) if mentioned else None

    def lends(self, code: ViolationCode) -> Rule | None:
        """Return a rule of the code that lends its action, wording and audience to a finding of the trained models."""
        return self._stand_ins.get(code)

    def check(self, view: View, around: Surroundings) -> Iterator[Found]:
        """Yield each rule that the sentence breaks; a pure question breaks none."""
        if view.question:
            return
        for rule in self.rules:
            if around.audience in rule.audience and (found := _broken(rule, view, around)) is not None:
                yield found


def _rule_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(RULE_GLOB))


def _compile(lexicon: Lexicon, file: CodeFile, rule: RuleFile) -> Rule:
    def compiled(pattern: str | None) -> re.Pattern[str] | None:
        return None if pattern is None else re.compile(lexicon.expand(pattern))

    return Rule(
        id=rule.id,
        code=file.code,
        pattern=re.compile(lexicon.expand(rule.pattern)),
        also=compiled(rule.also),
        about=compiled(rule.about),
        never=compiled(rule.never),
        question=compiled(rule.question),
        unless=frozenset(rule.unless),
        audience=frozenset(rule.audience),
        unmasked=rule.unmasked,
        yields=rule.yields,
        action=file.action if rule.action is None else rule.action,
        wording=file.wording,
        examples=rule.examples,
        question_example=rule.question_example,
    )


def _broken(rule: Rule, view: View, around: Surroundings) -> Found | None:
    text = view.folded if rule.unmasked else view.masked
    if (first := rule.pattern.search(text)) is None:
        return None
    if rule.also is not None and rule.also.search(text) is None:
        return None
    if (
        rule.about is not None
        and rule.about.search(text) is None
        and rule.about.search(around.question) is None
    ):
        return None
    if rule.never is not None and rule.never.search(text) is not None:
        return None
    if rule.question is not None and rule.question.search(around.question_folded) is None:
        return None
    for match in (first, *rule.pattern.finditer(text, first.end())):
        if not _guarded(rule, view, match, around):
            return Found(rule, _open_guards(rule, view))
    return None


def _guarded(rule: Rule, view: View, match: re.Match[str], around: Surroundings) -> bool:
    guards, end = rule.unless, match.end()
    # A pattern may begin with the pause before its clause: the clause is what follows.
    start = match.start() + len(match.group()) - len(match.group().lstrip(",;:。!?"))
    return (
        ("negated" in guards and view.negated(start))
        or ("denied" in guards and view.denied(start, end))
        or ("refuted" in guards and view.refuted(start, end))
        or ("hedged" in guards and view.hedged(start, end))
        or ("harm" in guards and view.harmful(end))
        or ("soft" in guards and view.soft(start, end))
        or ("conditional" in guards and view.conditional(start))
        or (("cares" in guards or "care_near" in guards) and view.cares)
        or ("sends" in guards and view.sends)
        or ("known" in guards and known_disease(view, around))
        or ("given" in guards and match.group() in around.given)
        or ("definition" in guards and is_definition(view, around))
        or ("foreign" in guards and not _own_figures(view, around))
    )


_FIGURE = re.compile(r"\d+(?:\.\d+)?")


def is_definition(view: View, around: Surroundings) -> bool:
    """True for a criterion or a name stated in general (eGFR低于60持续3个月以上就是慢性肾脏病).

    A sentence that repeats a figure of the question is about the one who asked.
    """
    return view.defines and not _own_figures(view, around)


def _own_figures(view: View, around: Surroundings) -> set[str]:
    """The figures of the question that the sentence repeats."""
    return set(_FIGURE.findall(around.question_folded)).intersection(_FIGURE.findall(view.folded))


_ASKED = re.compile(
    r"是不是|是否|会不会|算不算|有没有|是什么|什么(?:病|原因|问题|情况)|怎么(?:回事|了)|咋回事|严重吗|得了|[吗么呢](?:$|[?,。])"
)


def known_disease(view: View, around: Surroundings) -> bool:
    """True when every disease of the sentence was stated, not asked about, by the user."""
    names = view.lexicon.disease.findall(view.folded)
    question = around.question_folded
    return bool(names) and all(name in question and not _asked_about(name, question) for name in names)


def _asked_about(name: str, question: str) -> bool:
    """True when the clause that names the disease asks whether it is there."""
    clauses = (part for part in re.split(r"(?<=[,;。!?])", question) if name in part)
    return any(
        _ASKED.search(clause)
        and not re.search(
            f"(?:有|患|得|确诊)(?:了|过)?[^,。?]{{0,6}}{re.escape(name)}(?:,|。|病?史|病人|患者|多年|\\d)",
            clause,
        )
        for clause in clauses
    )


def _open_guards(rule: Rule, view: View) -> frozenset[str]:
    """Return the guards that the next sentence may still meet: a report refuted, a reassurance with a safety net."""
    guards = set()
    if "refuted" in rule.unless and view.reported:
        guards.add("refuted")
    if "care_near" in rule.unless:
        guards.add("cares")
    return frozenset(guards)
