"""Reads one file of any supported kind: what it is by content, then the reader of that kind.

Owns the dispatch, the last checks that all kinds share, and turning what was read into a document. Where files are
kept, jobs and approval are the service's.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from knowledge_base.document import Document, Section, Source
from knowledge_base.ingest.docx_file import read_docx
from knowledge_base.ingest.html_file import read_html
from knowledge_base.ingest.pdf import read_pdf
from knowledge_base.ingest.plain import read_csv, read_markdown, read_text
from knowledge_base.ingest.sniff import sniff
from knowledge_base.ingest.types import FileKind, IngestError, Limits, Parsed, Problem, Progress

HASH_BLOCK = 1 << 20
MAX_NAME_CHARS = 120
MIN_CHARS = 10
MAX_TITLE_CHARS = 120
_SIMPLE_READERS = {
    FileKind.MARKDOWN: read_markdown,
    FileKind.TEXT: read_text,
    FileKind.CSV: read_csv,
    FileKind.HTML: read_html,
    FileKind.DOCX: read_docx,
}


@dataclass(frozen=True, slots=True)
class About:
    """What the uploader says about a file; used where the file does not say it itself. `expires_on` is ISO."""

    department: str
    audience: str = "patient"
    kind: str = "faq"
    title: str | None = None
    source: Source | None = None
    expires_on: str | None = None


def read_file(
    path: Path, name: str, limits: Limits | None = None, progress: Progress | None = None
) -> Parsed:
    """What the file at `path` says; `name` is what its owner called it. Blocking.

    Raises:
        IngestError: the file cannot be used; nothing was changed.
    """
    chosen = Limits() if limits is None else limits
    try:
        kind = sniff(path, name, chosen)
        if kind is FileKind.PDF:
            parsed = read_pdf(path, name, chosen, progress)
        else:
            parsed = _SIMPLE_READERS[kind](path, name, chosen)
    except OSError as error:
        raise IngestError(Problem.UNREADABLE) from error
    if sum(len(section.text) for section in parsed.sections) < MIN_CHARS:
        raise IngestError(Problem.NO_TEXT)
    return parsed


def file_hash(path: Path) -> str:
    """sha256 (hex) of the file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def safe_name(name: str) -> str:
    """A plain file name without folders, control characters or a leading dot; never empty."""
    last = PurePath(unicodedata.normalize("NFC", name).replace("\\", "/")).name
    kept = re.sub(r"[^\w.\-（）()《》，、 ]", "_", last).strip(" .")
    stem, dot, extension = kept.rpartition(".")
    if dot and len(extension) <= 10:
        return f"{stem[:MAX_NAME_CHARS].strip(' .') or 'document'}.{extension}"
    return kept[:MAX_NAME_CHARS] or "document"


def key_of(name: str) -> str:
    """The id of a document that has none of its own: the same file name is the same document."""
    return "up-" + hashlib.sha256(PurePath(safe_name(name)).stem.lower().encode()).hexdigest()[:12]


def to_document(parsed: Parsed, name: str, about: About) -> Document:
    """The document that a file makes; one in house form keeps what it says about itself."""
    if parsed.document is not None:
        return parsed.document
    title = (about.title or parsed.title).strip()[:MAX_TITLE_CHARS] or PurePath(name).stem
    source = Source(title, "科室上传资料", "") if about.source is None else about.source
    body = render_body(title, parsed.sections)
    return Document(
        document_id=key_of(name),
        title=title,
        department=about.department,
        kind=about.kind,
        audience=about.audience,
        sections=parsed.sections,
        sources=(source,),
        review_status="draft",
        expires_on=about.expires_on,
        body=body,
        content_hash=hashlib.sha256(f"{title}\n{body}".encode()).hexdigest(),
    )


def render_body(title: str, sections: tuple[Section, ...]) -> str:
    """Sections as Markdown, for reading: headings where they change."""
    parts = [f"# {title}"]
    shown: tuple[str, ...] = ()
    for section in sections:
        if section.path != shown:
            parts += [f"{'#' * min(6, depth)} {name}" for depth, name in enumerate(section.path, start=2)
                      if section.path[: depth - 1] != shown[: depth - 1]]  # fmt: skip
            shown = section.path
        parts.append(section.text)
    return "\n\n".join(parts)


def approved(document: Document, day: str) -> Document:
    """The document as served after an editor approved it on `day` (ISO)."""
    return replace(document, review_status="approved", review_date=day)
