"""What the medical graph takes and gives: entities, edges, aliases, mentions and findings, all frozen.

Owns the vocabulary of the graph and its one error. Loading is `graph_load`, look-ups are `graph_store`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class GraphError(ValueError):
    """The graph's files cannot be used; `path` and `line` (1-based, 0 for the whole file) say where."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")
        self.path = path
        self.line = line
        self.message = message


class Severity(StrEnum):
    """How grave a finding is, in the words of the public interface, worst first."""

    CONTRAINDICATED = "contraindicated"
    SERIOUS = "serious"
    CAUTION = "caution"

    @property
    def rank(self) -> int:
        """0 for the gravest."""
        return list(Severity).index(self)


class FindingKind(StrEnum):
    """What two things a finding is about."""

    DRUG_DRUG = "drug_drug"
    DRUG_FOOD = "drug_food"
    DRUG_CONDITION = "drug_condition"
    DUPLICATE_INGREDIENT = "duplicate_ingredient"
    DUPLICATE_CLASS = "duplicate_class"


@dataclass(frozen=True, slots=True)
class Entity:
    """A node. `properties` are the schema's own for its type (urgency, rx, unit ...)."""

    id: str
    type: str
    name: str
    name_en: str = ""
    definition: str = ""
    topic_id: str = ""
    status: str = "active"
    merged_into: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a statement can be read; `year` is a year or 现行版 for a drug label."""

    title: str
    publisher: str
    year: str

    @property
    def label(self) -> str:
        """Title and year as shown to readers."""
        return f"《{self.title}》（{self.year}）"


@dataclass(frozen=True, slots=True)
class Edge:
    """A statement `head relation tail` with its provenance. `claim` is the editors' own wording, not a
    quotation.

    `evidence` is one of G1 G2 G3 C L S T; `status` one of draft editorial clinician conflict retired.
    """

    id: str
    head: Entity
    relation: str
    tail: Entity
    source: Source
    evidence: str
    topic_id: str
    claim: str
    status: str
    updated_at: str
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)

    def get(self, key: str) -> str:
        """The property as text, "" when absent."""
        value = self.properties.get(key)
        return "" if value is None else str(value)

    def other(self, entity_id: str) -> Entity:
        """The end that is not `entity_id`."""
        return self.tail if self.head.id == entity_id else self.head


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name of a node. `ambiguous` names must be asked back before anything is concluded from them."""

    text: str
    node_id: str
    kind: str
    ambiguous: bool
    source_title: str = ""
    source_year: str = ""


@dataclass(frozen=True, slots=True)
class Mention:
    """An entity named in a text: `text[start:end] == surface`. `kind` is `name` or the alias kind."""

    start: int
    end: int
    surface: str
    entity: Entity
    kind: str
    ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class Interaction:
    """Two things that should not, or not without care, go together. `a` and `b` are canonical names.

    `given_a`/`given_b` are the names asked with; `edge` is the statement behind it; `advice` what to do.
    """

    a: str
    b: str
    severity: Severity
    kind: FindingKind
    why: str
    advice: str
    source: str
    year: str
    given_a: str
    given_b: str
    edge: Edge
    min_interval_h: int | None = None


@dataclass(frozen=True, slots=True)
class AmbiguousName:
    """A name with several meanings; `candidates` are the canonical names to ask back with."""

    name: str
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InteractionReport:
    """Findings, worst first; `unknown` are the names the graph does not know, on which it says nothing."""

    interactions: tuple[Interaction, ...]
    unknown: tuple[str, ...]
    ambiguous: tuple[AmbiguousName, ...] = ()

    @property
    def worst(self) -> Severity | None:
        """The gravest severity, None when nothing was found."""
        return self.interactions[0].severity if self.interactions else None


@dataclass(frozen=True, slots=True)
class RedFlag:
    """A disease to be excluded first. `action` is call_120, er_now or see_24h; `edges` are the matched
    signs.
    """

    disease: Entity
    action: str
    combo_id: str
    matched: tuple[str, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Interpretation:
    """A test value against its range. `position` is low, normal, high, or unknown when there is no range."""

    position: str
    ranges: tuple[Edge, ...]
    suggests: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What tells two diseases apart; empty `differences` means that the graph has no statement about it."""

    differences: tuple[Edge, ...]
    first: tuple[Edge, ...]
    second: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Referral:
    """Where a symptom belongs and what would make it urgent."""

    departments: tuple[Edge, ...]
    red_flags: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A node with the nodes and edges next to it, the centre first."""

    nodes: tuple[Entity, ...]
    edges: tuple[Edge, ...]
