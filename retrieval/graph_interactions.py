"""Checks drugs against each other, against food and against a person's conditions.

Owns how a finding is derived from edges (inheritance, duplicates, severity). The edges are data; a pair
without an edge is not declared safe: the report says only what is known, and which names it did not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from .graph_store import GraphStore
from .graph_types import AmbiguousName, Edge, Entity, FindingKind, Interaction, InteractionReport, Severity

_SEVERITY = {
    "contraindicated": Severity.CONTRAINDICATED,
    "major": Severity.SERIOUS,
    "moderate": Severity.CAUTION,
    "minor": Severity.CAUTION,
    "absolute": Severity.CONTRAINDICATED,
    "relative": Severity.SERIOUS,
}
_TAKEN = frozenset({"drug", "drug_class", "food"})
_STATES = frozenset({"disease", "population"})
_CONDITION_RELATIONS = ("contraindicated_for", "caution_in")


@dataclass(frozen=True, slots=True)
class _Named:
    """An entity with the name it was asked by."""

    given: str
    entity: Entity


class InteractionChecks(GraphStore):
    """Adds the safety checks to the store."""

    def interactions(self, drugs: Sequence[str], conditions: Sequence[str] = ()) -> InteractionReport:
        """Everything known against taking `drugs` (drugs, classes, food) together or with `conditions`.

        Names may be brands or aliases. All meanings of an ambiguous name are checked and the name is
        reported; names that are neither drug, class, food, disease nor population are `unknown`.
        """
        taken, states, unknown = self._sort_names(drugs, conditions)
        found = [*self._pairs(taken), *self._duplicates(taken)]
        found += [item for drug in taken for state in states for item in self._against(drug, state)]
        names = dict.fromkeys([*drugs, *conditions])
        ambiguous = tuple(
            AmbiguousName(name, tuple(entity.name for entity in self.resolve(name)))
            for name in names
            if self.is_ambiguous(name)
        )
        return InteractionReport(_worst_first(found), tuple(unknown), ambiguous)

    def duplicates(self, names: Sequence[str]) -> tuple[Interaction, ...]:
        """Question 9: the same ingredient or two drugs of a class that should not be doubled."""
        taken, _, _ = self._sort_names(names, ())
        return _worst_first(list(self._duplicates(taken)))

    def _sort_names(
        self, drugs: Sequence[str], conditions: Sequence[str]
    ) -> tuple[list[_Named], list[_Named], list[str]]:
        taken: dict[str, _Named] = {}
        states: dict[str, _Named] = {}
        unknown: list[str] = []
        for name in dict.fromkeys([*drugs, *conditions]):
            usable = [entity for entity in self.resolve(name) if entity.type in _TAKEN | _STATES]
            if not usable:
                unknown.append(name)
            for entity in usable:
                kept = taken if entity.type in _TAKEN else states
                kept.setdefault(f"{entity.id} {name}", _Named(name, entity))
        return list(taken.values()), list(states.values()), unknown

    # Two things taken

    def _pairs(self, taken: Sequence[_Named]) -> Iterator[Interaction]:
        for first, second in combinations(taken, 2):
            if first.entity.id != second.entity.id and first.given != second.given:
                for edge in self._nearest(first.entity, second.entity):
                    yield self._pair_finding(edge, first, second)

    def _nearest(self, first: Entity, second: Entity) -> list[Edge]:
        """The most specific statements about the pair; of equally specific ones the gravest."""
        best: list[Edge] = []
        nearest = None
        above, others = self._reach(first), dict(self._reach_ids(second))
        for ancestor, distance in above:
            for edge in self.outgoing(ancestor.id, "interacts_with"):
                far = others.get(edge.other(ancestor.id).id)
                if far is None:
                    continue
                total = distance + far
                if nearest is None or total < nearest:
                    nearest, best = total, [edge]
                elif total == nearest and edge not in best:
                    best.append(edge)
        best = [edge for edge in best if not edge.properties.get("negated")]
        return sorted(best, key=lambda edge: _severity(edge).rank)[:1]

    def _reach(self, entity: Entity) -> list[tuple[Entity, int]]:
        """Where statements about `entity` may stand; a class also stands for its members, further away."""
        reach = list(self.lineage(entity.id))
        if entity.type == "drug_class":
            reach += [(drug, 10) for drug in self.members(entity.id)]
        return reach

    def _reach_ids(self, entity: Entity) -> Iterator[tuple[str, int]]:
        seen: set[str] = set()
        for other, distance in self._reach(entity):
            if other.id not in seen:
                seen.add(other.id)
                yield other.id, distance

    def _pair_finding(self, edge: Edge, first: _Named, second: _Named) -> Interaction:
        food = "food" in {first.entity.type, second.entity.type}
        interval = edge.properties.get("min_interval_h")
        return Interaction(
            a=first.entity.name, b=second.entity.name, severity=_severity(edge),
            kind=FindingKind.DRUG_FOOD if food else FindingKind.DRUG_DRUG,
            why=edge.get("effect"), advice=edge.get("management"),
            source=edge.source.title, year=edge.source.year, given_a=first.given, given_b=second.given,
            edge=edge, min_interval_h=None if interval is None else int(interval),
        )  # fmt: skip

    # A thing taken and a state of the person

    def _against(self, drug: _Named, state: _Named) -> Iterator[Interaction]:
        for relation in _CONDITION_RELATIONS:
            edges = [
                edge for edge in self.inherited(drug.entity.id, relation) if edge.tail.id == state.entity.id
            ]
            if edges:
                edge = min(edges, key=lambda edge: _severity(edge).rank)
                yield Interaction(
                    a=drug.entity.name, b=state.entity.name, severity=_severity(edge),
                    kind=FindingKind.DRUG_CONDITION, why=edge.claim, advice=edge.get("advice"),
                    source=edge.source.title, year=edge.source.year,
                    given_a=drug.given, given_b=state.given, edge=edge,
                )  # fmt: skip
                return

    # The same thing twice

    def _duplicates(self, taken: Sequence[_Named]) -> Iterator[Interaction]:
        drugs = [item for item in taken if item.entity.type == "drug"]
        for first, second in combinations(drugs, 2):
            if first.given == second.given:
                continue
            shared = self._shared_ingredient(first, second)
            if shared is not None:
                yield shared
            elif (doubled := self._shared_class(first, second)) is not None:
                yield doubled

    def _shared_ingredient(self, first: _Named, second: _Named) -> Interaction | None:
        mine, theirs = self.ingredients(first.entity.id), self.ingredients(second.entity.id)
        shared = [name for name in mine if name in theirs]
        support = next((edge for name in shared for edge in (mine[name], theirs[name]) if edge), None)
        if support is None:
            return None
        why = f"两种药都含{'、'.join(shared)}，同时用等于重复用药，剂量会叠加"
        return self._duplicate(first, second, support, FindingKind.DUPLICATE_INGREDIENT, why)

    def _shared_class(self, first: _Named, second: _Named) -> Interaction | None:
        for mine, theirs in product(self._class_edges(first), self._class_edges(second)):
            risk = mine.tail.properties.get("duplicate_risk")
            if mine.tail.id == theirs.tail.id and risk:
                why = f"两种药同属{mine.tail.name}，{risk}"
                return self._duplicate(first, second, mine, FindingKind.DUPLICATE_CLASS, why)
        return None

    def _class_edges(self, drug: _Named) -> list[Edge]:
        ids = [entity.id for entity, _ in self.lineage(drug.entity.id)]
        return [edge for node in ids for edge in self.outgoing(node, "belongs_to_class")]

    def _duplicate(
        self, first: _Named, second: _Named, edge: Edge, kind: FindingKind, why: str
    ) -> Interaction:
        return Interaction(
            a=first.entity.name, b=second.entity.name, severity=Severity.SERIOUS, kind=kind, why=why,
            advice="不要自行同时服用，先问医生或药师", source=edge.source.title, year=edge.source.year,
            given_a=first.given, given_b=second.given, edge=edge,
        )  # fmt: skip


def _severity(edge: Edge) -> Severity:
    key = edge.get("severity") or edge.get("level")
    return _SEVERITY.get(key, Severity.CAUTION)


def _worst_first(found: Sequence[Interaction]) -> tuple[Interaction, ...]:
    unique = {(item.given_a, item.given_b, item.a, item.b, item.kind): item for item in found}
    return tuple(sorted(unique.values(), key=lambda item: item.severity.rank))
