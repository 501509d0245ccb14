"""Puts the knowledge's services together, for the running service and for commands.

`administered` joins a running service to its documents, jobs and builds; `offline` does the same for a command that
works without a server. Owns nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from app.admin.audit import AuditLog
from app.admin.documents_indexing import Indexing
from app.admin.documents_ingest import IngestService
from app.admin.documents_service import DocumentService
from app.admin.index_builds_service import Examines, IndexBuildService
from app.container import Container, embedder_spec, make_reranker, make_store
from app.db.crypto import Vault
from app.db.session import Database, make_engine
from app.errors import AnxinError
from app.observability import log
from app.settings import Settings
from knowledge_base.acceptance import (
    ANSWERABLE,
    UNANSWERABLE,
    Acceptance,
    Outcome,
    Question,
    applicable,
    ask,
    judge,
    read_questions,
)
from knowledge_base.build import IndexBuilder, Progress
from knowledge_base.document import Document, read_documents
from knowledge_base.ingest import Limits
from knowledge_base.vectors import VectorCache
from retrieval.calibration import shipped_calibration
from retrieval.embedders import make_embedder
from retrieval.graph import MedicalGraph
from retrieval.milvus import is_lite
from retrieval.search import Searcher, SearchSettings
from retrieval.store import MilvusStore
from retrieval.types import Embedder, Reranker

FOLLOW_S = 30.0
SETTLED_S = 900.0
"""Longer than embedding the longest document takes: then the process that approved it is gone."""


@dataclass(slots=True)
class KnowledgeAdmin:
    """What the endpoints and commands of editors and operators use."""

    documents: DocumentService
    ingest: IngestService
    builds: IndexBuildService
    running: set[asyncio.Task[None]] = field(default_factory=set)

    def run_job(self, job_id: str) -> asyncio.Task[None]:
        """Reads a job's files in the background."""

        async def work() -> None:
            try:
                await self.ingest.run(job_id)
            except AnxinError as error:
                log.warning("ingest_job_interrupted", job=job_id, error=error.code)

        task = asyncio.create_task(work(), name=f"ingest-{job_id}")
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        return task

    async def follow(self, *, settled_s: float) -> None:
        """Goes on with what was cut off, now and every FOLLOW_S: jobs, and approvals the index does not have yet.

        Also shows what other processes approved. `settled_s`: see `DocumentService.bring_up_to_date`.
        """
        while True:
            with suppress(AnxinError):
                for job_id in await self.ingest.unfinished():
                    await self.ingest.run(job_id)
                await self.documents.show_changes()
                await self.documents.catch_up(settled_s=settled_s)
            await asyncio.sleep(FOLLOW_S)

    async def close(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)
        await self.builds.close()
        await self.documents.close()


def builder_maker(settings: Settings, store: MilvusStore) -> Callable[[], IndexBuilder]:
    """Makes builders with an embedder of their own: 20 MB, and questions never wait behind a build."""

    def make() -> IndexBuilder:
        embedder = make_embedder(embedder_spec(settings))
        cache = VectorCache(embedder, folder=settings.var_dir)
        return IndexBuilder(store, embedder, cache, sparse=settings.retrieval.embedder == "bge_m3")

    return make


def examiner(
    store: MilvusStore,
    embedder: Embedder,
    reranker: Reranker,
    graph: MedicalGraph,
    *,
    candidates: int,
    every: int = 1,
) -> Examines:
    """Asks every `every`-th acceptance question whose answer the collection could hold, and as many without one."""

    def chosen(name: str) -> tuple[list[Question], list[Question]]:
        present = store.document_ids(name)
        return applicable(read_questions(ANSWERABLE), present)[::every], read_questions(UNANSWERABLE)[::every]

    def examine(name: str, told: Progress) -> Acceptance:
        settings = SearchSettings(candidates=candidates, threshold=0.0)
        searcher = Searcher(store, embedder, reranker, expand=graph.expand, settings=settings)
        try:
            searcher.rebind(name)
            answerable, unanswerable = chosen(name)
            total = len(answerable) + len(unanswerable)

            def asked(questions: Sequence[Question], before: int) -> list[Outcome]:
                return ask(searcher, questions, lambda done, _: told("accept", before + done, total))

            threshold = shipped_calibration(reranker.name, embedder.name).threshold
            first = asked(answerable, 0)
            return judge(first, asked(unanswerable, len(first)), threshold=threshold)
        finally:
            searcher.close()

    return examine


def assemble(
    settings: Settings,
    *,
    database: Database,
    audit: AuditLog,
    store: MilvusStore,
    examine: Examines,
    reload: Callable[[Sequence[Document]], None],
    rebind: Callable[[str], object],
) -> KnowledgeAdmin:
    """The services over these parts."""
    make_builder = builder_maker(settings, store)
    limits = Limits(file_bytes=settings.limits.max_upload_bytes)
    ingest = IngestService(database, audit, settings.var_dir / "documents", limits=limits)
    documents = DocumentService(
        database,
        audit,
        ingest,
        Indexing(store, make_builder),
        repository_documents=lambda: read_documents(settings.documents_dir),
        reload=reload,
    )
    builds = IndexBuildService(
        database, audit, store, documents, make_builder=make_builder, examine=examine, rebind=rebind
    )
    return KnowledgeAdmin(documents, ingest, builds)


@asynccontextmanager
async def administered(parts: Container) -> AsyncIterator[KnowledgeAdmin]:
    """The services of a running service; shows approved uploads and goes on with what was cut off."""
    reranker = await asyncio.to_thread(make_reranker, parts.settings, parts.graph)
    examine = examiner(
        parts.store,
        parts.embedder,
        reranker,
        parts.graph,
        candidates=parts.settings.retrieval.candidates,
    )
    admin = assemble(
        parts.settings,
        database=parts.database,
        audit=parts.audit,
        store=parts.store,
        examine=examine,
        reload=parts.library.reload,
        rebind=parts.searcher.rebind,
    )
    try:
        if is_lite(parts.settings.milvus_uri):
            await admin.builds.take_over()
        await admin.documents.reload()
    except AnxinError as error:
        log.error("uploads_not_loaded", error=error.code)
    settled_s = 0.0 if is_lite(parts.settings.milvus_uri) else SETTLED_S
    follower = asyncio.create_task(admin.follow(settled_s=settled_s), name="knowledge-follower")
    try:
        yield admin
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
        await admin.close()


@asynccontextmanager
async def offline(settings: Settings, *, every: int = 1) -> AsyncIterator[KnowledgeAdmin]:
    """The services without a server. Raises IndexLocked when a running service holds the Milvus Lite file."""
    database = Database(make_engine(settings.database_url))
    keys = {key_id: key.get_secret_value() for key_id, key in settings.database.encryption_keys.items()}
    audit = AuditLog(database, Vault(keys, settings.database.primary_key_id))
    store = await asyncio.to_thread(make_store, settings)
    try:
        graph = await asyncio.to_thread(MedicalGraph.load, settings.graph_dir)
        embedder = await asyncio.to_thread(make_embedder, embedder_spec(settings))
        reranker = await asyncio.to_thread(make_reranker, settings, graph)
        admin = assemble(
            settings,
            database=database,
            audit=audit,
            store=store,
            examine=examiner(
                store, embedder, reranker, graph, candidates=settings.retrieval.candidates, every=every
            ),
            reload=lambda _: None,
            rebind=lambda _: None,
        )
        if is_lite(settings.milvus_uri):
            await admin.builds.take_over()
        yield admin
        await admin.close()
    finally:
        await asyncio.to_thread(store.close)
        await database.close()


@asynccontextmanager
async def drafts_only(settings: Settings) -> AsyncIterator[IngestService]:
    """Only what reads files: needs the database but no index, so it works beside a running service."""
    database = Database(make_engine(settings.database_url))
    keys = {key_id: key.get_secret_value() for key_id, key in settings.database.encryption_keys.items()}
    audit = AuditLog(database, Vault(keys, settings.database.primary_key_id))
    limits = Limits(file_bytes=settings.limits.max_upload_bytes)
    try:
        yield IngestService(database, audit, settings.var_dir / "documents", limits=limits)
    finally:
        await database.close()
