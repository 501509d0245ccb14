"""Holds the medical graph in memory and answers look-ups: names, mentions, edges of a node, its classes.

Owns name resolution and inheritance along classes and ingredients. What an interaction is lies in
`graph_interactions`, the schema's competency questions in `graph_questions`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import networkx as nx

from .graph_schema import RELATIONS
from .graph_text import Guard, Lexicon, matching_key, normalise, without_salt
from .graph_types import Alias, Edge, Entity, Mention

_HIDDEN = frozenset({"draft", "retired"})
_Meaning = tuple[Entity, str, bool]
"""A node a name stands for, the kind of name, and whether it must be asked back."""


class GraphStore:
    """Immutable after construction and free of input/output, so it may be shared between threads.

    Edges with status draft or retired are not served; `statuses` narrows further (a hospital may demand
    `clinician` only). Merged nodes are followed to the node that replaced them.
    """

    def __init__(
        self,
        entities: Mapping[str, Entity],
        edges: Iterable[Edge],
        aliases: Iterable[Alias],
        guards: Mapping[str, Guard],
        *,
        statuses: frozenset[str] | None = None,
    ) -> None:
        self._entities = dict(entities)
        self._graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        active = [entity.id for entity in self._entities.values() if entity.status == "active"]
        self._graph.add_nodes_from(active)
        for edge in edges:
            shown = edge.status not in _HIDDEN if statuses is None else edge.status in statuses
            if shown:
                self._graph.add_edge(edge.head.id, edge.tail.id, key=edge.id, edge=edge)
        self._names: dict[str, list[_Meaning]] = defaultdict(list)
        self._bare_names: dict[str, list[_Meaning]] = defaultdict(list)
        self._aliases_of: dict[str, list[Alias]] = defaultdict(list)
        surfaces = self._index_names(list(aliases))
        self._lexicon = Lexicon(surfaces, guards)
        self._lineage: dict[str, tuple[tuple[Entity, int], ...]] = {}

    def _index_names(self, aliases: Sequence[Alias]) -> set[str]:
        surfaces: set[str] = set()
        for entity in self._entities.values():
            if entity.status == "active":
                surfaces.add(entity.name)
                self._add_name(entity.name, entity, "name", ambiguous=False)
        for alias in aliases:
            entity = self._current(alias.node_id)
            surfaces.add(alias.text)
            self._aliases_of[entity.id].append(alias)
            self._add_name(alias.text, entity, alias.kind, ambiguous=alias.ambiguous)
        return surfaces

    def _add_name(self, name: str, entity: Entity, kind: str, *, ambiguous: bool) -> None:
        """Drugs are also found without their form; other names keep every character (脱敏滴剂 is not 脱敏)."""
        _add_meaning(self._names[matching_key(name)], (entity, kind, ambiguous))
        if entity.type == "drug":
            _add_meaning(self._bare_names[normalise(name)], (entity, kind, ambiguous))

    def _current(self, entity_id: str) -> Entity:
        entity = self._entities[entity_id]
        while entity.status == "merged" and entity.merged_into in self._entities:
            entity = self._entities[entity.merged_into]
        return entity

    # Names

    def normalise(self, text: str) -> str:
        """The key under which a name is compared (schema section 5)."""
        return normalise(text)

    def _lookup(self, name: str) -> list[_Meaning]:
        key = normalise(name)
        for known in (
            self._names.get(matching_key(name)),
            self._names.get(key),
            self._bare_names.get(key),
            self._bare_names.get(without_salt(key)),
        ):
            if known:
                return known
        return []

    def resolve(self, name: str) -> list[Entity]:
        """The nodes `name` stands for: a canonical name, an alias or an id; several when it is ambiguous."""
        if name in self._entities:
            return [self._current(name)]
        return [entity for entity, _, _ in self._lookup(name)]

    def is_ambiguous(self, name: str) -> bool:
        """True when the name must be asked back (several nodes, or easily mistaken for another)."""
        known = self._lookup(name)
        return len(known) > 1 or any(ambiguous for _, _, ambiguous in known)

    def mentions(self, text: str) -> list[Mention]:
        """Entities named in `text` in reading order, longest name first where names overlap.

        A name of several nodes gives one mention for each, at the same place, marked ambiguous.
        """
        found: list[Mention] = []
        for span in self._lexicon.find(text):
            known = self._names[span.key]
            for entity, kind, ambiguous in known:
                found.append(
                    Mention(
                        span.start, span.end, text[span.start : span.end], entity, kind,
                        ambiguous or len(known) > 1,
                    )
                )  # fmt: skip
        return found

    def aliases_of(self, entity_id: str) -> tuple[Alias, ...]:
        """All other names of a node."""
        return tuple(self._aliases_of.get(entity_id, ()))

    # Nodes and edges

    def entity(self, entity_id: str) -> Entity | None:
        """The node, following a merge; None when there is none."""
        return self._current(entity_id) if entity_id in self._entities else None

    def entities(self) -> Iterator[Entity]:
        """All active nodes."""
        return (entity for entity in self._entities.values() if entity.status == "active")

    def edges(self) -> Iterator[Edge]:
        """All served edges."""
        return (data["edge"] for _, _, data in self._graph.edges(data=True))

    def outgoing(self, entity_id: str, relation: str) -> list[Edge]:
        """Edges that start at the node; those of a symmetric relation also when they end there."""
        found = self._between(self._graph.out_edges, entity_id, relation)
        if RELATIONS[relation].symmetric:
            found += self._between(self._graph.in_edges, entity_id, relation)
        return found

    def incoming(self, entity_id: str, relation: str) -> list[Edge]:
        """Edges that end at the node."""
        return self._between(self._graph.in_edges, entity_id, relation)

    def touching(self, entity_id: str) -> list[Edge]:
        """Every edge of the node, in both directions."""
        if entity_id not in self._graph:
            return []
        both = (self._graph.out_edges, self._graph.in_edges)
        return [data["edge"] for view in both for _, _, data in view(entity_id, data=True)]

    def _between(self, view: object, entity_id: str, relation: str) -> list[Edge]:
        if entity_id not in self._graph:
            return []
        triples = view(entity_id, data=True)  # type: ignore[operator]
        return [data["edge"] for _, _, data in triples if data["edge"].relation == relation]

    # Classes and ingredients

    def lineage(self, entity_id: str) -> tuple[tuple[Entity, int], ...]:
        """The node itself (0), then its ingredients and classes with their distance, nearest first."""
        known = self._lineage.get(entity_id)
        if known is None:
            known = self._lineage[entity_id] = tuple(self._climb(entity_id))
        return known

    def _climb(self, entity_id: str) -> Iterator[tuple[Entity, int]]:
        start = self.entity(entity_id)
        if start is None:
            return
        seen = {start.id}
        level, distance = [start], 0
        while level:
            yield from ((entity, distance) for entity in level)
            level = self._parents(level, seen)
            distance += 1

    def _parents(self, level: Iterable[Entity], seen: set[str]) -> list[Entity]:
        above: list[Entity] = []
        for entity in level:
            for edge in self.outgoing(entity.id, "belongs_to_class"):
                ingredient = self.entity(edge.get("component"))
                for parent in (ingredient, edge.tail):
                    if parent is not None and parent.id not in seen:
                        seen.add(parent.id)
                        above.append(parent)
        return above

    def members(self, class_id: str) -> list[Entity]:
        """Drugs below a class, through its subclasses, in file order."""
        found: dict[str, Entity] = {}
        for edge in self.incoming(class_id, "belongs_to_class"):
            if edge.head.type == "drug":
                found[edge.head.id] = edge.head
            else:
                found.update((drug.id, drug) for drug in self.members(edge.head.id))
        return list(found.values())

    def ingredients(self, drug_id: str) -> dict[str, Edge | None]:
        """Names of a drug's active ingredients with the edge that says so; its own name for a single drug."""
        edges = self.outgoing(drug_id, "belongs_to_class")
        parts = {self._component_name(edge): edge for edge in edges if edge.get("component")}
        if parts:
            return dict(parts)
        drug = self.entity(drug_id)
        return {} if drug is None or drug.type != "drug" else {drug.name: edges[0] if edges else None}

    def _component_name(self, edge: Edge) -> str:
        ingredient = self.entity(edge.get("component"))
        return edge.get("component") if ingredient is None else ingredient.name

    def inherited(self, entity_id: str, relation: str) -> list[Edge]:
        """Edges of the node and of what it belongs to; for the same other end the nearest statement wins."""
        nearest: dict[tuple[str, str], int] = {}
        found: list[Edge] = []
        for ancestor, distance in self.lineage(entity_id):
            for edge in self.outgoing(ancestor.id, relation):
                end = (edge.other(ancestor.id).id, edge.get("kind"))
                if nearest.setdefault(end, distance) == distance:
                    found.append(edge)
        return [edge for edge in found if not edge.properties.get("negated")]


def _add_meaning(known: list[_Meaning], meaning: _Meaning) -> None:
    if all(other.id != meaning[0].id for other, _, _ in known):
        known.append(meaning)
