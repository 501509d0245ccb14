"""Builds a new collection from documents, beside the one that is served; serving it is a separate step.

A build is resumable: a document counts as done when all its chunks are in the collection, and vectors are cached by
content. Nothing here touches the alias except `activate`; who decides, and what is remembered, is the service's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from knowledge_base.chunk import ChunkSettings, chunk_document
from knowledge_base.document import Document
from knowledge_base.vectors import VectorCache
from retrieval.search import collection_word
from retrieval.store import MilvusStore
from retrieval.types import Chunk, Embedder, Embedding

PREFIX = "kb_"
INSERT_BATCH = 128

Progress = Callable[[str, int, int], None]
"""Called with the step (embed, insert), what is done of it, and all of it. May raise BuildStopped."""


class BuildStopped(Exception):
    """Raised by a progress callback to end a build; what was done is kept and a later build goes on from it."""


def collection_name(embedder: str, now: datetime) -> str:
    """`kb_<embedder>_<utc time>`; sorts by age within an embedder."""
    return f"{PREFIX}{collection_word(embedder)}_{now.astimezone(UTC):%Y%m%dT%H%M%S%f}"


def fingerprint(documents: Iterable[Document], settings: ChunkSettings) -> str:
    """What a collection was built from: changes when a document or the cutting changes."""
    parts = sorted(f"{document.document_id}:{document.content_hash}" for document in documents)
    return hashlib.sha256("\n".join([repr(settings), *parts]).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """`embedded` texts had no vector yet."""

    name: str
    documents: int
    chunks: int
    embedded: int


class IndexBuilder:
    """Cuts, embeds and inserts. Blocking, one call at a time; a server runs it in a worker thread."""

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
        self.cache = cache
        self.settings = ChunkSettings() if settings is None else settings
        self._sparse = sparse

    @property
    def embedder(self) -> str:
        """The embedder's name; collections of different embedders cannot replace each other."""
        return self._embedder.name

    def fingerprint(self, documents: Iterable[Document]) -> str:
        """See `fingerprint`, with this builder's embedder and cutting."""
        return f"{self._embedder.name}:{fingerprint(documents, self.settings)}"

    def build(
        self, documents: Sequence[Document], *, name: str, progress: Progress | None = None
    ) -> BuildReport:
        """Fills the collection `name`, creating it or going on where an interrupted build stopped.

        Raises:
            RetrievalError: the store or the embedder failed; BuildStopped: `progress` ended it.
        """
        if name not in self._store.collections(PREFIX):
            self._store.create(name, dim=self._embedder.dim, sparse=self._sparse)
        self._store.load(name)
        present = self._store.document_ids(name)
        self._store.delete_documents(name, sorted(present - {document.document_id for document in documents}))
        todo = [d for d in documents if d.document_id not in present or not self.holds(name, d)]
        chunks = [chunk for document in todo for chunk in chunk_document(document, self.settings)]
        embedded = self._embed(chunks, progress)
        self._store.delete_documents(name, [document.document_id for document in todo])
        self._insert(name, chunks, progress)
        self._store.load(name)
        return BuildReport(name, len(documents), self._store.count(name), embedded)

    def update(self, name: str, document: Document, progress: Progress | None = None) -> int:
        """Replaces one document inside a loaded collection; returns its number of chunks.

        Everything slow comes first: between removing the old chunks and adding the new ones there is no embedding.
        """
        chunks = chunk_document(document, self.settings)
        self._embed(chunks, progress)
        self._store.delete_documents(name, [document.document_id])
        self._insert(name, chunks, None)
        self._store.load(name)
        return len(chunks)

    def holds(self, name: str, document: Document) -> bool:
        """Whether the (loaded) collection has exactly the chunks of this version of the document."""
        have = {_identity(chunk) for chunk in self._store.document_chunks(name, document.document_id)}
        return have == {_identity(chunk) for chunk in chunk_document(document, self.settings)}

    def _embed(self, chunks: Sequence[Chunk], progress: Progress | None) -> int:
        def told(done: int, total: int) -> None:
            if progress is not None:
                progress("embed", done, total)

        return self.cache.fill(texts_of(chunks, passages=not self._sparse), told)

    def _insert(self, name: str, chunks: Sequence[Chunk], progress: Progress | None) -> None:
        for start in range(0, len(chunks), INSERT_BATCH):
            batch = chunks[start : start + INSERT_BATCH]
            vectors = [self.cache.dense(chunk.sentences) for chunk in batch]
            self._store.insert(name, batch, self._passages(batch), vectors)
            if progress is not None:
                progress("insert", min(start + INSERT_BATCH, len(chunks)), len(chunks))

    def _passages(self, chunks: Sequence[Chunk]) -> Embedding:
        texts = [chunk.embedded_text for chunk in chunks]
        if self._sparse:
            return self._embedder.embed(texts, "document")
        return Embedding(np.ascontiguousarray(self.cache.dense(texts)))


def texts_of(chunks: Sequence[Chunk], *, passages: bool = True) -> list[str]:
    """Everything that needs a vector from the cache: passages with their title, and their sentences."""
    whole = [chunk.embedded_text for chunk in chunks] if passages else []
    return [*whole, *(sentence for chunk in chunks for sentence in chunk.sentences)]


def _identity(chunk: Chunk) -> tuple[str, ...]:
    """What makes two chunks the same to a reader: text, place, source, audience and expiry."""
    return (
        chunk.chunk_id,
        chunk.title,
        chunk.section,
        chunk.text,
        chunk.source,
        chunk.year,
        chunk.department,
        chunk.audience,
        chunk.expires_on or "",
        str(chunk.page),
        *chunk.keywords,
    )


def activate(store: MilvusStore, name: str) -> str | None:
    """Serves `name` from now on; returns what was served before."""
    before = store.alias_target()
    store.point_alias(name)
    return before


def prune(store: MilvusStore, *, keep: int, ages: Mapping[str, datetime] | None = None) -> list[str]:
    """Drops the oldest collections but `keep`, never the served one; returns what was dropped.

    `ages` says when each was made; the time in the name stands in for what it leaves out.
    """
    served = store.alias_target()
    known = {} if ages is None else ages

    def made(name: str) -> str:
        age = known.get(name)
        return name.rsplit("_", 1)[-1] if age is None else f"{age.astimezone(UTC):%Y%m%dT%H%M%S%f}"

    spare = sorted((name for name in store.collections(PREFIX) if name != served), key=made)
    dropped = spare[: max(0, len(spare) - keep)]
    for name in dropped:
        store.drop(name)
    return dropped
