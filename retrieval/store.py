"""The vector store: collections of chunks in Milvus, one code for a Lite file and for a server.

Owns creating, filling, searching, aliasing and dropping collections; blocking, callers move it off the
event loop. Leaves fusing the routes to `retrieval.fusion`, ordering to the reranker, and what is built when
to `knowledge_base`. Every method raises the tree of `retrieval.errors` and nothing of Milvus' own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import milvus, schema
from retrieval.errors import IndexMissing, IndexRejected, IndexUnavailable
from retrieval.tokens import Tokenizer, default_tokenizer
from retrieval.types import Chunk, Embedding, Filter, Hit, Matrix, SparseVector

Route = list[tuple[str, float]]
"""Chunk ids with their scores, best first."""
DENSE, BM25, LEXICAL = "dense", "bm25", "lexical"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_INSERT_BATCH = 256
_ANSWER_ROWS = 16_384
"""Milvus' limit of rows in one answer."""
_PAGE = 2_000


class MilvusStore:
    """Chunks, their vectors and their words. Thread-safe.

    `alias` names the served collection for everybody who uses this Milvus; `timeout_s` bounds every single
    call.
    """

    def __init__(
        self,
        uri: str,
        *,
        token: str | None = None,
        alias: str = "kb",
        timeout_s: float = 10.0,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.uri = uri
        self.alias = alias
        self._timeout_s = timeout_s
        self._lite = milvus.is_lite(uri)
        self._tokenizer = default_tokenizer() if tokenizer is None else tokenizer
        self._client = milvus.connect(uri, token, timeout_s)
        self._pool = ThreadPoolExecutor(max_workers=6, thread_name_prefix="milvus")
        self._shapes: dict[str, tuple[int, bool]] = {}
        self._closed = False

    def create(self, name: str, *, dim: int, sparse: bool = False) -> None:
        """A new empty collection. Raises IndexRejected when the name is taken or not allowed."""
        if not _NAME.fullmatch(name):
            raise IndexRejected(f"create {name!r}: letters, digits and _ only, not a digit first")
        with milvus.translated(f"create {name}"):
            if self._client.has_collection(name, timeout=self._timeout_s):
                raise IndexRejected(f"create {name}: the collection exists already")
            self._client.create_collection(
                name,
                schema=schema.build_schema(self._client, dim=dim, sparse=sparse, lite=self._lite),
                index_params=schema.build_indexes(self._client, sparse=sparse, lite=self._lite),
                timeout=self._timeout_s,
            )

    def insert(
        self,
        name: str,
        chunks: Sequence[Chunk],
        embedding: Embedding,
        sentence_vectors: Sequence[Matrix],
    ) -> None:
        """Add chunks with `embedding.dense` (n, dim) and, per chunk, the vectors of its sentences (m, dim).

        Visible to searches at once; call `load` after the last batch so that they are also fast.
        """
        if not len(chunks) == len(embedding.dense) == len(sentence_vectors):
            raise IndexRejected(f"insert into {name}: chunks, vectors and sentence vectors differ in number")
        dim, has_lexical = self._shape(name)
        if embedding.dense.shape[1:] != (dim,) or has_lexical == (embedding.sparse is None):
            raise IndexRejected(f"insert into {name}: made for another embedder (the collection has {dim})")
        sparse = [None] * len(chunks) if embedding.sparse is None else embedding.sparse
        for start in range(0, len(chunks), _INSERT_BATCH):
            rows = [
                schema.to_row(
                    chunks[i],
                    self._tokenizer.index_text(chunks[i].embedded_text),
                    embedding.dense[i],
                    sentence_vectors[i],
                    sparse[i],
                )
                for i in range(start, min(start + _INSERT_BATCH, len(chunks)))
            ]
            with milvus.translated(f"insert into {name}"):
                self._client.insert(name, rows, timeout=max(self._timeout_s, 60.0))

    def delete_documents(self, name: str, document_ids: Sequence[str]) -> None:
        """Remove every chunk of these documents; unknown ids are no error."""
        if not document_ids:
            return
        expression = f"document_id in {_literal(document_ids)}"
        with milvus.translated(f"delete in {name}"):
            self._client.delete(name, filter=expression, timeout=self._timeout_s)

    def search(
        self,
        name: str,
        *,
        dense: NDArray[np.float32] | None = None,
        sparse: SparseVector | None = None,
        text: str | None = None,
        limit: int = 100,
        filter: Filter | None = None,  # noqa: A002
    ) -> dict[str, Route]:
        """Best `limit` of each route asked for, searched at the same time.

        `dense` (dim,) searches by cosine, `text` (a question as typed) by BM25, `sparse` by lexical
        weights. The keys are "dense", "bm25" and "lexical"; scores of different routes are on different
        scales.
        """
        dim, has_lexical = self._shape(name)
        if dense is not None and dense.shape != (dim,):
            raise IndexRejected(f"search {name}: a vector of shape {dense.shape}, the collection has {dim}")
        words = self._tokenizer.index_text(text) if text is not None else ""
        ann = {"params": {} if self._lite else {"ef": max(128, 2 * limit)}}
        asks: dict[str, tuple[str, Any, dict[str, Any]]] = {}
        if dense is not None:
            asks[DENSE] = ("dense", dense.astype(np.float32).tolist(), ann)
        if words:
            asks[BM25] = ("keywords_bm25", words, {})
        if sparse and has_lexical:
            asks[LEXICAL] = ("lexical", sparse, {})
        expression = filter_expression(filter)
        if self._closed:
            raise IndexUnavailable("the store is closed")
        routes = {
            route: self._pool.submit(self._search_one, name, *ask, limit, expression)
            for route, ask in asks.items()
        }
        found = {route: future.result() for route, future in routes.items()}
        return ({BM25: []} | found) if text is not None else found

    def get(self, name: str, chunk_ids: Sequence[str]) -> dict[str, Hit]:
        """These chunks with what the reranker needs, by id (score 0); ids that are gone are left out."""
        if not chunk_ids:
            return {}
        dim, _ = self._shape(name)
        rows = self._query(name, schema.OUTPUT_FIELDS, ids=list(chunk_ids))
        return {
            row["chunk_id"]: Hit(chunk=schema.to_chunk(row), score=0.0, stored=schema.to_stored(row, dim=dim))
            for row in rows
        }

    def document_chunks(self, name: str, document_id: str) -> list[Chunk]:
        """All chunks of a document in reading order; empty when it is not in the collection."""
        expression = f"document_id == {_literal(document_id)}"
        rows = self._query(name, schema.CHUNK_FIELDS, expression=expression, limit=_ANSWER_ROWS)
        return _reading_order([schema.to_chunk(row) for row in rows])

    def count(self, name: str) -> int:
        """Chunks that a search can find."""
        return int(self._query(name, ["count(*)"])[0]["count(*)"])

    def document_ids(self, name: str) -> set[str]:
        """Every document that has a chunk in the collection."""
        return {row["document_id"] for row in self._pages(name, ["document_id"])}

    def passages(self, name: str, *, limit: int) -> Iterator[tuple[list[str], str]]:
        """Words and embedded text of up to `limit` chunks."""
        rows = self._pages(name, ["tokens", "title", "section", "text"])
        for row in islice(rows, limit):
            yield row["tokens"].split(), f"{row['title']} {row['section']}\n{row['text']}"

    def collections(self, prefix: str = "") -> list[str]:
        """Collections whose name opens with `prefix`, sorted."""
        with milvus.translated("list collections"):
            return sorted(
                n for n in self._client.list_collections(timeout=self._timeout_s) if n.startswith(prefix)
            )

    def drop(self, name: str) -> None:
        """Remove a collection and its data. Raises IndexRejected for the one that the alias points to."""
        if self.alias_target() == name:
            raise IndexRejected(f"drop {name}: it is being served")
        with milvus.translated(f"drop {name}"):
            self._client.drop_collection(name, timeout=self._timeout_s)
        self._shapes.pop(name, None)

    def alias_target(self) -> str | None:
        """The collection being served, or None when nothing was ever activated."""
        try:
            with milvus.translated(f"look up alias {self.alias}"):
                answer = self._client.describe_alias(self.alias, timeout=self._timeout_s)
        except IndexMissing:
            return None
        target = answer.get("collection_name")
        return None if not target else str(target)

    def point_alias(self, name: str) -> None:
        """Serve `name` from now on, for everybody. Raises IndexMissing when there is no such collection."""
        if name not in self.collections(name):
            raise IndexMissing(f"activate {name}: no such collection")
        target = self.alias_target()
        with milvus.translated(f"activate {name}"):
            if target is None:
                self._client.create_alias(name, self.alias, timeout=self._timeout_s)
            elif target != name:
                self._client.alter_alias(name, self.alias, timeout=self._timeout_s)

    def load(self, name: str) -> None:
        """Write out, load and warm the collection so that the first question is as fast as the next."""
        patience_s = max(self._timeout_s, 300.0)
        with milvus.translated(f"load {name}"):
            self._client.flush(name, timeout=patience_s)
            self._client.load_collection(name, timeout=patience_s)
        dim, sparse = self._shape(name)
        probe = np.full(dim, dim**-0.5, dtype=np.float32)
        self.search(name, dense=probe, text="预热", sparse={1: 1.0} if sparse else None, limit=1)

    def close(self) -> None:
        """Release the connection; a Lite file becomes free for other processes. Idempotent."""
        if not self._closed:
            self._closed = True
            self._pool.shutdown(wait=True)
            milvus.disconnect(self._client, self.uri)

    def _search_one(
        self, name: str, field: str, data: object, params: dict[str, Any], limit: int, expression: str
    ) -> Route:
        with milvus.translated(f"search {name}"):
            answer = self._client.search(
                name,
                data=[data],
                anns_field=field,
                limit=limit,
                filter=expression,
                output_fields=["chunk_id"],
                search_params=params,
                timeout=self._timeout_s,
            )
        # Milvus Lite reports BM25 as a negative distance, a server as a positive score; both sort best first.
        signed = field == "dense"
        return [(hit["chunk_id"], hit["distance"] if signed else abs(hit["distance"])) for hit in answer[0]]

    def _query(
        self,
        name: str,
        fields: list[str],
        *,
        ids: list[str] | None = None,
        expression: str = "",
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Mapping[str, Any]]:
        with milvus.translated(f"read {name}"):
            if ids is not None:
                return list(self._client.get(name, ids=ids, output_fields=fields, timeout=self._timeout_s))
            bounds = {} if limit is None else {"limit": limit, "offset": offset}
            return list(
                self._client.query(
                    name, filter=expression, output_fields=fields, timeout=self._timeout_s, **bounds
                )
            )

    def _pages(self, name: str, fields: list[str]) -> Iterator[Mapping[str, Any]]:
        """All rows, a page at a time."""
        if not self._lite:
            yield from self._iterated(name, fields)
            return
        offset = 0
        while page := self._query(name, fields, offset=offset, limit=_PAGE):
            yield from page
            offset += len(page)

    def _iterated(self, name: str, fields: list[str]) -> Iterator[Mapping[str, Any]]:
        """A server's own iterator reads past its limit of rows in an answer; Milvus Lite has none that is
        quiet.
        """
        with milvus.translated(f"read {name}"):
            pages = self._client.query_iterator(
                name, batch_size=_PAGE, output_fields=fields, timeout=self._timeout_s
            )
            try:
                while page := pages.next():
                    yield from page
            finally:
                pages.close()

    def _shape(self, name: str) -> tuple[int, bool]:
        """Dimensions, and whether there are lexical weights; looked up once per collection."""
        if name not in self._shapes:
            with milvus.translated(f"describe {name}"):
                fields = self._client.describe_collection(name, timeout=self._timeout_s)["fields"]
            by_name = {field["name"]: field for field in fields}
            self._shapes[name] = (int(by_name["dense"]["params"]["dim"]), "lexical" in by_name)
        return self._shapes[name]


def filter_expression(wanted: Filter | None) -> str:
    """A Milvus filter; values are quoted, so that nothing a caller passes can change the expression."""
    if wanted is None:
        return ""
    parts: list[str] = []
    if wanted.department is not None:
        parts.append(f"department == {_literal(wanted.department)}")
    if wanted.audience is not None:
        parts.append(f"audience == {_literal(wanted.audience)}")
    if wanted.on_date is not None:
        parts.append(f'(expires_on == "" or expires_on >= {_literal(wanted.on_date)})')
    return " and ".join(parts)


def _literal(value: str | Sequence[str]) -> str:
    """A string or list of strings as Milvus' grammar takes it: JSON quoting, characters kept as they are."""
    return json.dumps(value if isinstance(value, str) else list(value), ensure_ascii=False)


def _reading_order(chunks: list[Chunk]) -> list[Chunk]:
    """Follow the neighbour links; chunks outside the chain (none, normally) come last by id."""
    by_id = {chunk.chunk_id: chunk for chunk in sorted(chunks, key=lambda c: c.chunk_id)}
    key: Callable[[Chunk], bool] = lambda c: c.previous_id not in by_id  # noqa: E731
    ordered: dict[str, Chunk] = {}
    for first in [*filter(key, by_id.values()), *by_id.values()]:
        chunk: Chunk | None = first
        while chunk is not None and chunk.chunk_id not in ordered:
            ordered[chunk.chunk_id] = chunk
            chunk = by_id.get(chunk.next_id) if chunk.next_id is not None else None
    return list(ordered.values())
