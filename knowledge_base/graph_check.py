"""Checks the graph's files as a whole and lists every fault: `python -m knowledge_base.graph_check [folder]`.

Owns what a complete graph is: required properties, provenance, cardinalities, cycles, ids, aliases. What cannot
even be read (unknown node, wrong ends, broken CSV) is refused by `retrieval.graph_load`.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import networkx as nx

from retrieval.graph_load import load_aliases, load_edges, load_entities, load_guards
from retrieval.graph_schema import (
    ALIAS_KINDS,
    EDGE_STATUS,
    EVIDENCE,
    NODE_REQUIRED,
    NODE_STATUS,
    RELATIONS,
)
from retrieval.graph_text import matching_key
from retrieval.graph_types import Alias, Edge, Entity, GraphError

FOLDER = Path(__file__).parent / "graph"
MAX_CLAIM_CHARS = 80
MIN_COUNTS = {"nodes": 650, "edges": 1600, "aliases": 600, "interactions": 180}
_ID = re.compile(r"[a-z]{3}:[a-z0-9_]{1,40}")
_YEAR = re.compile(r"(?:19|20)\d\d|现行版")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TOPIC = re.compile(r"(?:car|alg|str|gen)-\d{3}")
_LABEL_PUBLISHER = "国家药品监督管理局核准"
_INTERACTION_RELATIONS = frozenset({"interacts_with", "contraindicated_for", "caution_in"})
_AT_LEAST_ONE = {
    "disease": ("has_symptom", "diagnosed_by"),
    "indicator": ("measured_by",),
}


def check(folder: Path = FOLDER, sources: Path | None = None, *, minimum: bool = True) -> list[str]:
    """All faults of the graph in `folder`, empty when there are none.

    `sources` is the list of known sources (sources.toml); without the file titles are not compared.
    `minimum` demands the size that the project promises.
    """
    try:
        entities = load_entities(folder / "nodes.csv")
        edges = load_edges(folder / "edges.csv", entities)
        aliases = load_aliases(folder / "aliases.csv", entities)
        load_guards(folder / "guards.csv")
    except GraphError as fault:
        return [str(fault)]
    faults = [
        *_nodes(entities),
        *_edges(edges),
        *_cycles(edges),
        *_cardinality(entities, edges),
        *_ranges(edges),
        *_aliases(entities, aliases),
        *_sources(edges, sources),
    ]
    return faults + (list(_sizes(entities, edges, aliases)) if minimum else [])


def _nodes(entities: Mapping[str, Entity]) -> Iterator[str]:
    names: dict[str, str] = {}
    for entity in entities.values():
        if not _ID.fullmatch(entity.id):
            yield f"{entity.id}: id is not prefix:[a-z0-9_], at most 40 characters"
        if entity.status not in NODE_STATUS:
            yield f"{entity.id}: unknown status {entity.status!r}"
        if entity.status == "merged" and entity.merged_into not in entities:
            yield f"{entity.id}: merged into an unknown node"
        if len(entity.definition) > MAX_CLAIM_CHARS:
            yield f"{entity.id}: definition longer than {MAX_CLAIM_CHARS} characters"
        if entity.type == "disease" and not _TOPIC.fullmatch(entity.topic_id):
            yield f"{entity.id}: a disease needs its topic_id"
        key = matching_key(entity.name)
        if entity.status == "active" and names.setdefault(key, entity.id) != entity.id:
            yield f"{entity.id}: name {entity.name!r} is also that of {names[key]}"
        yield from _required(entity.id, NODE_REQUIRED.get(entity.type, {}), entity.properties)


def _required(
    where: str, required: Mapping[str, frozenset[str] | None], properties: Mapping[str, object]
) -> Iterator[str]:
    for name, allowed in required.items():
        if name not in properties:
            yield f"{where}: property {name} is missing"
        elif allowed is not None and str(properties[name]) not in allowed:
            yield f"{where}: {name}={properties[name]!r} is not one of {sorted(allowed)}"


def edge_id(edge: Edge) -> str:
    """The id that the schema gives an edge (section 4); a red-flag combination counts as its condition."""
    condition = edge.get("combo_id") or edge.get("condition")
    parts = (edge.head.id, edge.relation, edge.tail.id, edge.source.title, condition)
    digest = hashlib.sha1("|".join(parts).encode(), usedforsecurity=False).hexdigest()
    return f"e:{digest[:12]}"


def _edges(edges: Iterable[Edge]) -> Iterator[str]:
    for edge in edges:
        where = f"{edge.id} {edge.head.id} {edge.relation} {edge.tail.id}"
        relation = RELATIONS[edge.relation]
        if edge.id != edge_id(edge):
            yield f"{where}: id should be {edge_id(edge)}"
        if relation.symmetric and edge.head.id >= edge.tail.id:
            yield f"{where}: a symmetric relation starts at the smaller id"
        if edge.head.id == edge.tail.id:
            yield f"{where}: joins a node to itself"
        if edge.relation == "red_flag_of" and edge.tail.properties.get("urgency") == "routine":
            yield f"{where}: a red flag cannot point to a routine disease"
        if edge.get("kind") == "adverse_effect" and not edge.get("action"):
            yield f"{where}: an adverse effect needs an action"
        yield from _required(where, relation.required, edge.properties)
        yield from _provenance(where, edge)


def _provenance(where: str, edge: Edge) -> Iterator[str]:
    source = edge.source
    if not (source.title and source.publisher):
        yield f"{where}: source title or publisher is missing"
    if not _YEAR.fullmatch(source.year):
        yield f"{where}: source year {source.year!r} is neither a year nor 现行版"
    if edge.evidence not in EVIDENCE:
        yield f"{where}: unknown evidence level {edge.evidence!r}"
    if (edge.evidence == "L") != (source.publisher == _LABEL_PUBLISHER):
        yield f"{where}: evidence level L belongs to drug labels and to nothing else"
    if edge.status not in EDGE_STATUS:
        yield f"{where}: unknown status {edge.status!r}"
    if not _TOPIC.fullmatch(edge.topic_id):
        yield f"{where}: topic_id {edge.topic_id!r} is not a topic"
    if not 0 < len(edge.claim) <= MAX_CLAIM_CHARS:
        yield f"{where}: the claim has {len(edge.claim)} characters, 1 to {MAX_CLAIM_CHARS} allowed"
    if not _DATE.fullmatch(edge.updated_at):
        yield f"{where}: updated_at must be a date"


def _cycles(edges: Iterable[Edge]) -> Iterator[str]:
    directed: dict[str, nx.DiGraph[str]] = defaultdict(nx.DiGraph)
    for edge in edges:
        if RELATIONS[edge.relation].acyclic:
            directed[edge.relation].add_edge(edge.head.id, edge.tail.id)
    for relation, graph in directed.items():
        if not nx.is_directed_acyclic_graph(graph):
            path = " -> ".join(head for head, _ in nx.find_cycle(graph))
            yield f"{relation}: cycle {path}"


def _cardinality(entities: Mapping[str, Entity], edges: Iterable[Edge]) -> Iterator[str]:
    starts = Counter((edge.head.id, edge.relation) for edge in edges if edge.status != "retired")
    for entity in entities.values():
        if entity.status == "active":
            for relation in _AT_LEAST_ONE.get(entity.type, ()):
                if not starts[entity.id, relation]:
                    yield f"{entity.id}: no {relation}"


def _ranges(edges: Iterable[Edge]) -> Iterator[str]:
    seen: Counter[tuple[str, str, str]] = Counter()
    for edge in edges:
        if edge.relation in {"normal_range", "target_range"}:
            low, high = edge.properties.get("low"), edge.properties.get("high")
            if low is None and high is None:
                yield f"{edge.id}: a range needs low or high"
            elif low is not None and high is not None and low > high:
                yield f"{edge.id}: low is above high"
        if edge.relation == "normal_range" and edge.status not in {"retired", "conflict"}:
            seen[edge.head.id, edge.tail.id, edge.get("condition")] += 1
    for key, count in seen.items():
        if count > 1:
            yield f"normal_range {' '.join(key)}: {count} active ranges, one allowed"


def _aliases(entities: Mapping[str, Entity], aliases: Iterable[Alias]) -> Iterator[str]:
    names = {
        matching_key(entity.name): entity.id for entity in entities.values() if entity.status == "active"
    }
    by_key: dict[str, list[Alias]] = defaultdict(list)
    for alias in aliases:
        by_key[matching_key(alias.text)].append(alias)
        if alias.kind not in ALIAS_KINDS:
            yield f"alias {alias.text!r}: unknown kind {alias.kind!r}"
        if alias.kind == "brand" and entities[alias.node_id].type != "drug":
            yield f"alias {alias.text!r}: a brand may only name a drug"
    for key, same in by_key.items():
        nodes = [alias.node_id for alias in same] + ([names[key]] if key in names else [])
        if len(set(nodes)) != len(nodes):
            yield f"alias {same[0].text!r}: given twice for one node, or equal to its name"
        if len(set(nodes)) > 1 and not all(alias.ambiguous for alias in same):
            yield f"alias {same[0].text!r}: names {sorted(set(nodes))} and is not marked ambiguous"


def _sources(edges: Iterable[Edge], listed: Path | None) -> Iterator[str]:
    """Drug labels need not be listed one by one; everything else has to be in the list of sources."""
    if listed is None or not listed.exists():
        return
    with listed.open("rb") as file:
        known = {
            (str(entry["title"]), str(entry["publisher"]), str(entry["year"]))
            for entry in tomllib.load(file).get("source", [])
        }
    used = {edge.source for edge in edges if edge.evidence != "L"}
    for source in sorted(used, key=lambda source: source.title):
        if (source.title, source.publisher, source.year) not in known:
            yield f"source 《{source.title}》 {source.publisher} {source.year} is not in {listed.name}"


def _sizes(entities: Mapping[str, Entity], edges: Iterable[Edge], aliases: Iterable[Alias]) -> Iterator[str]:
    listed = list(edges)
    counts = {
        "nodes": len(entities),
        "edges": len(listed),
        "aliases": len(list(aliases)),
        "interactions": sum(edge.relation in _INTERACTION_RELATIONS for edge in listed),
    }
    for name, least in MIN_COUNTS.items():
        if counts[name] < least:
            yield f"{counts[name]} {name}, at least {least} promised"


def main(arguments: list[str]) -> int:
    """Print every fault; 0 when there is none, 1 otherwise."""
    folder = Path(arguments[0]) if arguments else FOLDER
    faults = check(folder, folder.parent / "sources.toml")
    for fault in faults:
        print(fault)
    print(f"graph: {len(faults)} faults" if faults else "graph: ok")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
