"""The Milvus collection: its fields, its indexes, and how a chunk becomes a row and back.

Owns field names and sizes; leaves connections, searching and errors to `retrieval.store`. Keyword search
runs on the `tokens` field, which holds words segmented by `retrieval.tokens` joined by blanks: the analyzer
only has to split at blanks, which Milvus Lite ("standard", a regular expression) and a server
("whitespace") do alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from pymilvus import CollectionSchema, DataType, Function, FunctionType, MilvusClient
from pymilvus.milvus_client.index import IndexParams

from retrieval.types import Chunk, Matrix, SparseVector, Stored
from retrieval.vectors import pack_rows, unpack_rows

MAX_FIELD_CHARS = 65_535
"""Milvus' limit for a VARCHAR (bytes on a server)."""
NO_PAGE = -1

PLAIN_FIELDS = (
    "document_id", "title", "section", "text", "department", "kind", "audience", "source", "year",
    "expires_on", "previous_id", "next_id",
)  # fmt: skip
OUTPUT_FIELDS = ["chunk_id", *PLAIN_FIELDS, "tokens", "page", "details", "vectors"]
CHUNK_FIELDS = ["chunk_id", *PLAIN_FIELDS, "page", "details"]
_SIZES = {"text": MAX_FIELD_CHARS, "title": 2_048, "section": 2_048, "source": 4_096}


def build_schema(client: MilvusClient, *, dim: int, sparse: bool, lite: bool) -> CollectionSchema:
    """The collection's fields: dense (dim,), BM25 made by a function from `tokens`, lexical weights if
    `sparse`.
    """
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("chunk_id", DataType.VARCHAR, is_primary=True, max_length=256)
    for name in PLAIN_FIELDS:
        schema.add_field(name, DataType.VARCHAR, max_length=_SIZES.get(name, 256))
    analyzer = {"tokenizer": "standard" if lite else "whitespace"}
    schema.add_field(
        "tokens", DataType.VARCHAR, max_length=MAX_FIELD_CHARS, enable_analyzer=True, analyzer_params=analyzer
    )
    schema.add_field("page", DataType.INT64)
    schema.add_field("details", DataType.JSON)
    schema.add_field("vectors", DataType.VARCHAR, max_length=MAX_FIELD_CHARS)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=dim)
    schema.add_field("keywords_bm25", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        Function(
            name="bm25",
            function_type=FunctionType.BM25,
            input_field_names=["tokens"],
            output_field_names=["keywords_bm25"],
        )
    )
    if sparse:
        schema.add_field("lexical", DataType.SPARSE_FLOAT_VECTOR)
    return schema


def build_indexes(client: MilvusClient, *, sparse: bool, lite: bool) -> IndexParams:
    """Dense: exact on Lite (20,000 passages are a few ms), HNSW on a server. BM25 and IP: inverted lists."""
    indexes = client.prepare_index_params()
    if lite:
        indexes.add_index("dense", index_type="FLAT", metric_type="COSINE")
    else:
        indexes.add_index(
            "dense", index_type="HNSW", metric_type="COSINE", params={"M": 32, "efConstruction": 200}
        )
    indexes.add_index(
        "keywords_bm25",
        index_type="SPARSE_INVERTED_INDEX",
        metric_type="BM25",
        params={"bm25_k1": 1.2, "bm25_b": 0.75},
    )
    if sparse:
        indexes.add_index("lexical", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    return indexes


def to_row(
    chunk: Chunk, tokens: str, vector: Matrix, sentence_vectors: Matrix, sparse: SparseVector | None
) -> dict[str, Any]:
    """A chunk as Milvus takes it; `vectors` holds the passage's vector first, then the sentences'."""
    rows = np.concatenate([vector[None, :], sentence_vectors.reshape(-1, vector.shape[0])])
    row: dict[str, Any] = {name: getattr(chunk, name) or "" for name in PLAIN_FIELDS}
    row |= {
        "chunk_id": chunk.chunk_id,
        "tokens": tokens[:MAX_FIELD_CHARS],
        "page": NO_PAGE if chunk.page is None else chunk.page,
        "details": {
            "sentences": list(chunk.sentences),
            "sentence_sources": list(chunk.sentence_sources),
            "keywords": list(chunk.keywords),
        },
        "vectors": pack_rows(rows, max_chars=MAX_FIELD_CHARS),
        "dense": vector.tolist(),
    }
    if sparse is not None:
        row["lexical"] = sparse
    return row


def to_chunk(row: Mapping[str, Any]) -> Chunk:
    """The chunk that `to_row` stored."""
    details = row["details"]
    if isinstance(details, str | bytes):
        details = json.loads(details)
    page = int(row["page"])
    plain = {name: cast(str, row[name]) for name in PLAIN_FIELDS}
    for name in ("previous_id", "next_id", "expires_on"):
        plain[name] = plain[name] or None  # type: ignore[assignment]
    return Chunk(
        chunk_id=row["chunk_id"],
        page=None if page == NO_PAGE else page,
        sentences=tuple(details["sentences"]),
        sentence_sources=tuple(details["sentence_sources"]),
        keywords=tuple(details["keywords"]),
        **plain,
    )


def to_stored(row: Mapping[str, Any], *, dim: int) -> Stored:
    """The tokens and vectors that `to_row` stored."""
    rows = unpack_rows(row["vectors"], dim=dim)
    return Stored(tokens=tuple(row["tokens"].split()), vector=rows[0], sentence_vectors=rows[1:])
