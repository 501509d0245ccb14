"""Loading: fast, faults named with file and line, and only what may be served is served."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from time import perf_counter

import pytest

from retrieval.graph import GraphError, MedicalGraph

FOLDER = Path(__file__).parents[2] / "knowledge_base" / "graph"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "graph"))


def rewrite(path: Path, row: int, column: str, value: str) -> int:
    """Change one cell of data row `row` (from 1); the line on which it stands."""
    with path.open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))
    table[row][table[0].index(column)] = value
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    return row + 1


def test_the_graph_loads_in_less_than_300_ms() -> None:
    def seconds() -> float:
        start = perf_counter()
        MedicalGraph.load(FOLDER)
        return perf_counter() - start

    assert min(seconds() for _ in range(4)) < 0.3


@pytest.mark.parametrize(
    ("file", "column", "value", "message"),
    [
        ("nodes.csv", "type", "planet", "unknown type"),
        ("nodes.csv", "id", "drg:wrong_prefix", "must start with"),
        ("nodes.csv", "name", "", "name is empty"),
        ("nodes.csv", "properties", "{broken", "not JSON"),
        ("nodes.csv", "properties", "[]", "JSON object"),
        ("edges.csv", "head", "dis:nowhere", "is not a node"),
        ("edges.csv", "relation", "related_to", "unknown relation"),
        ("edges.csv", "relation", "measured_by", "does not join"),
        ("aliases.csv", "node_id", "drg:nowhere", "is not a node"),
        ("aliases.csv", "alias", "药", "too short"),
        ("aliases.csv", "ambiguous", "maybe", "true or false"),
    ],
)
def test_a_fault_is_named_with_file_and_line(
    copy: Path, file: str, column: str, value: str, message: str
) -> None:
    line = rewrite(copy / file, 7, column, value)
    with pytest.raises(GraphError, match=message) as caught:
        MedicalGraph.load(copy)
    assert caught.value.path.name == file
    assert caught.value.line == line


def test_files_that_cannot_be_read_are_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="not found"):
        MedicalGraph.load(tmp_path / "nowhere")
    (copy / "edges.csv").write_bytes(b"\xff\xfe edge_id")
    with pytest.raises(GraphError, match="UTF-8"):
        MedicalGraph.load(copy)
    (copy / "edges.csv").write_text("a,b\n", encoding="utf-8")
    with pytest.raises(GraphError, match="columns must be"):
        MedicalGraph.load(copy)


def test_retired_statements_are_not_served(copy: Path) -> None:
    before = MedicalGraph.load(copy).interactions(["硝酸甘油", "万艾可"]).interactions[0].edge.id
    with (copy / "edges.csv").open(encoding="utf-8", newline="") as file:
        row = next(n for n, cells in enumerate(csv.reader(file)) if cells[0] == before)
    rewrite(copy / "edges.csv", row, "status", "retired")
    after = MedicalGraph.load(copy).interactions(["硝酸甘油", "万艾可"]).interactions[0].edge.id
    assert after != before


def test_a_hospital_may_serve_signed_statements_only(copy: Path) -> None:
    assert list(MedicalGraph.load(copy, statuses=frozenset({"clinician"})).edges()) == []
    rewrite(copy / "edges.csv", 1, "status", "clinician")
    assert len(list(MedicalGraph.load(copy, statuses=frozenset({"clinician"})).edges())) == 1


def test_a_merged_node_leads_to_its_successor(copy: Path) -> None:
    with (copy / "nodes.csv").open(encoding="utf-8", newline="") as file:
        row = next(n for n, cells in enumerate(csv.reader(file)) if cells[0] == "drg:tongxinluo")
    rewrite(copy / "nodes.csv", row, "status", "merged")
    rewrite(copy / "nodes.csv", row, "merged_into", "drg:danshen_diwan")
    graph = MedicalGraph.load(copy)
    assert [entity.id for entity in graph.resolve("通心络")] == ["drg:danshen_diwan"]
    assert [entity.id for entity in graph.resolve("drg:tongxinluo")] == ["drg:danshen_diwan"]
