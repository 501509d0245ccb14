"""What the document endpoints take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.admin.documents_ingest import JobView
from app.admin.documents_repository import FileState, JobState, UploadStatus
from app.admin.documents_service import document_of
from app.db.tables_knowledge import IngestFileRow, UploadRow

PREVIEW_CHARS = 20_000


class FlagOut(BaseModel):
    """A place that tries to instruct the model; it is stored as text only."""

    code: str
    section: str
    excerpt: str


class UploadBrief(BaseModel):
    """One version of an uploaded document."""

    id: str
    document_id: str = Field(description="the same for all versions; chunks and articles carry it")
    title: str
    department: str
    kind: str
    audience: str
    status: UploadStatus
    file_name: str
    file_kind: str
    size: int = Field(description="bytes")
    pages: int | None
    chars: int
    flags: list[FlagOut]
    uploaded_by: str | None
    uploaded_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    note: str | None
    indexed: bool = Field(description="its passages are in a collection")

    @classmethod
    def of(cls, row: UploadRow) -> UploadBrief:
        return cls(**_fields(row))


class SectionOut(BaseModel):
    path: list[str]
    page: int | None
    text: str


class UploadOut(UploadBrief):
    """With its text as it will be cut, for the editor who decides (the first part of a long one)."""

    sections: list[SectionOut]
    truncated: bool

    @classmethod
    def of(cls, row: UploadRow) -> UploadOut:
        document = document_of(row)
        sections: list[SectionOut] = []
        left = PREVIEW_CHARS
        for section in () if document is None else document.sections:
            if left <= 0:
                break
            sections.append(SectionOut(path=list(section.path), page=section.page, text=section.text[:left]))
            left -= len(section.text)
        return cls(**_fields(row), sections=sections, truncated=left < 0)


class UploadPage(BaseModel):
    items: list[UploadBrief]
    next_cursor: str | None = None


class IngestFileOut(BaseModel):
    """`parts_done` of `parts_total` are pages where the file has pages."""

    name: str
    size: int
    state: FileState
    problem: str | None
    message: str | None
    parts_done: int
    parts_total: int
    upload_id: str | None

    @classmethod
    def of(cls, row: IngestFileRow) -> IngestFileOut:
        return cls.model_validate(row, from_attributes=True)


class IngestJobOut(BaseModel):
    """`unchanged`: every file was known already. `failed`: none could be used. `partial`: some could not."""

    id: str
    state: JobState
    created_at: datetime
    updated_at: datetime
    files: list[IngestFileOut]
    done: int
    duplicates: int
    failed: int
    pending: int

    @classmethod
    def of(cls, view: JobView) -> IngestJobOut:
        return cls(
            id=view.row.id,
            state=JobState(view.row.state),
            created_at=view.row.created_at,
            updated_at=view.row.updated_at,
            files=[IngestFileOut.of(file) for file in view.files],
            done=view.count(FileState.DONE),
            duplicates=view.count(FileState.DUPLICATE),
            failed=view.count(FileState.FAILED),
            pending=view.count(FileState.PENDING),
        )


class IngestJobPage(BaseModel):
    items: list[IngestJobOut]
    next_cursor: str | None = None


class ApproveIn(BaseModel):
    note: str | None = Field(None, max_length=500)
    despite_flags: bool = Field(False, description="the editor has seen the flags and the text is harmless")


class RejectIn(BaseModel):
    reason: str = Field(min_length=1, max_length=500)


def _fields(row: UploadRow) -> dict[str, Any]:
    names = [name for name in UploadBrief.model_fields if name not in ("flags", "indexed")]
    flags = [FlagOut.model_validate(flag) for flag in row.flags]
    return {
        **{name: getattr(row, name) for name in names},
        "flags": flags,
        "indexed": row.indexed_in is not None,
    }
