"""The vocabulary of ingestion: what a file gives, what can be wrong with it, and how much of it is read.

Messages are Chinese because editors read them; codes are stable, for programs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from knowledge_base.document import Document, Section


class FileKind(StrEnum):
    MARKDOWN = "markdown"
    PDF = "pdf"
    DOCX = "docx"
    HTML = "html"
    TEXT = "text"
    CSV = "csv"


class Problem(StrEnum):
    """Why a file cannot be used."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    WRONG_CONTENT = "wrong_content"
    ENCRYPTED = "encrypted"
    DAMAGED = "damaged"
    SCANNED = "scanned"
    ARCHIVE_BOMB = "archive_bomb"
    NO_TEXT = "no_text"
    BAD_FRONT_MATTER = "bad_front_matter"
    BAD_TABLE = "bad_table"
    BAD_ENCODING = "bad_encoding"
    UNREADABLE = "unreadable"


MESSAGES = {
    Problem.EMPTY: "文件是空的。",
    Problem.TOO_LARGE: "文件太大，请拆分后再上传。",
    Problem.UNSUPPORTED: "不支持这种文件，请使用 Markdown、PDF、DOCX、HTML、TXT 或 CSV。",
    Problem.WRONG_CONTENT: "文件内容与扩展名不符，请检查后再上传。",
    Problem.ENCRYPTED: "文件有密码保护，请去掉密码后再上传。",
    Problem.DAMAGED: "文件已损坏或不完整，打不开。",
    Problem.SCANNED: "这份PDF是扫描件，没有可读取的文字，请先做文字识别（OCR）再上传。",
    Problem.ARCHIVE_BOMB: "文件解压后异常巨大，已拒绝处理。",
    Problem.NO_TEXT: "文件里没有可用的文字。",
    Problem.BAD_FRONT_MATTER: "文档开头的信息（front matter）格式不正确。",
    Problem.BAD_TABLE: "表格里没有找到“问题”和“答案”两列。",
    Problem.BAD_ENCODING: "无法识别文件的文字编码，请另存为UTF-8后再上传。",
    Problem.UNREADABLE: "文件无法读取。",
}


class IngestError(Exception):
    """A file that is refused; `problem` is the code, `message` is for the editor."""

    def __init__(self, problem: Problem, detail: str = "") -> None:
        self.problem = problem
        self.message = f"{MESSAGES[problem]}{detail}"
        super().__init__(f"{problem}: {self.message}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read. Sizes in bytes and characters; `unpacked_*` guard archives (DOCX)."""

    file_bytes: int = 100 * 1024 * 1024
    text_bytes: int = 20 * 1024 * 1024
    chars: int = 5_000_000
    pages: int = 5_000
    unpacked_bytes: int = 300 * 1024 * 1024
    unpacked_ratio: int = 200
    unpacked_files: int = 10_000
    rows: int = 50_000


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file says: a title, its text by heading (and page), and the whole document if it was in house form."""

    kind: FileKind
    title: str
    sections: tuple[Section, ...]
    pages: int | None = None
    document: Document | None = None


Progress = Callable[[int, int], None]
"""Called with pages (or parts) done and in all."""
