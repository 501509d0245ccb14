"""Tells what a file is by what is in it; the extension only decides between kinds of plain text.

Refuses what is empty, binary, encrypted Office, or called something that it is not.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePath

from knowledge_base.ingest.types import FileKind, IngestError, Limits, Problem

HEAD_BYTES = 4_096
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_OFFICE = "EncryptedPackage".encode("utf-16-le")
_HTML = re.compile(rb"<!doctype html|<html[\s>]|<head[\s>]|<body[\s>]", re.IGNORECASE)
_TEXT_KINDS = {
    ".md": FileKind.MARKDOWN,
    ".markdown": FileKind.MARKDOWN,
    ".txt": FileKind.TEXT,
    ".csv": FileKind.CSV,
    ".htm": FileKind.HTML,
    ".html": FileKind.HTML,
}
_BINARY_KINDS = {".pdf": FileKind.PDF, ".docx": FileKind.DOCX}
EXTENSIONS = frozenset({*_TEXT_KINDS, *_BINARY_KINDS})


def sniff(path: Path, name: str, limits: Limits) -> FileKind:
    """The kind of the file at `path`, called `name` by its owner.

    Raises:
        IngestError: empty, too large, encrypted, of no known kind, or not what its name says.
    """
    size = path.stat().st_size
    if size == 0:
        raise IngestError(Problem.EMPTY)
    if size > limits.file_bytes:
        raise IngestError(Problem.TOO_LARGE, f"（上限{limits.file_bytes // 2**20} MB）")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    extension = PurePath(name).suffix.lower()
    kind = _by_content(path, head)
    if kind is None:
        kind = _by_extension(extension, head)
    if kind in _TEXT_KINDS.values() and size > limits.text_bytes:
        raise IngestError(Problem.TOO_LARGE, f"（文本文件上限{limits.text_bytes // 2**20} MB）")
    return kind


def _by_content(path: Path, head: bytes) -> FileKind | None:
    if b"%PDF-" in head[:1024]:
        return FileKind.PDF
    if head.startswith(_OLE):
        if _ENCRYPTED_OFFICE in _read_bounded(path):
            raise IngestError(Problem.ENCRYPTED)
        raise IngestError(Problem.UNSUPPORTED, "旧版 .doc 请另存为 .docx。")
    if head.startswith(b"PK\x03\x04"):
        return _office(path)
    if _HTML.search(head):
        return FileKind.HTML
    return None


def _by_extension(extension: str, head: bytes) -> FileKind:
    if extension in _BINARY_KINDS:
        raise IngestError(Problem.WRONG_CONTENT)
    if extension not in _TEXT_KINDS:
        raise IngestError(Problem.UNSUPPORTED)
    is_utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\x00" in head and not is_utf16:
        raise IngestError(Problem.WRONG_CONTENT)
    return _TEXT_KINDS[extension]


def _office(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise IngestError(Problem.DAMAGED) from error
    if "word/document.xml" in names:
        return FileKind.DOCX
    raise IngestError(Problem.UNSUPPORTED)


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4 * 2**20)
