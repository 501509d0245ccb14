"""The department of a question that nobody chose one for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.chat.department import departments_named, vote
from knowledge_base.chunk import chunk_document
from knowledge_base.document import read_documents
from retrieval.graph import MedicalGraph
from retrieval.types import Hit

KNOWLEDGE = Path(__file__).parents[2] / "knowledge_base"


@pytest.fixture(scope="module")
def graph() -> MedicalGraph:
    return MedicalGraph.load(KNOWLEDGE / "graph")


@pytest.mark.parametrize(
    ("question", "department"),
    [
        ("他汀伤肝吗", "cardiology"),
        ("开瑞坦吃了犯困", "allergy"),
        ("我爸中风后老是呛水", "stroke_rehab"),
        ("今天天气怎么样", None),
    ],
)
def test_what_is_named_speaks_for_a_department(
    graph: MedicalGraph, question: str, department: str | None
) -> None:
    assert vote((), departments_named(graph)(question)) == department


def test_passages_outweigh_what_is_named(graph: MedicalGraph) -> None:
    document = read_documents(KNOWLEDGE / "documents" / "allergy")[0]
    passage = Hit(replace(chunk_document(document)[0], department="allergy"), 0.9)
    assert vote([passage], departments_named(graph)("他汀伤肝吗")) == "allergy"
