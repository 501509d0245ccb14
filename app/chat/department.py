"""Which department a question belongs to when the user chose none: what was found votes, what is named breaks ties.

Owns the vote; which adapter the department then gets is `app.adapters.choice`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from retrieval.graph import MedicalGraph
from retrieval.types import Hit

VOTING_HITS = 5
NAMED_WEIGHT = 0.5
"""What everything named counts together, where one sure passage counts 1."""
TOPICS_HEARD = 5
DEPARTMENTS = {"car": "cardiology", "alg": "allergy", "str": "stroke_rehab", "gen": "general"}
"""Departments by the letters that topics of the knowledge plan begin with."""

DepartmentsNamed = Callable[[str], Sequence[str]]
"""The departments of what a text names, one for each topic, closest first."""


def departments_named(graph: MedicalGraph) -> DepartmentsNamed:
    """Departments by the topics that write about the entities of a text."""
    return partial(_named, graph)


def _named(graph: MedicalGraph, text: str) -> list[str]:
    topics = graph.topics_of(m.entity.id for m in graph.mentions(text))
    return [DEPARTMENTS[t[:3]] for t in topics[:TOPICS_HEARD] if t[:3] in DEPARTMENTS]


def vote(hits: Sequence[Hit], named: Sequence[str] = ()) -> str | None:
    """The department whose passages answer best, by the sum of their scores; None when nothing speaks for any."""
    votes: dict[str, float] = defaultdict(float)
    for hit in hits[:VOTING_HITS]:
        votes[hit.chunk.department] += hit.score
    for department in named:
        votes[department] += NAMED_WEIGHT / len(named)
    return max(votes, key=lambda name: votes[name]) if votes else None
