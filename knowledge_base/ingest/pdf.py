"""PDF files, page by page: only one page is held open, so memory does not grow with the number of pages.

Owns page numbers, headings (bookmarks where there are any, else numbered lines), joining of broken lines, and leaving
out running heads. A file without a text layer is refused: guessing at pictures is not reading.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

import pypdfium2 as pdfium

from knowledge_base.document import Section
from knowledge_base.ingest.plain import clean, is_heading
from knowledge_base.ingest.types import FileKind, IngestError, Limits, Parsed, Problem, Progress

MIN_PAGE_CHARS = 10
MAX_SCANNED_SHARE = 0.5
"""With more pages than this share without text, the file counts as scanned."""
RUNNING_SHARE = 0.4
_PAGE_NUMBER = re.compile(r"^[\s\-—·第页/]*\d{1,4}[\s\-—·第页/共\d]*$")
_ENDS = tuple("。！？；：!?;:…”）)")
_BULLET = re.compile(r"^\s*(?:[-*•●·▪◆]|\d{1,2}[.、)）]|[（(]\d{1,2}[)）]|[①-⑳])\s*")


def read_pdf(path: Path, name: str, limits: Limits, progress: Progress | None = None) -> Parsed:
    """The text of a PDF with its page numbers.

    Raises:
        IngestError: encrypted, damaged, too many pages, scanned, or without text.
    """
    document = _open(path)
    try:
        number = len(document)
        if number == 0:
            raise IngestError(Problem.NO_TEXT)
        if number > limits.pages:
            raise IngestError(Problem.TOO_LARGE, f"（上限{limits.pages}页）")
        headings = _bookmarks(document)
        title = (document.get_metadata_value("Title") or "").strip()
        pages = _pages(document, number, limits, progress)
    finally:
        document.close()
    empty = sum(1 for lines in pages if sum(map(len, lines)) < MIN_PAGE_CHARS)
    if empty > number * MAX_SCANNED_SHARE:
        raise IngestError(Problem.SCANNED)
    sections = tuple(_sections(pages, headings))
    return Parsed(FileKind.PDF, clean(title) or PurePath(name).stem, sections, pages=number)


def _open(path: Path) -> pdfium.PdfDocument:
    try:
        return pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        locked = "password" in str(error).lower() or "security" in str(error).lower()
        raise IngestError(Problem.ENCRYPTED if locked else Problem.DAMAGED) from error


def _pages(
    document: pdfium.PdfDocument, number: int, limits: Limits, progress: Progress | None
) -> list[list[str]]:
    pages: list[list[str]] = []
    chars = 0
    for index in range(number):
        try:
            page = document[index]
            text_page = page.get_textpage()
            text = clean(text_page.get_text_bounded())
            text_page.close()
            page.close()
        except pdfium.PdfiumError as error:
            raise IngestError(Problem.DAMAGED, f"（第{index + 1}页）") from error
        chars += len(text)
        if chars > limits.chars:
            raise IngestError(Problem.TOO_LARGE, f"（上限{limits.chars // 10_000}万字）")
        pages.append([line.strip() for line in text.split("\n") if line.strip()])
        if progress is not None:
            progress(index + 1, number)
    return pages


def _bookmarks(document: pdfium.PdfDocument) -> dict[int, str]:
    """Title of the last bookmark that starts on each page (0-based)."""
    found: dict[int, str] = {}
    try:
        for bookmark in document.get_toc(max_depth=3):
            destination = bookmark.get_dest()
            index = None if destination is None else destination.get_index()
            title = clean(bookmark.get_title() or "").strip()
            if index is not None and title:
                found[index] = title[:80]
    except pdfium.PdfiumError:
        return {}
    return found


def _sections(pages: list[list[str]], headings: dict[int, str]) -> Iterator[Section]:
    running = _running_lines(pages)
    chapter, heading = "", ""
    for index, lines in enumerate(pages):
        if index in headings:
            chapter, heading = headings[index], ""
        kept: list[str] = []
        for line in lines:
            if line in running or _PAGE_NUMBER.match(line):
                continue
            if is_heading(line):
                yield from _section(chapter, heading, kept, index)
                heading, kept = line, []
            else:
                kept.append(line)
        yield from _section(chapter, heading, kept, index)


def _section(chapter: str, heading: str, lines: list[str], index: int) -> Iterator[Section]:
    text = join_lines(lines)
    if text:
        path = tuple(part for part in dict.fromkeys((chapter, heading)) if part)
        yield Section(path, text, index + 1)


def _running_lines(pages: list[list[str]]) -> set[str]:
    """Lines that open or close many pages: the name of the book, a hospital's footer."""
    if len(pages) < 4:
        return set()
    edges = Counter(line for lines in pages for line in dict.fromkeys([*lines[:2], *lines[-2:]]))
    return {line for line, times in edges.items() if times >= max(3, RUNNING_SHARE * len(pages))}


def join_lines(lines: list[str]) -> str:
    """Lines as set in print joined to paragraphs: a line that does not end a sentence goes on."""
    out = ""
    for line in lines:
        if not out:
            out = line
        elif out.endswith(_ENDS) or _BULLET.match(line):
            out += "\n" + line
        else:
            blank = " " if out[-1].isascii() and line[0].isascii() else ""
            out += blank + line
    return out
