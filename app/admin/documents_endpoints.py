"""Uploaded documents over HTTP: hand in files, follow the job, read the draft, approve, reject, delete."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile, status
from fastapi import Path as PathParameter

from app.admin.documents_ingest import Incoming
from app.admin.documents_repository import UploadStatus
from app.admin.documents_schemas import (
    ApproveIn,
    IngestJobOut,
    IngestJobPage,
    RejectIn,
    UploadBrief,
    UploadOut,
    UploadPage,
)
from app.admin.index_builds_assembly import KnowledgeAdmin
from app.chat.schemas import Department
from app.dependencies import Editor
from app.errors import InvalidPayload
from app.openapi import errors
from app.safety.types import Audience
from knowledge_base.document import Source
from knowledge_base.ingest.reader import About

router = APIRouter(prefix="/admin/documents", tags=["admin"])
COPY_BYTES = 1 << 20
KINDS = ("disease", "drug", "procedure", "test", "indicator", "rehab", "lifestyle", "faq", "emergency")


def knowledge_admin(request: Request) -> KnowledgeAdmin:
    """The services that the lifespan put together."""
    admin: KnowledgeAdmin = request.app.state.knowledge
    return admin


Admin = Annotated[KnowledgeAdmin, Depends(knowledge_admin)]
UploadId = Annotated[
    str, PathParameter(min_length=26, max_length=26, examples=["01JD3ZQ6Y5T0W9X8V7M6K5H4G3"])
]
Cursor = Annotated[str | None, Query(max_length=26)]
Limit = Annotated[int, Query(ge=1, le=100)]


@router.post(
    "",
    summary="Hand in files",
    status_code=status.HTTP_202_ACCEPTED,
    responses=errors(401, 403, 413, 422, 429, 503),
)
async def upload(
    caller: Editor,
    admin: Admin,
    files: Annotated[list[UploadFile], File(description="Markdown, PDF, DOCX, HTML, TXT or CSV")],
    department: Annotated[Department, Form()] = Department.GENERAL,
    audience: Annotated[Audience, Form()] = Audience.PATIENT,
    kind: Annotated[str, Form(max_length=32, examples=["faq"])] = "faq",
    title: Annotated[
        str | None, Form(max_length=120, description="for a single file; else from the file")
    ] = None,
    source_title: Annotated[str | None, Form(max_length=200)] = None,
    source_publisher: Annotated[str, Form(max_length=200)] = "",
    source_year: Annotated[str, Form(max_length=20)] = "",
    expires_on: Annotated[date | None, Form(description="not served after this day")] = None,
) -> IngestJobOut:
    """Keeps the files and reads them in the background; follow the job. What is read becomes a draft.

    A file that says these things itself (Markdown with front matter) keeps what it says.
    """
    if kind not in KINDS:
        raise InvalidPayload(f"kind 只能是 {'、'.join(KINDS)} 之一。")
    source = None if source_title is None else Source(source_title, source_publisher, source_year)
    about = About(
        department=department.value,
        audience=audience.value,
        kind=kind,
        title=title if len(files) == 1 else None,
        source=source,
        expires_on=None if expires_on is None else expires_on.isoformat(),
    )
    with tempfile.TemporaryDirectory(prefix="anxin-upload-") as folder:
        incoming = await to_thread.run_sync(_spooled, files, Path(folder))
        job_id = await admin.ingest.create(caller.user_id, incoming, about, copy=False)
    admin.run_job(job_id)
    return IngestJobOut.of(await admin.ingest.view(job_id))


@router.get("", summary="List uploads", responses=errors(401, 403, 422, 429, 503))
async def uploads(
    caller: Editor,
    admin: Admin,
    status: UploadStatus | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> UploadPage:
    """Newest first; `status=draft` is what waits for a decision."""
    rows, following = await admin.documents.page(status, cursor, limit)
    return UploadPage(items=[UploadBrief.of(row) for row in rows], next_cursor=following)


@router.get("/jobs", summary="List ingestion jobs", responses=errors(401, 403, 422, 429, 503))
async def jobs(caller: Editor, admin: Admin, cursor: Cursor = None, limit: Limit = 20) -> IngestJobPage:
    """Newest first."""
    views = await admin.ingest.jobs(cursor, limit + 1)
    following = views[limit - 1].row.id if len(views) > limit else None
    return IngestJobPage(items=[IngestJobOut.of(view) for view in views[:limit]], next_cursor=following)


@router.get(
    "/jobs/{job_id}", summary="Follow an ingestion job", responses=errors(401, 403, 404, 422, 429, 503)
)
async def job(caller: Editor, admin: Admin, job_id: UploadId) -> IngestJobOut:
    """Every file with its state, its pages done, and what is wrong with it."""
    return IngestJobOut.of(await admin.ingest.view(job_id))


@router.get("/{upload_id}", summary="Read an upload", responses=errors(401, 403, 404, 422, 429, 503))
async def read(caller: Editor, admin: Admin, upload_id: UploadId) -> UploadOut:
    """Its text by section as it would be served, and what was flagged."""
    return UploadOut.of(await admin.documents.get(upload_id))


@router.post(
    "/{upload_id}/approve", summary="Serve a draft", responses=errors(401, 403, 404, 409, 422, 429, 503)
)
async def approve(
    caller: Editor, admin: Admin, upload_id: UploadId, body: ApproveIn | None = None
) -> UploadBrief:
    """Replaces the version served before. `indexed` is false while a long document is still being embedded."""
    said = ApproveIn() if body is None else body
    decided = await admin.documents.approve(
        upload_id, caller.user_id, said.note, despite_flags=said.despite_flags
    )
    return UploadBrief.of(await admin.documents.get(decided.row.id))


@router.post(
    "/{upload_id}/reject", summary="Turn a draft down", responses=errors(401, 403, 404, 409, 422, 429, 503)
)
async def reject(caller: Editor, admin: Admin, upload_id: UploadId, body: RejectIn) -> UploadBrief:
    """The draft stays readable for editors."""
    return UploadBrief.of(await admin.documents.reject(upload_id, caller.user_id, body.reason))


@router.delete(
    "/{upload_id}",
    summary="Delete an upload",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(401, 403, 404, 422, 429, 503),
)
async def delete(caller: Editor, admin: Admin, upload_id: UploadId) -> None:
    """Its passages in every index, its text and its file; who and when stays in the audit."""
    await admin.documents.delete(upload_id, caller.user_id)


def _spooled(files: Sequence[UploadFile], folder: Path) -> list[Incoming]:
    """The uploads as files under names of their own: what a client calls a file is never a path here."""
    incoming = []
    for number, file in enumerate(files):
        path = folder / str(number)
        with path.open("wb") as out:
            while block := file.file.read(COPY_BYTES):
                out.write(block)
        incoming.append(Incoming(file.filename or "document", path))
    return incoming
