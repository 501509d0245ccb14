"""Carries decisions about uploads into collections: add or replace one document, remove it everywhere, compare.

Owns the worker that does so, one change at a time and off the event loop. What should be served is decided by
`documents_service`; whole collections are `index_builds_service`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from app.errors import KnowledgeUnavailable
from knowledge_base.build import PREFIX, IndexBuilder
from knowledge_base.document import Document
from retrieval.errors import IndexMissing, RetrievalError
from retrieval.store import MilvusStore

MakeBuilder = Callable[[], IndexBuilder]
"""A builder with an embedder of its own, so that indexing never makes a patient's question wait for it."""
VISIBLE_S = 10.0
T = TypeVar("T")


class Indexing:
    """Changes documents inside collections."""

    def __init__(self, store: MilvusStore, make_builder: MakeBuilder) -> None:
        self._store = store
        self._make_builder = make_builder
        self._builder: IndexBuilder | None = None
        self._one_at_a_time = asyncio.Lock()
        self._loaded: set[str] = set()

    async def serve(self, document: Document) -> str | None:
        """Puts this version into the served collection; its name, or None when nothing is served yet.

        Raises:
            KnowledgeUnavailable: the store or the embedder does not answer; the change is made later by `follow`.
        """
        async with self._one_at_a_time:
            return await _translated(asyncio.to_thread(self._serve, document))

    async def remove(self, document_id: str) -> None:
        """Removes every chunk of the document from every collection, and makes sure that none is left.

        Raises:
            KnowledgeUnavailable: not removed, or not everywhere.
        """
        async with self._one_at_a_time:
            await _translated(asyncio.to_thread(self._remove, document_id))

    async def follow(self, name: str, wanted: Mapping[str, Document | None]) -> int:
        """Makes the collection hold exactly these versions (None: not at all); returns how many changed.

        Raises:
            KnowledgeUnavailable: the store or the embedder does not answer.
        """
        async with self._one_at_a_time:
            return await _translated(asyncio.to_thread(self._follow, name, wanted))

    async def served(self) -> str | None:
        """The served collection.

        Raises:
            KnowledgeUnavailable: the store does not answer.
        """
        return await _translated(asyncio.to_thread(self._store.alias_target))

    def _made(self) -> IndexBuilder:
        if self._builder is None:
            self._builder = self._make_builder()
        return self._builder

    def _load(self, name: str) -> None:
        """Collections that nobody searched since the process started are not loaded; reading one needs it."""
        if name not in self._loaded:
            self._store.load(name)
            self._loaded.add(name)

    def _serve(self, document: Document) -> str | None:
        name = self._store.alias_target()
        if name is not None:
            self._load(name)
            self._made().update(name, document)
        return name

    def _remove(self, document_id: str) -> None:
        for name in self._store.collections(PREFIX):
            try:
                self._load(name)
                self._store.delete_documents(name, [document_id])
                deadline = time.monotonic() + VISIBLE_S
                while self._store.document_chunks(name, document_id):
                    if time.monotonic() > deadline:
                        raise KnowledgeUnavailable("文档没有从索引中完全删除，请稍后再试。")
                    time.sleep(0.05)
            except IndexMissing:
                continue

    def _follow(self, name: str, wanted: Mapping[str, Document | None]) -> int:
        changed = 0
        self._load(name)
        present = self._store.document_ids(name)
        for document_id, document in wanted.items():
            if document is None:
                if document_id in present:
                    self._store.delete_documents(name, [document_id])
                    changed += 1
            elif document_id not in present or not self._made().holds(name, document):
                self._made().update(name, document)
                changed += 1
        return changed


async def _translated(work: Awaitable[T]) -> T:
    try:
        return await work
    except RetrievalError as error:
        raise KnowledgeUnavailable from error
