"""What a text is about, for the extractive generator: ids of the medical graph, with the classes a drug belongs to.

Owns which kinds of node count as a subject; finding names in text is the graph's business.
"""

from __future__ import annotations

from functools import lru_cache

from app.llm.answer_fit import EntitiesOf
from retrieval.graph import MedicalGraph

SUBJECT_TYPES = frozenset({"drug", "drug_class", "disease", "procedure", "test", "indicator"})
REMEMBERED = 4096
"""Texts whose subjects are kept: the sentences of the knowledge base come again and again."""


def subjects_of(graph: MedicalGraph) -> EntitiesOf:
    """A function from text to the ids of what it names; classes of a named drug are marked "in:"."""

    @lru_cache(maxsize=REMEMBERED)
    def named(text: str) -> frozenset[str]:
        own = {m.entity.id for m in graph.mentions(text) if m.entity.type in SUBJECT_TYPES}
        above = {f"in:{entity.id}" for drug in own for entity, distance in graph.lineage(drug) if distance > 0}
        return frozenset(own | above)

    return named
