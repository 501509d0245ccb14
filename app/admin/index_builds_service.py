"""The life of the index: build beside the served one, accept, activate by alias, roll back, prune.

Owns the order of these steps and their record. The alias in Milvus is the one truth about what is served; rows follow
it. Filling a collection is `knowledge_base.build`, the questions are `knowledge_base.acceptance`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from app.admin import index_builds_repository as repository
from app.admin.audit import AuditLog
from app.admin.documents_service import DocumentService
from app.admin.index_builds_repository import ACTIVATABLE, BuildState
from app.db.session import Database
from app.db.tables_knowledge import IndexBuildRow
from app.errors import AnxinError, BuildNotFound, KnowledgeUnavailable, StateConflict
from app.identity import Clock, NewId, new_ulid, utc_now
from app.observability import log
from knowledge_base import build as building
from knowledge_base.acceptance import Acceptance
from knowledge_base.build import BuildReport, BuildStopped, IndexBuilder
from knowledge_base.document import Document, DocumentError
from retrieval.errors import RetrievalError
from retrieval.store import MilvusStore

LEASE_S = 60
HEARTBEAT_S = 2.0
MAX_LOSS = 0.2
"""A new index that lacks more than this share of the served one's documents is a mistake until somebody says not."""

T = TypeVar("T")


class Examines(Protocol):
    """Asks the acceptance questions of a collection. Blocking; `told` as for builds."""

    def __call__(self, name: str, told: building.Progress) -> Acceptance: ...


@dataclass(frozen=True, slots=True)
class Switched:
    """What is served now, and what was before."""

    row: IndexBuildRow
    before: str | None


class IndexBuildService:
    """One build at a time, in a worker thread; the event loop only keeps its record."""

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        store: MilvusStore,
        documents: DocumentService,
        *,
        make_builder: Callable[[], IndexBuilder],
        examine: Examines,
        rebind: Callable[[str], Any],
        clock: Clock = utc_now,
        new_id: NewId = new_ulid,
    ) -> None:
        self._database = database
        self._audit = audit
        self._store = store
        self._documents = documents
        self._make_builder = make_builder
        self._examine = examine
        self._rebind = rebind
        self._clock = clock
        self._new_id = new_id
        self._task: asyncio.Task[None] | None = None
        self._stop = threading.Event()
        self._progress: dict[str, tuple[str, int, int]] = {}
        self._changing = asyncio.Lock()

    async def page(self, before: str | None, limit: int) -> tuple[list[IndexBuildRow], str | None]:
        """Newest first, with states as the alias says, and where to go on."""
        await self._follow_alias()
        async with self._database.begin() as session:
            rows = await repository.builds(session, before, limit + 1)
        return [self._with_progress(row) for row in rows[:limit]], rows[limit - 1].id if len(
            rows
        ) > limit else None

    async def get(self, build_id: str) -> IndexBuildRow:
        """One build.

        Raises:
            BuildNotFound: unknown.
        """
        async with self._database.begin() as session:
            row = await repository.build(session, build_id)
        if row is None:
            raise BuildNotFound
        return self._with_progress(row)

    async def start(self, actor: str | None) -> IndexBuildRow:
        """Begins a build (or goes on with an interrupted one) in the background.

        Raises:
            StateConflict: one is running; KnowledgeUnavailable: the documents or the store cannot be read.
        """
        if self._task is not None and not self._task.done():
            raise StateConflict("已有一个索引正在构建，请等它完成。")
        row, documents, builder = await self._prepare(actor)
        self._task = asyncio.create_task(self._run(row.id, documents, builder), name=f"build-{row.id}")
        return row

    async def wait(self) -> None:
        """Until the running build, if any, has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def activate(self, build_id: str, actor: str | None, *, force: bool = False) -> Switched:
        """Serves a build from now on.

        Raises:
            BuildNotFound; StateConflict: not finished, not accepted, or far fewer documents (unless forced);
            KnowledgeUnavailable: the store does not answer (nothing was changed).
        """
        async with self._changing:
            await self._follow_alias()
            row = await self.get(build_id)
            if row.state == BuildState.ACTIVE:
                return Switched(row, row.name)
            if row.state not in ACTIVATABLE:
                raise StateConflict("这个索引还没有构建完成，或者已经删除。")
            if not force:
                await self._refuse_doubtful(row)
            return await self._switch(row, actor, "index.activate", {"force": force})

    async def roll_back(self, actor: str | None) -> Switched:
        """Serves what was served before.

        Raises:
            StateConflict: nothing to go back to; KnowledgeUnavailable: the store does not answer.
        """
        async with self._changing:
            await self._follow_alias()
            async with self._database.begin() as session:
                row = await repository.previous(session)
            if row is None:
                raise StateConflict("没有可以退回的索引版本。")
            return await self._switch(row, actor, "index.rollback", {})

    async def prune(self, keep: int, actor: str | None) -> list[str]:
        """Drops the oldest collections but `keep` besides the served one; never one that is being built."""
        async with self._changing:
            await self._follow_alias()
            async with self._database.begin() as session:
                rows = await repository.existing(session)
                if await repository.being_built(session, self._clock()) is not None:
                    raise StateConflict("正在构建索引，请等它完成再清理。")
            ages = {row.name: row.created_at for row in rows}
            dropped = await self._blocking(lambda: building.prune(self._store, keep=keep, ages=ages))
            if dropped:
                await self._record_dropped(dropped, actor)
            return dropped

    async def served(self) -> str | None:
        """The collection that the alias points to. Raises KnowledgeUnavailable when the store does not answer."""
        return await self._blocking(self._store.alias_target)

    async def examine(self, name: str | None = None) -> Acceptance:
        """Asks the acceptance questions of a collection, or of the served one.

        Raises:
            BuildNotFound: nothing is served; KnowledgeUnavailable: the store does not answer.
        """
        chosen = await self.served() if name is None else name
        if chosen is None:
            raise BuildNotFound
        return await self._blocking(lambda: self._examine(chosen, lambda _step, _done, _total: None))

    async def take_over(self) -> None:
        """Frees builds of a process that is gone; for one that knows to be alone (it holds the Milvus Lite file)."""
        async with self._database.begin() as session:
            for row in await repository.existing(session):
                row.lease_until = None

    async def up_to_date(self) -> str | None:
        """The served collection if it was built from the repository's documents as they are now, else None.

        Raises:
            KnowledgeUnavailable: the documents or the store cannot be read.
        """
        await self._follow_alias()
        served = await self.served()
        if served is None:
            return None
        wanted = (await self._builder()).fingerprint(await self._from_repository())
        async with self._database.begin() as session:
            row = await repository.by_name(session, served)
        return served if row is not None and row.fingerprint == wanted else None

    async def close(self) -> None:
        """Ends a running build at its next step; what it did is kept."""
        self._stop.set()
        await self.wait()

    async def _prepare(self, actor: str | None) -> tuple[IndexBuildRow, list[Document], IndexBuilder]:
        builder = await self._builder()
        documents = await self._readable_documents()
        # Uploads come and go inside a collection; only the repository's documents decide what it is.
        wanted, now = builder.fingerprint(await self._from_repository()), self._clock()
        present = set(await self._blocking(lambda: self._store.collections(building.PREFIX)))
        async with self._database.begin() as session:
            if await repository.being_built(session, now) is not None:
                raise StateConflict("已有一个索引正在构建，请等它完成。")
            row = await repository.interrupted(session, wanted)
            if row is None or row.name not in present:
                row = self._new_row(builder, wanted, actor, now)
                session.add(row)
                await session.flush()
            until = now + timedelta(seconds=LEASE_S)
            if not await repository.take(session, row.id, now, until):
                raise StateConflict("已有一个索引正在构建，请等它完成。")
            self._audit.add(session, actor, "index.build", row.name, {"documents": len(documents)})
        return await self.get(row.id), documents, builder

    def _new_row(self, builder: IndexBuilder, wanted: str, actor: str | None, now: datetime) -> IndexBuildRow:
        return IndexBuildRow(
            id=self._new_id(),
            name=building.collection_name(builder.embedder, now),
            state=BuildState.BUILDING,
            fingerprint=wanted,
            created_by=actor,
            created_at=now,
            documents=0,
            chunks=0,
            embedded=0,
            step="",
            done=0,
            total=0,
            ordinal=0,
        )

    async def _run(self, build_id: str, documents: list[Document], builder: IndexBuilder) -> None:
        beat = asyncio.create_task(self._beat(build_id))
        try:
            row = await self.get(build_id)
            report, accepted = await asyncio.to_thread(self._work, build_id, row.name, documents, builder)
            state = BuildState.ACCEPTED if accepted.passed else BuildState.REJECTED
            await self._finish(build_id, state, report=report, accepted=accepted)
        except BuildStopped:
            await self._finish(build_id, BuildState.BUILDING, error="构建被中断，可以继续。")
        except Exception as error:
            log.error(
                "index_build_failed", build=build_id, error=type(error).__name__, detail=str(error)[:200]
            )
            with suppress(AnxinError):
                await self._finish(
                    build_id, BuildState.FAILED, error=f"{type(error).__name__}: {error}"[:400]
                )
        finally:
            beat.cancel()
            self._progress.pop(build_id, None)

    def _work(
        self, build_id: str, name: str, documents: Sequence[Document], builder: IndexBuilder
    ) -> tuple[BuildReport, Acceptance]:
        def told(step: str, done: int, total: int) -> None:
            self._progress[build_id] = (step, done, total)
            if self._stop.is_set():
                raise BuildStopped

        report = builder.build(documents, name=name, progress=told)
        return report, self._examine(name, told)

    async def _beat(self, build_id: str) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            with suppress(AnxinError):
                async with self._database.begin() as session:
                    row = await session.get_one(IndexBuildRow, build_id)
                    row.lease_until = self._clock() + timedelta(seconds=LEASE_S)
                    row.step, row.done, row.total = self._progress.get(
                        build_id, (row.step, row.done, row.total)
                    )

    async def _finish(
        self,
        build_id: str,
        state: BuildState,
        *,
        report: BuildReport | None = None,
        accepted: Acceptance | None = None,
        error: str | None = None,
    ) -> None:
        async with self._database.begin() as session:
            row = await session.get_one(IndexBuildRow, build_id)
            row.state, row.error, row.lease_until = state, error, None
            if report is not None:
                row.documents, row.chunks, row.embedded = report.documents, report.chunks, report.embedded
                row.finished_at = self._clock()
            if accepted is not None:
                row.result = accepted.as_json()

    async def _refuse_doubtful(self, row: IndexBuildRow) -> None:
        if row.result is None or not row.result["passed"]:
            raise StateConflict(
                "这个索引没有通过验收，确认无误后可以强制启用。", details={"result": row.result}
            )
        async with self._database.begin() as session:
            served = await repository.active(session)
        before = max((other.documents for other in served), default=0)
        if row.documents < before * (1 - MAX_LOSS):
            raise StateConflict(
                f"这个索引只有{row.documents}篇文档，正在使用的有{before}篇，确认无误后可以强制启用。"
            )

    async def _switch(
        self, row: IndexBuildRow, actor: str | None, action: str, detail: dict[str, Any]
    ) -> Switched:
        """Carries later decisions about uploads into it, moves the alias, then the record and the searches."""
        present = await self._blocking(lambda: self._store.collections(building.PREFIX))
        if row.name not in present:
            await self._record_dropped([row.name], actor)
            raise StateConflict("这个索引已经删除，不能启用。")
        await self._documents.bring_up_to_date(row.name)
        before = await self._blocking(lambda: building.activate(self._store, row.name))
        await asyncio.to_thread(self._rebind, row.name)
        now = self._clock()
        async with self._database.begin() as session:
            await self._mark_active(session, row.id, now)
            self._audit.add(session, actor, action, row.name, {**detail, "before": before})
        return Switched(await self.get(row.id), before)

    async def _mark_active(self, session: Any, build_id: str, now: datetime) -> None:
        for other in await repository.active(session):
            if other.id != build_id:
                other.state = BuildState.RETIRED
        fresh = await session.get_one(IndexBuildRow, build_id)
        fresh.state, fresh.activated_at = BuildState.ACTIVE, now
        fresh.ordinal = await repository.next_ordinal(session)

    async def _follow_alias(self) -> None:
        """Rows as Milvus has it: after a crash between the two, or a change by other means."""
        served = await self.served()
        present = set(await self._blocking(lambda: self._store.collections(building.PREFIX)))
        now = self._clock()
        async with self._database.begin() as session:
            for row in await repository.existing(session):
                working = row.lease_until is not None and row.lease_until >= now
                if row.name not in present and not working:
                    row.state = BuildState.DROPPED
                elif row.state == BuildState.ACTIVE and row.name != served:
                    row.state = BuildState.RETIRED
                elif row.name == served and row.state != BuildState.ACTIVE:
                    await self._mark_active(session, row.id, now)

    async def _record_dropped(self, names: Sequence[str], actor: str | None) -> None:
        async with self._database.begin() as session:
            for row in await repository.existing(session):
                if row.name in names:
                    row.state = BuildState.DROPPED
            self._audit.add(session, actor, "index.prune", names[0], {"dropped": list(names)})

    async def _readable_documents(self) -> list[Document]:
        try:
            return await self._documents.documents()
        except DocumentError as error:
            raise KnowledgeUnavailable(f"知识文档有误：{error.path}：{error.problem}") from error

    async def _from_repository(self) -> list[Document]:
        try:
            return await self._documents.from_repository()
        except DocumentError as error:
            raise KnowledgeUnavailable(f"知识文档有误：{error.path}：{error.problem}") from error

    async def _builder(self) -> IndexBuilder:
        return await self._blocking(self._make_builder)

    async def _blocking(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except RetrievalError as error:
            raise KnowledgeUnavailable from error

    def _with_progress(self, row: IndexBuildRow) -> IndexBuildRow:
        row.step, row.done, row.total = self._progress.get(row.id, (row.step, row.done, row.total))
        return row
