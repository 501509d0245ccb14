"""Word files (DOCX): headings by style, tables as Markdown tables, pages where Word left its page breaks.

The archive is measured before anything is unpacked, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import docx
from docx.oxml.ns import qn
from docx.table import Table
from docx.text.paragraph import Paragraph

from knowledge_base.document import Section
from knowledge_base.ingest.plain import clean
from knowledge_base.ingest.types import FileKind, IngestError, Limits, Parsed, Problem

_SMALL_ENTRY = 4 * 2**20
"""Entries up to this size may be packed as tightly as they like; XML often is."""


def read_docx(path: Path, name: str, limits: Limits) -> Parsed:
    """The text of a Word file.

    Raises:
        IngestError: an archive bomb, encrypted, damaged, or without text.
    """
    measure_archive(path, limits)
    try:
        document = docx.Document(str(path))
        title = clean(document.core_properties.title or "").strip()
        sections = tuple(_sections(document, limits))
    except IngestError:
        raise
    except Exception as error:  # python-docx and lxml raise many kinds for a file that is not sound
        raise IngestError(Problem.DAMAGED) from error
    return Parsed(FileKind.DOCX, title or PurePath(name).stem, sections)


def measure_archive(path: Path, limits: Limits) -> None:
    """Reads only the directory of the archive.

    Raises:
        IngestError: too many or too large entries, an entry packed absurdly well, or a damaged archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise IngestError(Problem.DAMAGED) from error
    if len(entries) > limits.unpacked_files or sum(e.file_size for e in entries) > limits.unpacked_bytes:
        raise IngestError(Problem.ARCHIVE_BOMB)
    for entry in entries:
        if entry.flag_bits & 0x1:
            raise IngestError(Problem.ENCRYPTED)
        if entry.file_size > max(_SMALL_ENTRY, limits.unpacked_ratio * max(1, entry.compress_size)):
            raise IngestError(Problem.ARCHIVE_BOMB)


def _sections(document: Any, limits: Limits) -> Iterator[Section]:
    path: list[tuple[int, str]] = []
    lines: list[str] = []
    page, has_pages, chars = 1, False, 0
    start = 1

    def close() -> Iterator[Section]:
        text = "\n".join(lines).strip()
        if text:
            yield Section(tuple(title for _, title in path), text, start if has_pages else None)
        lines.clear()

    for element in document.element.body.iterchildren():
        if element.tag == qn("w:p"):
            paragraph = Paragraph(element, document)
            text, level = clean(paragraph.text).strip(), _level(paragraph)
            breaks = _page_breaks(element)
            has_pages = has_pages or breaks > 0
            if text and level is not None:
                yield from close()
                path = [entry for entry in path if entry[0] < level] + [(level, text[:120])]
                page += breaks
                start = page
                continue
            if breaks and lines:
                yield from close()
            page += breaks
        elif element.tag == qn("w:tbl"):
            text = _table(Table(element, document))
        else:
            continue
        if text:
            start = page if not lines else start
            lines.append(text)
            chars += len(text)
            if chars > limits.chars:
                raise IngestError(Problem.TOO_LARGE, f"（上限{limits.chars // 10_000}万字）")
    yield from close()


def _level(paragraph: Paragraph) -> int | None:
    """Heading level by style (also Word in Chinese: 标题 1); the title style is level 0."""
    name = (paragraph.style.name or "") if paragraph.style is not None else ""
    lowered = name.lower()
    if lowered in {"title", "标题"}:
        return 0
    for prefix in ("heading", "标题"):
        if lowered.startswith(prefix):
            digits = "".join(char for char in lowered if char.isdigit())
            return int(digits) if digits else 1
    return None


def _page_breaks(element: Any) -> int:
    rendered = len(element.findall(f".//{qn('w:lastRenderedPageBreak')}"))
    typed = sum(1 for item in element.iter(qn("w:br")) if item.get(qn("w:type")) == "page")
    return max(rendered, typed)


def _table(table: Table) -> str:
    rows = [
        [" ".join(clean(cell.text).split()).replace("|", "／") for cell in row.cells] for row in table.rows
    ]
    rows = [row for row in rows if any(row)]
    if not rows:
        return ""
    width = max(map(len, rows))
    ruled = [rows[0], ["---"] * width, *rows[1:]]
    return "\n".join("| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in ruled)
