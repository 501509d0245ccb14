"""The form of a triage rule and its evaluation over the findings that are present.

Owns the YAML schema (owner, source, review date, conditions, examples), and which findings are still missing for a
rule. Recognition is in `findings.py`; what a patient is told, in `notices.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from app.safety.types import Level


class Condition(BaseModel):
    """A finding by name, or a combination: `all`, `any`, `none`, or at least `n` of a list.

    In YAML a bare name is a finding, a list means `all`, and a name ending in `?` may also be resolved by now.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    finding: str | None = None
    all: tuple[Term, ...] = ()
    any: tuple[Term, ...] = ()
    none: tuple[Term, ...] = ()
    n: int = 0
    of: tuple[Term, ...] = ()

    @model_validator(mode="after")
    def _not_empty(self) -> Condition:
        if not (self.finding or self.all or self.any or self.none or self.of):
            raise ValueError("an empty condition would always hold")
        if self.of and not 1 <= self.n <= len(self.of):
            raise ValueError("`n` must be between 1 and the number of `of`")
        return self

    def holds(self, present: Set[str]) -> bool:
        if self.finding is not None and self.finding not in present:
            return False
        if not all(c.holds(present) for c in self.all) or any(c.holds(present) for c in self.none):
            return False
        if self.any and not any(c.holds(present) for c in self.any):
            return False
        return sum(c.holds(present) for c in self.of) >= self.n

    def names(self) -> set[str]:
        """Every finding named anywhere in the condition."""
        own = {self.finding} if self.finding else set()
        return own.union(*(c.names() for c in (*self.all, *self.any, *self.none, *self.of)))

    @cached_property
    def evidence(self) -> frozenset[str]:
        """The findings that can support the condition (those under `none` cannot)."""
        own = frozenset({self.finding} if self.finding else ())
        return own.union(*(c.evidence for c in (*self.all, *self.any, *self.of)))

    def in_order(self) -> list[str]:
        """The supporting findings in the order in which the rule names them."""
        own = [self.finding] if self.finding else []
        nested = [name for c in (*self.all, *self.any, *self.of) for name in c.in_order()]
        return list(dict.fromkeys(own + nested))

    @cached_property
    def vetoes(self) -> frozenset[str]:
        """The findings whose presence can keep the condition from holding."""
        own = frozenset[str]().union(*(c.names() for c in self.none))
        return own.union(*(c.vetoes for c in (*self.all, *self.any, *self.of)))

    def one_short(self, present: Set[str]) -> list[str]:
        """The findings any one of which alone would make the condition hold, in order; empty when none would."""
        return [n for n in self.in_order() if n not in present and self.holds({*present, n})]


def _condition(value: Any) -> Any:
    if isinstance(value, str):
        return {"finding": value}
    if isinstance(value, list):
        return {"all": value}
    return value


Term = Annotated[Condition, BeforeValidator(_condition)]
Condition.model_rebuild()


class Source(BaseModel):
    """The guideline that the rule follows."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str = Field(min_length=4)
    year: int = Field(ge=1990, le=2100)


class Examples(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    positive: tuple[str, ...] = Field(min_length=1)
    negative: tuple[str, ...] = Field(min_length=1)


class Rule(BaseModel):
    """One reviewed rule. `transient` accepts findings that have passed by now (TIA, syncope, a seizure).

    With `yields: true` its emergency becomes something for today where the detectors are sure of a harmless message.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(pattern=r"^[a-z_]+\.[a-z0-9_]+$")
    category: str = Field(pattern=r"^[a-z_]+$")
    level: Level
    owner: str
    source: Source
    review_date: dt.date
    when: Term
    transient: bool = False
    ask: bool = True
    yields: bool = False
    weight: int = 0
    examples: Examples


class RulesFile(BaseModel):
    """One department's file of `kind: triage`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["triage"]
    department: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Fired:
    rule: Rule
    evidence: frozenset[str]


def evaluate(rules: Iterable[Rule], present: Set[str], passed: Set[str]) -> list[Fired]:
    """The rules that hold; `passed` are findings that were there but are over by now."""
    either = {*present, *passed}
    fired: list[Fired] = []
    for rule in rules:
        facts = either if rule.transient else present
        if not rule.when.evidence.isdisjoint(facts) and rule.when.holds(facts):
            fired.append(Fired(rule, rule.when.evidence & either))
    return fired
