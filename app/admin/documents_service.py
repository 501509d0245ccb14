"""Uploaded documents: an editor sees the draft, approves or rejects it, deletes it; who and when is audited.

Owns the statuses and what follows from them: what the library shows and what the served collection holds. Reading
files is `documents_ingest`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from app.admin import documents_repository as repository
from app.admin.audit import AuditLog
from app.admin.documents_indexing import Indexing
from app.admin.documents_ingest import IngestService
from app.admin.documents_repository import UploadStatus
from app.db.session import Database
from app.db.tables_knowledge import UploadRow
from app.errors import DocumentNotFound, InvalidPayload, KnowledgeUnavailable, StateConflict
from app.identity import Clock, utc_now
from app.observability import log
from knowledge_base.document import Document
from knowledge_base.ingest.reader import approved as as_approved
from knowledge_base.stored import from_json

PATIENCE_S = 8.0
"""How long an approval waits for the index; a long document goes on in the background."""
MAX_NOTE_CHARS = 500


@dataclass(frozen=True, slots=True)
class Decided:
    """An upload after a decision. `indexed` is False while its passages are still being made."""

    row: UploadRow
    indexed: bool


class DocumentService:
    """Drafts, approvals, deletions. `reload` shows the approved documents to readers."""

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        ingest: IngestService,
        indexing: Indexing,
        *,
        repository_documents: Callable[[], Sequence[Document]],
        reload: Callable[[Sequence[Document]], None],
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._audit = audit
        self._ingest = ingest
        self._indexing = indexing
        self._repository_documents = repository_documents
        self._reload = reload
        self._clock = clock
        self._shown: frozenset[str] = frozenset()
        self._background: set[asyncio.Task[bool]] = set()

    async def page(
        self, status: UploadStatus | None, before: str | None, limit: int
    ) -> tuple[list[UploadRow], str | None]:
        """Newest first, and where to go on."""
        async with self._database.begin() as session:
            rows = await repository.uploads(session, status, before, limit + 1)
        return rows[:limit], rows[limit - 1].id if len(rows) > limit else None

    async def get(self, upload_id: str) -> UploadRow:
        """One version.

        Raises:
            DocumentNotFound: unknown.
        """
        async with self._database.begin() as session:
            row = await repository.upload(session, upload_id)
        if row is None:
            raise DocumentNotFound
        return row

    async def approve(
        self, upload_id: str, actor: str | None, note: str | None, *, despite_flags: bool = False
    ) -> Decided:
        """Serves a draft from now on, in place of the version before it.

        Raises:
            DocumentNotFound; StateConflict: not a draft, or flagged and the editor did not say that he has seen it.
        """
        row = await self.get(upload_id)
        if row.flags and not despite_flags:
            raise StateConflict(
                "这份文档里有试图指挥模型的文字，请核对后确认再批准。", details={"flags": list(row.flags)}
            )
        change = (UploadStatus.DRAFT, UploadStatus.APPROVED)
        async with self._database.begin() as session:
            await repository.supersede(session, row.document_id, UploadStatus.APPROVED, row.id)
            if not await repository.decide(session, row.id, change, actor, self._clock(), _short(note)):
                raise StateConflict("只有草稿可以批准，请刷新后再试。")
            detail = {"document_id": row.document_id, "title": row.title, "flags": len(row.flags)}
            self._audit.add(session, actor, "document.approve", row.id, detail)
        await self.reload()
        return Decided(await self.get(upload_id), await self._indexed_soon(upload_id))

    async def reject(self, upload_id: str, actor: str | None, reason: str) -> UploadRow:
        """Turns a draft down; it stays readable for editors.

        Raises:
            DocumentNotFound; InvalidPayload: no reason; StateConflict: not a draft.
        """
        if not reason.strip():
            raise InvalidPayload("请写明退回的原因。")
        row = await self.get(upload_id)
        change = (UploadStatus.DRAFT, UploadStatus.REJECTED)
        async with self._database.begin() as session:
            if not await repository.decide(session, row.id, change, actor, self._clock(), _short(reason)):
                raise StateConflict("只有草稿可以退回，请刷新后再试。")
            self._audit.add(session, actor, "document.reject", row.id, {"document_id": row.document_id})
        return await self.get(upload_id)

    async def delete(self, upload_id: str, actor: str | None) -> None:
        """Removes a version for good: passages first, then text and file. The record of who and when stays.

        Raises:
            DocumentNotFound: unknown or already deleted; KnowledgeUnavailable: the passages could not be removed
                (nothing was deleted then).
        """
        row = await self.get(upload_id)
        if row.status == UploadStatus.DELETED:
            raise DocumentNotFound
        served = row.status == UploadStatus.APPROVED
        if served:
            await self._indexing.remove(row.document_id)
        async with self._database.begin() as session:
            fresh = await session.get_one(UploadRow, row.id)
            fresh.status, fresh.content, fresh.indexed_in, fresh.flags = UploadStatus.DELETED, None, None, []
            fresh.decided_by, fresh.decided_at = actor, self._clock()
            self._audit.add(session, actor, "document.delete", row.id, {"document_id": row.document_id})
        await asyncio.to_thread(self._ingest.forget_file, row.id)
        if served:
            await self.reload()
            # Again: what another task carried into the index between the removal and the commit goes as well.
            await self._indexing.remove(row.document_id)
            await self._restore(row.document_id)

    async def documents(self) -> list[Document]:
        """Everything that is to be served: the repository's documents and the approved uploads, by id."""
        found = {d.document_id: d for d in await self.from_repository()}
        found.update({d.document_id: d for d in await self.approved()})
        return [found[document_id] for document_id in sorted(found)]

    async def from_repository(self) -> list[Document]:
        """The documents that are files. Raises DocumentError when one is malformed."""
        return list(await asyncio.to_thread(self._repository_documents))

    async def approved(self) -> list[Document]:
        """The approved uploads."""
        async with self._database.begin() as session:
            rows = await repository.approved(session)
        return [document for row in rows if (document := document_of(row)) is not None]

    async def reload(self) -> None:
        """Shows readers what is approved now."""
        async with self._database.begin() as session:
            shown = await repository.approved_ids(session)
        await asyncio.to_thread(self._reload, await self.approved())
        self._shown = shown

    async def show_changes(self) -> None:
        """Shows readers what another process approved or deleted."""
        async with self._database.begin() as session:
            current = await repository.approved_ids(session)
        if current != self._shown:
            await self.reload()

    async def bring_up_to_date(self, name: str, *, settled_s: float = 0.0) -> int:
        """Carries every decision about uploads into a collection that may be older; returns how many changed.

        Decisions younger than `settled_s` are left to the process that is at them.

        Raises:
            KnowledgeUnavailable: the store or the embedder does not answer.
        """
        async with self._database.begin() as session:
            settled = self._clock() - timedelta(seconds=settled_s)
            touched = await repository.document_ids(session, settled)
        if not touched:
            return 0
        current = {document.document_id: document for document in await self.documents()}
        changed = await self._indexing.follow(name, {key: current.get(key) for key in sorted(touched)})
        await self._mark(name, touched)
        return changed

    async def catch_up(self, *, settled_s: float = 0.0) -> None:
        """Finishes what was cut off: approved, but not in the served collection. Reports, never raises."""
        try:
            name = await self._indexing.served()
            if name is not None:
                changed = await self.bring_up_to_date(name, settled_s=settled_s)
                if changed:
                    log.info("uploads_indexed", index=name, documents=changed)
        except KnowledgeUnavailable as error:
            log.warning("uploads_not_indexed", error=error.code)

    async def close(self) -> None:
        """Waits for what is being indexed."""
        if self._background:
            await asyncio.wait(self._background)

    async def _indexed_soon(self, upload_id: str) -> bool:
        task = asyncio.create_task(self._index(upload_id), name=f"index-{upload_id}")
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        with suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(task), PATIENCE_S)
        return False

    async def _index(self, upload_id: str) -> bool:
        row = await self.get(upload_id)
        document = document_of(row)
        if document is None or row.status != UploadStatus.APPROVED:
            return False
        try:
            name = await self._indexing.serve(document)
        except KnowledgeUnavailable as error:
            log.warning("upload_not_indexed", upload=upload_id, error=error.code)
            return False
        async with self._database.begin() as session:
            fresh = await session.get_one(UploadRow, upload_id)
            still = fresh.status == UploadStatus.APPROVED
            fresh.indexed_in = name if still else None
        if not still:
            # Deleted or replaced while its passages were being made: what the index holds now must go.
            await self.catch_up()
        return still and name is not None

    async def _restore(self, document_id: str) -> None:
        """The repository's own version comes back where an upload had taken its place."""
        current = {document.document_id: document for document in await self.documents()}
        if document_id in current:
            with suppress(KnowledgeUnavailable):
                await self._indexing.serve(current[document_id])

    async def _mark(self, name: str, document_ids: Collection[str]) -> None:
        async with self._database.begin() as session:
            for row in await repository.approved(session):
                if row.document_id in document_ids:
                    row.indexed_in = name


def document_of(row: UploadRow) -> Document | None:
    """The document as it is served once approved; None for a deleted one."""
    if row.content is None:
        return None
    document = from_json(row.content)
    if row.decided_at is None:
        return document
    return as_approved(document, row.decided_at.date().isoformat())


def _short(note: str | None) -> str | None:
    return None if note is None else note.strip()[:MAX_NOTE_CHARS]
