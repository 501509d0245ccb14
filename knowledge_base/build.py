"""Builds a new collection from documents, beside the one that is served; serving it is a separate step.

A build is resumable: a document counts as done when all its chunks are in the collection, and vectors are cached by
content. Nothing here touches the alias except `activate`, `roll_back` is activating an older name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from knowledge_base.chunk import ChunkSettings, chunk_document
from knowledge_base.document import Document
from knowledge_base.vectors import VectorCache
from retrieval.store import MilvusStore
from retrieval.types import Chunk, Embedder, Embedding

PREFIX = "kb_"
INSERT_BATCH = 128

Progress = Callable[[str, int, int], None]


def collection_name(embedder: str, now: datetime) -> str:
    """`kb_<embedder>_<utc time>`; sorts by age within an embedder."""
    word = "".join(char if char.isalnum() else "_" for char in embedder.lower())
    return f"{PREFIX}{word}_{now.astimezone(UTC):%Y%m%dT%H%M%S%f}"[:60]


def fingerprint(documents: Iterable[Document], settings: ChunkSettings) -> str:
    """What a collection was built from: changes when a document or the cutting changes."""
    parts = sorted(f"{document.document_id}:{document.content_hash}" for document in documents)
    return hashlib.sha256("\n".join([repr(settings), *parts]).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class BuildReport:
    name: str
    documents: int
    chunks: int
    embedded: int


class IndexBuilder:
    """Cuts, embeds and inserts. Blocking; a server runs it in a worker thread or a job."""

    def __init__(
        self,
        store: MilvusStore,
        embedder: Embedder,
        cache: VectorCache,
        *,
        settings: ChunkSettings | None = None,
        sparse: bool = False,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._cache = cache
        self.settings = ChunkSettings() if settings is None else settings
        self._sparse = sparse

    def build(
        self, documents: Sequence[Document], *, name: str, progress: Progress | None = None
    ) -> BuildReport:
        """Fills the collection `name`, creating it or going on where a killed build stopped."""
        if name not in self._store.collections(PREFIX):
            self._store.create(name, dim=self._embedder.dim, sparse=self._sparse)
        complete = self._complete(name, documents)
        todo = [document for document in documents if document.document_id not in complete]
        chunks = [chunk for document in todo for chunk in chunk_document(document, self.settings)]
        embedded = self._embed(chunks, progress)
        self._store.delete_documents(name, [document.document_id for document in todo])
        self._insert(name, chunks, progress)
        self._store.load(name)
        return BuildReport(name, len(documents), self._store.count(name), embedded)

    def update(self, name: str, document: Document) -> int:
        """Replaces one document inside a collection; returns its number of chunks."""
        chunks = chunk_document(document, self.settings)
        self._embed(chunks, None)
        self._store.delete_documents(name, [document.document_id])
        self._insert(name, chunks, None)
        return len(chunks)

    def texts(self, documents: Iterable[Document]) -> list[str]:
        """Everything that needs a vector: passages with their title, and their sentences."""
        chunks = [chunk for document in documents for chunk in chunk_document(document, self.settings)]
        return _texts(chunks)

    def _complete(self, name: str, documents: Sequence[Document]) -> set[str]:
        present = self._store.document_ids(name)
        complete = set()
        for document in documents:
            if document.document_id in present:
                wanted = {(c.chunk_id, c.text) for c in chunk_document(document, self.settings)}
                have = {(c.chunk_id, c.text) for c in self._store.document_chunks(name, document.document_id)}
                if wanted == have:
                    complete.add(document.document_id)
        return complete

    def _embed(self, chunks: Sequence[Chunk], progress: Progress | None) -> int:
        def told(done: int, total: int) -> None:
            if progress is not None:
                progress("embed", done, total)

        return self._cache.fill(_texts(chunks), told)

    def _insert(self, name: str, chunks: Sequence[Chunk], progress: Progress | None) -> None:
        for start in range(0, len(chunks), INSERT_BATCH):
            batch = chunks[start : start + INSERT_BATCH]
            vectors = [self._cache.dense(chunk.sentences) for chunk in batch]
            self._store.insert(name, batch, self._passages(batch), vectors)
            if progress is not None:
                progress("insert", min(start + INSERT_BATCH, len(chunks)), len(chunks))

    def _passages(self, chunks: Sequence[Chunk]) -> Embedding:
        texts = [chunk.embedded_text for chunk in chunks]
        if self._sparse:
            return self._embedder.embed(texts, "document")
        return Embedding(np.ascontiguousarray(self._cache.dense(texts)))


def _texts(chunks: Sequence[Chunk]) -> list[str]:
    passages = [chunk.embedded_text for chunk in chunks]
    return [*passages, *(sentence for chunk in chunks for sentence in chunk.sentences)]


def activate(store: MilvusStore, name: str) -> str | None:
    """Serves `name` from now on; returns what was served before."""
    before = store.alias_target()
    store.point_alias(name)
    return before


def prune(store: MilvusStore, *, keep: int) -> list[str]:
    """Drops the oldest collections, never the served one; returns what was dropped."""
    served = store.alias_target()
    spare = [name for name in store.collections(PREFIX) if name != served]
    dropped = sorted(spare, key=lambda name: name.rsplit("_", 1)[-1])[: max(0, len(spare) - keep)]
    for name in dropped:
        store.drop(name)
    return dropped
