"""Ingestion jobs: files are kept first, then read one after the other, and every outcome is stored as it comes.

A job that was cut off goes on with the files that are left. Owns the folder of originals and the jobs' states;
reading a file is `knowledge_base.ingest`, deciding on what was read is `documents_service`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from app.admin import documents_repository as repository
from app.admin.audit import AuditLog
from app.admin.documents_flags import flags_of
from app.admin.documents_repository import FileState, JobState, UploadStatus
from app.db.session import Database
from app.db.tables_knowledge import IngestFileRow, IngestJobRow, UploadRow
from app.errors import InvalidPayload, NotFound
from app.identity import Clock, NewId, new_ulid, utc_now
from app.observability import log
from knowledge_base.document import Document, Source
from knowledge_base.ingest import FileKind, IngestError, Limits, Problem, read_file
from knowledge_base.ingest.instructions import Flag
from knowledge_base.ingest.reader import About, file_hash, safe_name, to_document
from knowledge_base.stored import to_json

LEASE_S = 60
HEARTBEAT_S = 2.0
MAX_FILES = 500
Flagging = Callable[[Document], Sequence[Flag]]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file that somebody hands in: what he calls it, and where its bytes lie now."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and its files, as far as they are."""

    row: IngestJobRow
    files: tuple[IngestFileRow, ...]

    def count(self, state: FileState) -> int:
        return sum(1 for file in self.files if file.state == state)


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a file gave."""

    document: Document
    kind: FileKind
    hash: str
    pages: int | None
    flags: tuple[Flag, ...]


class IngestService:
    """Creates and runs jobs; one file is read at a time, in a worker thread."""

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        folder: Path,
        *,
        limits: Limits | None = None,
        flagging: Flagging = flags_of,
        clock: Clock = utc_now,
        new_id: NewId = new_ulid,
    ) -> None:
        self._database = database
        self._audit = audit
        self.folder = folder
        self._limits = Limits() if limits is None else limits
        self._flagging = flagging
        self._clock = clock
        self._new_id = new_id
        self._reading = asyncio.Semaphore(1)
        self._parts: dict[str, tuple[int, int]] = {}

    async def create(
        self, actor: str | None, incoming: Sequence[Incoming], about: About, *, copy: bool
    ) -> str:
        """Keeps the files (copied, or moved) and stores a job for them; returns its id.

        Raises:
            InvalidPayload: no file, or too many.
        """
        if not incoming:
            raise InvalidPayload("没有收到文件。")
        if len(incoming) > MAX_FILES:
            raise InvalidPayload(f"一次最多处理{MAX_FILES}个文件。")
        job_id, now = self._new_id(), self._clock()
        rows = [
            IngestFileRow(
                id=self._new_id(),
                job_id=job_id,
                position=position,
                name=safe_name(file.name),
                stored="",
                size=file.path.stat().st_size,
                state=FileState.PENDING,
                parts_done=0,
                parts_total=0,
            )
            for position, file in enumerate(incoming)
        ]
        for row, file in zip(rows, incoming, strict=True):
            row.stored = await asyncio.to_thread(self._keep, row.id, row.name, file.path, copy)
        async with self._database.begin() as session:
            session.add(
                IngestJobRow(
                    id=job_id,
                    state=JobState.RUNNING,
                    about=_about_json(about),
                    created_by=actor,
                    created_at=now,
                    updated_at=now,
                )
            )
            await session.flush()
            session.add_all(rows)
            self._audit.add(session, actor, "document.upload", job_id, {"files": [row.name for row in rows]})
        return job_id

    async def run(self, job_id: str) -> JobView:
        """Reads the files of the job that are left. Does nothing when somebody else is at it."""
        now = self._clock()
        async with self._database.begin() as session:
            taken = await repository.take_job(session, job_id, now, now + timedelta(seconds=LEASE_S))
        if taken:
            async with self._kept_alive(job_id):
                await self._read_all(job_id)
        return await self.view(job_id)

    async def view(self, job_id: str) -> JobView:
        """The job as it stands; pages of the file being read are up to date.

        Raises:
            NotFound: no such job.
        """
        async with self._database.begin() as session:
            row = await repository.job(session, job_id)
            if row is None:
                raise NotFound("没有找到这个任务。")
            files = await repository.files(session, job_id)
        for file in files:
            if file.id in self._parts:
                file.parts_done, file.parts_total = self._parts[file.id]
        return JobView(row, tuple(files))

    async def jobs(self, before: str | None, limit: int) -> list[JobView]:
        """Newest first."""
        async with self._database.begin() as session:
            rows = await repository.jobs(session, before, limit)
            return [JobView(row, tuple(await repository.files(session, row.id))) for row in rows]

    async def unfinished(self) -> Sequence[str]:
        """Jobs that were cut off."""
        async with self._database.begin() as session:
            return await repository.unfinished_jobs(session, self._clock())

    def forget_file(self, upload_id: str) -> None:
        """Removes the original of an upload. Blocking."""
        shutil.rmtree(self.folder / upload_id, ignore_errors=True)

    def original(self, row: UploadRow) -> Path:
        return self.folder / row.id / row.file_name

    async def _read_all(self, job_id: str) -> None:
        view = await self.view(job_id)
        about = _about_from(view.row.about)
        for file in view.files:
            if file.state == FileState.PENDING:
                async with self._reading:
                    await self._read_one(file, about, view.row.created_by)
        done = await self.view(job_id)
        async with self._database.begin() as session:
            await repository.finish_job(session, job_id, _final_state(done), self._clock())

    async def _read_one(self, file: IngestFileRow, about: About, actor: str | None) -> None:
        path = self.folder / file.stored

        def told(done: int, total: int) -> None:
            self._parts[file.id] = (done, total)

        try:
            reading = await asyncio.to_thread(self._read, path, file.name, about, told)
        except IngestError as error:
            await self._store_failure(file, error)
            return
        except Exception as error:
            # One file that breaks a parser must not end the job for the others.
            log.error("ingest_failed", file=file.id, error=type(error).__name__)
            await self._store_failure(file, IngestError(Problem.UNREADABLE))
            return
        finally:
            parts = self._parts.pop(file.id, (1, 1))
        await self._store(file, reading, actor, parts)

    def _read(self, path: Path, name: str, about: About, told: Callable[[int, int], None]) -> Reading:
        parsed = read_file(path, name, self._limits, told)
        document = to_document(parsed, name, about)
        return Reading(document, parsed.kind, file_hash(path), parsed.pages, tuple(self._flagging(document)))

    async def _store(
        self, file: IngestFileRow, reading: Reading, actor: str | None, parts: tuple[int, int]
    ) -> None:
        document = reading.document
        async with self._database.begin() as session:
            row = await session.get_one(IngestFileRow, file.id)
            row.parts_done, row.parts_total = parts
            known = await repository.same_file(session, reading.hash, document.document_id)
            if known is not None:
                row.state, row.upload_id = FileState.DUPLICATE, known.id
                row.message = f"与已有文档《{known.title}》内容相同。"[:400]
            else:
                row.state, row.upload_id = FileState.DONE, file.id
                await repository.supersede(session, document.document_id, UploadStatus.DRAFT, file.id)
                session.add(self._upload(file, reading, actor))
        if known is not None:
            await asyncio.to_thread(self.forget_file, file.id)

    def _upload(self, file: IngestFileRow, reading: Reading, actor: str | None) -> UploadRow:
        document = reading.document
        return UploadRow(
            id=file.id,
            document_id=document.document_id[:80],
            title=document.title[:200],
            department=document.department,
            kind=document.kind[:32],
            audience=document.audience,
            status=UploadStatus.DRAFT,
            file_name=file.name,
            file_kind=reading.kind,
            file_hash=reading.hash,
            size=file.size,
            pages=reading.pages,
            chars=sum(len(section.text) for section in document.sections),
            flags=[asdict(flag) for flag in reading.flags],
            content=to_json(document),
            expires_on=document.expires_on,
            uploaded_by=actor,
            uploaded_at=self._clock(),
        )

    async def _store_failure(self, file: IngestFileRow, error: IngestError) -> None:
        async with self._database.begin() as session:
            row = await session.get_one(IngestFileRow, file.id)
            row.state, row.problem, row.message = FileState.FAILED, error.problem, error.message[:400]
        await asyncio.to_thread(self.forget_file, file.id)

    def _keep(self, file_id: str, name: str, source: Path, copy: bool) -> str:
        target = self.folder / file_id / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if copy:
            shutil.copyfile(source, target)
        else:
            shutil.move(source, target)
        os.chmod(target, 0o600)  # noqa: PTH101
        return f"{file_id}/{name}"

    @asynccontextmanager
    async def _kept_alive(self, job_id: str) -> AsyncIterator[None]:
        """Extends the lease while the block runs; frees it when the block is cut off."""

        async def beat() -> None:
            while True:
                await asyncio.sleep(HEARTBEAT_S)
                now = self._clock()
                async with self._database.begin() as session:
                    await repository.extend_job(session, job_id, now, now + timedelta(seconds=LEASE_S))

        task = asyncio.create_task(beat())
        try:
            yield
        except BaseException:
            task.cancel()
            async with self._database.begin() as session:
                await repository.extend_job(session, job_id, self._clock(), None)
            raise
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _final_state(view: JobView) -> JobState:
    done, failed = view.count(FileState.DONE), view.count(FileState.FAILED)
    if done:
        return JobState.PARTIAL if failed else JobState.SUCCEEDED
    return JobState.FAILED if failed else JobState.UNCHANGED


def _about_json(about: About) -> dict[str, Any]:
    fields = {
        name: getattr(about, name) for name in ("department", "audience", "kind", "title", "expires_on")
    }
    source = about.source
    return {**fields, "source": None if source is None else [source.title, source.publisher, source.year]}


def _about_from(fields: dict[str, Any]) -> About:
    source = fields["source"]
    return About(**{**fields, "source": None if source is None else Source(*source)})
