"""Reads the graph's CSV files into entities, edges and aliases; the first fault stops with file and line.

Owns the files' form. What the statements mean and whether they are complete is
`knowledge_base.graph_check`'s.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .graph_schema import ID_PREFIX, RELATIONS
from .graph_text import Guard
from .graph_types import Alias, Edge, Entity, GraphError, Source

NODE_COLUMNS = (
    "id", "type", "name", "name_en", "definition", "topic_id", "status", "merged_into", "properties",
)  # fmt: skip
EDGE_COLUMNS = (
    "edge_id", "head", "relation", "tail", "properties", "source_title", "source_publisher", "source_year",
    "evidence_level", "topic_id", "claim", "status", "updated_at",
)  # fmt: skip
ALIAS_COLUMNS = ("alias", "node_id", "kind", "ambiguous", "source_title", "source_year")
GUARD_COLUMNS = ("alias", "not_after", "not_before")


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each row.

    Raises:
        GraphError: the file is missing, is not UTF-8, lacks a column, or a row has too few or too many cells.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.reader(lines)
            header = tuple(next(reader, ()))
            if header != columns:
                raise GraphError(path, 1, f"columns must be {','.join(columns)}")
            for cells in reader:
                if len(cells) != len(columns):
                    raise GraphError(path, reader.line_num, f"{len(cells)} cells, {len(columns)} expected")
                yield reader.line_num, dict(zip(columns, cells, strict=True))
    except FileNotFoundError as missing:
        raise GraphError(path, 0, "file not found") from missing
    except (UnicodeDecodeError, csv.Error) as broken:
        raise GraphError(path, 0, f"not readable as UTF-8 CSV: {broken}") from broken


def _properties(path: Path, line: int, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except json.JSONDecodeError as broken:
        raise GraphError(path, line, f"properties are not JSON: {broken.msg}") from broken
    if not isinstance(value, dict):
        raise GraphError(path, line, "properties must be a JSON object")
    return value


def load_entities(path: Path) -> dict[str, Entity]:
    """Entities by id.

    Raises:
        GraphError: a type is unknown, an id has the wrong prefix or occurs twice, a name is empty.
    """
    entities: dict[str, Entity] = {}
    for line, row in rows(path, NODE_COLUMNS):
        prefix = ID_PREFIX.get(row["type"])
        if prefix is None:
            raise GraphError(path, line, f"unknown type {row['type']!r}")
        if not row["id"].startswith(f"{prefix}:"):
            raise GraphError(path, line, f"id {row['id']!r} must start with {prefix}:")
        if row["id"] in entities:
            raise GraphError(path, line, f"id {row['id']!r} occurs twice")
        if not row["name"]:
            raise GraphError(path, line, "name is empty")
        properties = _properties(path, line, row.pop("properties"))
        entities[row["id"]] = Entity(**row, properties=properties)
    return entities


def load_edges(path: Path, entities: dict[str, Entity]) -> list[Edge]:
    """All edges, retired ones too.

    Raises:
        GraphError: an end is unknown, the relation is unknown or does not join these types, an id occurs
        twice.
    """
    edges: list[Edge] = []
    seen: set[str] = set()
    for line, row in rows(path, EDGE_COLUMNS):
        ends = [entities.get(row["head"]), entities.get(row["tail"])]
        for name, end in zip(("head", "tail"), ends, strict=True):
            if end is None:
                raise GraphError(path, line, f"{name} {row[name]!r} is not a node")
        head, tail = ends
        assert head is not None
        assert tail is not None
        relation = RELATIONS.get(row["relation"])
        if relation is None:
            raise GraphError(path, line, f"unknown relation {row['relation']!r}")
        if head.type not in relation.heads or tail.type not in relation.tails:
            raise GraphError(path, line, f"{row['relation']} does not join {head.type} to {tail.type}")
        if row["edge_id"] in seen:
            raise GraphError(path, line, f"edge {row['edge_id']} occurs twice")
        seen.add(row["edge_id"])
        edges.append(_edge(row, head, tail, _properties(path, line, row["properties"])))
    return edges


def _edge(row: dict[str, str], head: Entity, tail: Entity, properties: dict[str, Any]) -> Edge:
    return Edge(
        id=row["edge_id"], head=head, relation=row["relation"], tail=tail,
        source=Source(row["source_title"], row["source_publisher"], row["source_year"]),
        evidence=row["evidence_level"], topic_id=row["topic_id"], claim=row["claim"], status=row["status"],
        updated_at=row["updated_at"], properties=properties,
    )  # fmt: skip


def load_aliases(path: Path, entities: dict[str, Entity]) -> list[Alias]:
    """All aliases in file order.

    Raises:
        GraphError: the node is unknown, the alias has one character only, `ambiguous` is not true or false.
    """
    aliases: list[Alias] = []
    for line, row in rows(path, ALIAS_COLUMNS):
        if row["node_id"] not in entities:
            raise GraphError(path, line, f"node {row['node_id']!r} is not a node")
        if len(row["alias"].strip()) < 2:
            raise GraphError(path, line, f"alias {row['alias']!r} is too short")
        if row["ambiguous"] not in {"true", "false"}:
            raise GraphError(path, line, "ambiguous must be true or false")
        aliases.append(
            Alias(
                row["alias"], row["node_id"], row["kind"], row["ambiguous"] == "true",
                row["source_title"], row["source_year"],
            )
        )  # fmt: skip
    return aliases


def load_guards(path: Path) -> dict[str, Guard]:
    """Guards by name; none when the file does not exist."""
    if not path.exists():
        return {}
    return {row["alias"]: Guard(row["not_after"], row["not_before"]) for _, row in rows(path, GUARD_COLUMNS)}
