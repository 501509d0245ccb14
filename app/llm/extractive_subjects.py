"""What a text is about, for the extractive generator: ids of the medical graph, with the classes a drug belongs to.

Owns which kinds of node count as a subject; finding names in text is the graph's business.
"""

from __future__ import annotations

from functools import lru_cache, partial

from app.llm.answer_fit import ALSO, EntitiesOf
from retrieval.graph import MedicalGraph

SUBJECT_TYPES = frozenset({"drug", "drug_class", "disease", "procedure", "test", "indicator"})
BESIDE_TYPES = frozenset({"symptom", "food", "lifestyle"})
"""What a question can be about as well; it does not make a sentence a sentence on another subject."""
REMEMBERED = 4096
"""Texts whose subjects are kept: the sentences of the knowledge base come again and again."""


def subjects_of(graph: MedicalGraph) -> EntitiesOf:
    """A function from text to the ids of what it names, for use as `EntitiesOf`.

    The classes of a drug and the general names that a longer one ends in are marked "in:", the words used "as:",
    symptoms, foods and habits "also:".
    """

    general = lru_cache(maxsize=REMEMBERED)(partial(_general, graph))

    @lru_cache(maxsize=REMEMBERED)
    def named(text: str) -> frozenset[str]:
        everything = graph.mentions(text)
        mentions = [m for m in everything if m.entity.type in SUBJECT_TYPES]
        beside = {f"{ALSO}{m.entity.id}" for m in everything if m.entity.type in BESIDE_TYPES}
        own = {m.entity.id for m in mentions}
        above = {entity.id for one in own for entity, distance in graph.lineage(one) if distance > 0}
        above |= {
            one for m in mentions if m.entity.type == "disease" for one in general(text[m.start : m.end])
        }
        names = {f"as:{text[m.start : m.end]}" for m in mentions}
        return frozenset(own | names | beside | {f"in:{one}" for one in above})

    return named


def _general(graph: MedicalGraph, name: str) -> frozenset[str]:
    """Ids of the diseases that a longer name ends in: 稳定型心绞痛 is an 心绞痛."""
    shorter = [name[start:] for start in range(1, len(name) - 1)]
    return frozenset(e.id for ending in shorter for e in graph.resolve(ending) if e.type == "disease")
