"""The medical graph as the rest of the service uses it: load it once, ask it anything.

Owns loading, query expansion, search, neighbourhoods and the way to documents. The parts it is made of:
`graph_load` (files) -> `graph_store` (names, edges) -> `graph_interactions` -> `graph_questions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

from .graph_load import load_aliases, load_edges, load_entities, load_guards
from .graph_questions import CompetencyQuestions
from .graph_text import matching_key, normalise
from .graph_types import (
    Alias,
    AmbiguousName,
    Comparison,
    Edge,
    Entity,
    FindingKind,
    GraphError,
    Interaction,
    InteractionReport,
    Interpretation,
    Mention,
    Neighbourhood,
    RedFlag,
    Referral,
    Severity,
    Source,
)

__all__ = [
    "Alias",
    "AmbiguousName",
    "Comparison",
    "Edge",
    "Entity",
    "FindingKind",
    "GraphError",
    "Interaction",
    "InteractionReport",
    "Interpretation",
    "MedicalGraph",
    "Mention",
    "Neighbourhood",
    "RedFlag",
    "Referral",
    "Severity",
    "Source",
]

_MAX_SYNONYMS = 2


class MedicalGraph(CompetencyQuestions):
    """The whole graph; immutable, without input/output after `load`, safe to share between threads."""

    @classmethod
    def load(cls, folder: Path | str, *, statuses: frozenset[str] | None = None) -> Self:
        """Read nodes.csv, edges.csv, aliases.csv and, when there, guards.csv from `folder`.

        `statuses` restricts the served edges, for example to those a clinician has signed.

        Raises:
            GraphError: a file is missing or a row cannot be used; it names file and line.
        """
        home = Path(folder)
        entities = load_entities(home / "nodes.csv")
        edges = load_edges(home / "edges.csv", entities)
        aliases = load_aliases(home / "aliases.csv", entities)
        return cls(entities, edges, aliases, load_guards(home / "guards.csv"), statuses=statuses)

    def expand(self, text: str) -> tuple[str, ...]:
        """Words to add to a query: the canonical name behind a brand, lay word or abbreviation, and exact
        synonyms.

        Classes and neighbours are left out, for they would pull in other topics. Nothing that the text
        already says; empty when the text names nothing known.
        """
        said = matching_key(text)
        words: dict[str, None] = {}
        for mention in self.mentions(text):
            words.setdefault(mention.entity.name)
            synonyms = [alias.text for alias in self.aliases_of(mention.entity.id) if alias.kind == "generic"]
            words.update(dict.fromkeys(synonyms[:_MAX_SYNONYMS]))
        return tuple(word for word in words if matching_key(word) not in said)

    def search(self, query: str, limit: int = 20) -> tuple[Entity, ...]:
        """Entities by name or alias: exact first, then by prefix, then containing; shorter names first."""
        key = normalise(query)
        if not key:
            return ()
        ranked: dict[str, tuple[int, int, Entity]] = {}
        for name, known in self._names.items():
            at = name.find(key)
            if at >= 0:
                rank = 0 if name == key else 1 if at == 0 else 2
                for entity, _, _ in known:
                    best = ranked.get(entity.id)
                    if best is None or (rank, len(name)) < best[:2]:
                        ranked[entity.id] = (rank, len(name), entity)
        ordered = sorted(ranked.values(), key=lambda item: (item[0], item[1], item[2].id))
        return tuple(entity for _, _, entity in ordered[:limit])

    def neighbourhood(self, entity_id: str, *, limit: int = 60) -> Neighbourhood:
        """The node and at most `limit` edges next to it, warnings before the rest; empty for an unknown id."""
        centre = self.entity(entity_id)
        if centre is None:
            return Neighbourhood((), ())
        edges = sorted(self.touching(centre.id), key=lambda edge: (_edge_rank(edge), edge.relation, edge.id))
        shown = tuple({edge.id: edge for edge in edges}.values())[:limit]
        nodes = {centre.id: centre}
        for edge in shown:
            end = edge.other(centre.id)
            nodes.setdefault(end.id, end)
        return Neighbourhood(tuple(nodes.values()), shown)

    def topics_of(self, entity_ids: Iterable[str]) -> tuple[str, ...]:
        """Topic ids that write about these nodes, the nodes' own first, then by number of statements."""
        counts: dict[str, int] = {}
        for entity_id in dict.fromkeys(entity_ids):
            entity = self.entity(entity_id)
            if entity is None:
                continue
            if entity.topic_id:
                counts[entity.topic_id] = counts.get(entity.topic_id, 0) + 1000
            for edge in self.touching(entity.id):
                counts[edge.topic_id] = counts.get(edge.topic_id, 0) + 1
        return tuple(sorted(counts, key=lambda topic: (-counts[topic], topic)))

    def related_documents(self, topic_ids: Iterable[str], *, limit: int = 5) -> tuple[str, ...]:
        """Other topics that write about what these topics are about, closest first."""
        given = set(topic_ids)
        own = [entity.id for entity in self.entities() if entity.topic_id in given]
        return tuple(topic for topic in self.topics_of(own) if topic not in given)[:limit]


def _edge_rank(edge: Edge) -> int:
    if edge.get("severity") in {"contraindicated", "major"} or edge.get("level") == "absolute":
        return 0
    return 1 if edge.relation in {"red_flag_of", "contraindicated_for", "interacts_with"} else 2
