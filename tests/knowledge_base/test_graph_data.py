"""The shipped graph is complete, and the check finds each kind of fault when one is put in."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from knowledge_base.graph_check import FOLDER, check, main

Rows = list[dict[str, str]]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "graph"))


def edit(path: Path, change: Callable[[Rows], None]) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or ())
        rows = list(reader)
    change(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def first(rows: Rows, relation: str) -> dict[str, str]:
    return next(row for row in rows if row["relation"] == relation)


def without(row: dict[str, str], name: str) -> None:
    properties = json.loads(row["properties"])
    del properties[name]
    row["properties"] = json.dumps(properties, ensure_ascii=False)


def test_the_shipped_graph_has_no_fault() -> None:
    assert check(FOLDER, FOLDER.parent / "sources.toml") == []


EDGE_FAULTS: list[tuple[str, Callable[[Rows], None], str]] = [
    ("no source", lambda rows: rows[0].update(source_title=""), "source title or publisher is missing"),
    ("no year", lambda rows: rows[0].update(source_year="soon"), "neither a year"),
    ("no topic", lambda rows: rows[0].update(topic_id=""), "is not a topic"),
    ("no claim", lambda rows: rows[0].update(claim=""), "0 characters"),
    ("long claim", lambda rows: rows[0].update(claim="长" * 81), "81 characters"),
    ("evidence", lambda rows: rows[0].update(evidence_level="A"), "unknown evidence level"),
    ("status", lambda rows: rows[0].update(status="ready"), "unknown status"),
    ("date", lambda rows: rows[0].update(updated_at="yesterday"), "must be a date"),
    ("wrong id", lambda rows: rows[0].update(edge_id="e:000000000000"), "id should be"),
    ("no severity", lambda rows: without(first(rows, "interacts_with"), "severity"), "severity is missing"),
    ("no action", lambda rows: without(first(rows, "red_flag_of"), "action"), "action is missing"),
    ("no key feature", lambda rows: without(first(rows, "differential_of"), "key_feature"), "key_feature"),
    ("empty range", lambda rows: first(rows, "normal_range").update(properties='{"unit":"x"}'), "low or high"),
    (
        "swapped ends",
        lambda rows: (lambda row: row.update(head=row["tail"], tail=row["head"]))(first(rows, "differential_of")),
        "smaller id",
    ),
    (
        "disease without symptom",
        lambda rows: rows.__setitem__(
            slice(None), [r for r in rows if (r["head"], r["relation"]) != ("dis:gout", "has_symptom")]
        ),
        "dis:gout: no has_symptom",
    ),
    (
        "cycle of classes",
        lambda rows: rows.append(
            {**first(rows, "belongs_to_class"), "edge_id": "e:1", "head": "cls:antiplatelet",
             "tail": "cls:p2y12_inhibitor"}
        ),
        "belongs_to_class: cycle",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fault"), [case[1:] for case in EDGE_FAULTS], ids=[c[0] for c in EDGE_FAULTS]
)
def test_a_faulty_edge_is_found(copy: Path, change: Callable[[Rows], None], fault: str) -> None:
    edit(copy / "edges.csv", change)
    assert any(fault in found for found in check(copy))


def test_a_faulty_node_is_found(copy: Path) -> None:
    def spoil(rows: Rows) -> None:
        disease = next(row for row in rows if row["type"] == "disease")
        disease["properties"] = '{"urgency": "soon"}'
        rows[-1]["name"] = rows[-2]["name"]

    edit(copy / "nodes.csv", spoil)
    faults = "\n".join(check(copy))
    assert "urgency='soon'" in faults
    assert "is also that of" in faults


def test_a_name_of_two_nodes_must_be_marked_ambiguous(copy: Path) -> None:
    row = {"alias": "波立维", "node_id": "drg:aspirin", "kind": "brand", "ambiguous": "false"}
    edit(copy / "aliases.csv", lambda rows: rows.append({**row, "source_title": "", "source_year": ""}))
    assert any("not marked ambiguous" in fault for fault in check(copy))


def test_a_source_that_is_not_listed_is_found(copy: Path, tmp_path: Path) -> None:
    listed = tmp_path / "sources.toml"
    listed.write_text('[[source]]\ntitle = "x"\npublisher = "y"\nyear = "2020"\n', encoding="utf-8")
    faults = check(copy, listed)
    assert any("is not in sources.toml" in fault for fault in faults)
    assert not any("说明书" in fault for fault in faults)


def test_an_unreadable_graph_is_one_fault_and_exit_1(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(copy / "edges.csv", lambda rows: rows[3].update(tail="drg:nowhere"))
    assert main([str(copy)]) == 1
    assert "edges.csv:5" in capsys.readouterr().out
    assert main([str(FOLDER)]) == 0
