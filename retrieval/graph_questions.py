"""The twelve questions the graph must answer (schema section 6), each a small method.

Owns how each is walked and ordered. Every answer consists of edges with their provenance; an empty answer
means that the graph has nothing on record, never that something is safe, and no neighbour is used to guess.
Names may be ids, canonical names or aliases; all meanings of an ambiguous name are included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from .graph_interactions import InteractionChecks
from .graph_types import Comparison, Edge, Entity, Interpretation, RedFlag, Referral

_ACTIONS = ("call_120", "er_now", "see_24h")
_SEVERITIES = ("contraindicated", "major", "moderate", "minor")


class CompetencyQuestions(InteractionChecks):
    """Adds the twelve questions to the checks (question 9 is `duplicates`)."""

    def avoid_with(self, drug: str) -> tuple[Edge, ...]:
        """Question 1: drugs and food that must not, or not without need, go with `drug`; gravest first."""
        edges = [
            edge
            for entity in self._named(drug, "drug", "drug_class")
            for edge in self.inherited(entity.id, "interacts_with")
            if edge.get("severity") in _SEVERITIES[:2]
        ]
        return _unique(sorted(edges, key=lambda edge: _SEVERITIES.index(edge.get("severity"))))

    def emergencies(self, symptoms: Sequence[str]) -> tuple[RedFlag, ...]:
        """Question 2: diseases to be excluded first, by urgency of the action, then by number of matched
        signs.

        A combination counts when one of its core signs is there and `min_match` signs in all.
        """
        combos: dict[tuple[str, str], list[Edge]] = defaultdict(list)
        for entity in {item.id: item for name in symptoms for item in self._named(name, "symptom")}.values():
            for edge in self.outgoing(entity.id, "red_flag_of"):
                combos[edge.tail.id, edge.get("combo_id") or edge.id].append(edge)
        flags = [_red_flag(edges) for edges in combos.values() if _fires(edges)]
        return tuple(sorted(flags, key=lambda flag: (_ACTIONS.index(flag.action), -len(flag.matched))))

    def restrictions(self, drug: str) -> tuple[Edge, ...]:
        """Question 3: who must not take `drug`, then who should only with care."""
        entities = self._named(drug, "drug", "drug_class")
        never = [e for item in entities for e in self.inherited(item.id, "contraindicated_for")]
        careful = [e for item in entities for e in self.inherited(item.id, "caution_in")]
        never.sort(key=lambda edge: edge.get("level") != "absolute")
        return _unique([*never, *careful])

    def adverse_effects(self, drug: str, symptom: str | None = None) -> tuple[Edge, ...]:
        """Question 4: known adverse effects of `drug` with what to do; of one symptom when it is given."""
        edges = [
            edge
            for entity in self._named(drug, "drug", "drug_class", "procedure")
            for edge in self.inherited(entity.id, "causes")
            if edge.get("kind") == "adverse_effect"
        ]
        if symptom is not None:
            wanted = {entity.id for entity in self._named(symptom, "symptom", "disease")}
            edges = [edge for edge in edges if edge.tail.id in wanted]
        return _unique(edges)

    def treatments(self, disease: str, setting: str | None = None) -> tuple[Edge, ...]:
        """Question 5: treatments on record, first line first; `setting` is acute, chronic or rehab."""
        edges = [e for item in self._named(disease, "disease") for e in self.outgoing(item.id, "treated_by")]
        chosen = [edge for edge in edges if setting is None or edge.get("setting") == setting]
        return _unique(sorted(chosen, key=lambda edge: edge.get("line")))

    def interpret(
        self, indicator: str, value: float, population: str = "pop:adult", condition: str | None = None
    ) -> Interpretation:
        """Question 6: where `value` (in the range's unit) lies and what that does and does not suggest.

        `condition` (诊室, 家庭 ...) chooses among several ranges; without it a value that they judge
        differently is `unknown`, for the caller must ask under which condition it was taken.
        """
        entities = self._named(indicator, "indicator")
        people = {entity.id for entity in self._named(population, "population")}
        ranges = [
            edge
            for entity in entities
            for edge in self.outgoing(entity.id, "normal_range")
            if edge.tail.id in people and (condition is None or edge.get("condition") == condition)
        ]
        positions = {_position(edge, value) for edge in ranges}
        position = positions.pop() if len(positions) == 1 else "unknown"
        suggests = [
            edge
            for entity in entities
            for edge in self.outgoing(entity.id, "abnormal_suggests")
            if position == edge.get("direction") or _rules_out(edge, position)
        ]
        return Interpretation(position, _unique(ranges), _unique(suggests))

    def suggested_by(self, indicator: str, direction: str) -> tuple[Edge, ...]:
        """Question 6 for a report that prints only an arrow: `direction` is high or low."""
        edges = [
            edge
            for entity in self._named(indicator, "indicator")
            for edge in self.outgoing(entity.id, "abnormal_suggests")
            if edge.get("direction") == direction
        ]
        return _unique(edges)

    def targets(self, condition: str, indicator: str | None = None) -> tuple[Edge, ...]:
        """Question 7: what values are aimed at for people with `condition`."""
        people = self._named(condition, "disease", "population")
        edges = [edge for item in people for edge in self.incoming(item.id, "target_range")]
        if indicator is not None:
            wanted = {entity.id for entity in self._named(indicator, "indicator")}
            edges = [edge for edge in edges if edge.head.id in wanted]
        return _unique(edges)

    def monitoring(self, drug: str) -> tuple[Edge, ...]:
        """Question 8: what is checked while taking `drug`, how often, and from which value on one acts."""
        edges = [
            edge
            for item in self._named(drug, "drug", "drug_class")
            for ancestor, _ in self.lineage(item.id)
            for edge in self.incoming(ancestor.id, "monitors")
        ]
        return _unique(edges)

    def distinguish(self, first: str, second: str) -> Comparison:
        """Question 10: what tells two diseases apart, and the signs and tests of each."""
        left, right = self._named(first, "disease"), self._named(second, "disease")
        others = {entity.id for entity in right}
        differences = [
            edge
            for item in left
            for edge in self.outgoing(item.id, "differential_of")
            if edge.other(item.id).id in others
        ]
        return Comparison(_unique(differences), self._signs_and_tests(left), self._signs_and_tests(right))

    def time_windows(self, name: str) -> tuple[Edge, ...]:
        """Question 11: treatments with a window or a duration, asked by treatment or by disease."""
        edges: list[Edge] = []
        for entity in self._named(name, "disease", "drug", "drug_class", "procedure", "lifestyle"):
            edges += self.outgoing(entity.id, "treated_by") + self.incoming(entity.id, "treated_by")
        return _unique(edge for edge in edges if edge.get("window_h") or edge.get("duration"))

    def switch_interval(self, first: str, second: str) -> tuple[Edge, ...]:
        """Question 11: statements on how long to wait between two drugs, most specific first."""
        found = self.interactions([first, second]).interactions
        return _unique(item.edge for item in found if item.min_interval_h is not None)

    def where_to_go(self, symptom: str) -> Referral:
        """Question 12: the department (primary first), and with which signs the symptom is an emergency."""
        entities = self._named(symptom, "symptom", "disease")
        departments = [e for item in entities for e in self.outgoing(item.id, "belongs_to_department")]
        departments.sort(key=lambda edge: edge.get("role") != "primary")
        flags = [e for item in entities for e in self.outgoing(item.id, "red_flag_of")]
        flags.sort(key=lambda edge: _ACTIONS.index(edge.get("action")))
        return Referral(_unique(departments), _unique(flags))

    def _named(self, name: str, *types: str) -> list[Entity]:
        return [entity for entity in self.resolve(name) if entity.type in types]

    def _signs_and_tests(self, diseases: Iterable[Entity]) -> tuple[Edge, ...]:
        relations = ("has_symptom", "diagnosed_by")
        return _unique(
            e for item in diseases for relation in relations for e in self.outgoing(item.id, relation)
        )


def _unique(edges: Iterable[Edge]) -> tuple[Edge, ...]:
    return tuple({edge.id: edge for edge in edges}.values())


def _fires(edges: Sequence[Edge]) -> bool:
    needed = max(int(edge.get("min_match") or 1) for edge in edges)
    signs = {edge.head.id for edge in edges}
    return len(signs) >= needed and any(edge.get("combo_role") != "extra" for edge in edges)


def _red_flag(edges: Sequence[Edge]) -> RedFlag:
    first = min(edges, key=lambda edge: _ACTIONS.index(edge.get("action")))
    matched = tuple(dict.fromkeys(edge.head.name for edge in edges))
    return RedFlag(first.tail, first.get("action"), first.get("combo_id"), matched, tuple(edges))


def _position(edge: Edge, value: float) -> str:
    low, high = edge.properties.get("low"), edge.properties.get("high")
    if low is not None and value < float(low):
        return "low"
    if high is not None and value > float(high):
        return "high"
    return "normal"


def _rules_out(edge: Edge, position: str) -> bool:
    """A normal value speaks against a disease whose test is used to exclude it."""
    return position == "normal" and edge.get("role") == "rule_out"
