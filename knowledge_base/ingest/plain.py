"""Plain text, Markdown and question-answer tables: decoding, headings, pairs.

Owns the encodings (UTF-8, UTF-16, GB18030) and how a heading is recognised where nothing marks it.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path, PurePath

from charset_normalizer import from_bytes

from knowledge_base.document import DocumentError, Section, markdown_sections, parse_document
from knowledge_base.ingest.types import FileKind, IngestError, Limits, Parsed, Problem

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Control, zero-width and text-direction characters: invisible to the editor who approves, so not kept."""
_HEADING = re.compile(
    r"^(?:第[一二三四五六七八九十百\d]+[章节篇部分]\s*\S{0,40}"
    r"|[一二三四五六七八九十]{1,3}、\s*\S.{0,38}"
    r"|（[一二三四五六七八九十]{1,3}）\s*\S.{0,36}"
    r"|\d{1,2}(?:\.\d{1,2}){0,3}[.、]?\s+\S.{0,38})$"
)
_ENDS_SENTENCE = tuple("。！？；，、：:,;.!?…")
_QUESTION_HEADERS = ("问题", "问", "提问", "question", "q", "query", "instruction")
_ANSWER_HEADERS = ("答案", "答", "回答", "answer", "a", "response", "output")
MAX_CELL_CHARS = 20_000


def decode(data: bytes) -> str:
    """The text of bytes in any encoding that Chinese editors use.

    Raises:
        IngestError: no encoding fits.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return clean(_decode_as(data, "utf-16"))
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return clean(data.decode(encoding))
        except UnicodeDecodeError:
            continue
    best = from_bytes(data[:200_000]).best()
    if best is None:
        raise IngestError(Problem.BAD_ENCODING)
    return clean(_decode_as(data, best.encoding))


def clean(text: str) -> str:
    """Without control and invisible characters; line ends as line feeds."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def is_heading(line: str) -> bool:
    """Whether a line of unmarked text is a heading: numbered as one, short, and not a sentence."""
    stripped = line.strip()
    return bool(_HEADING.match(stripped)) and not stripped.endswith(_ENDS_SENTENCE)


def read_markdown(path: Path, name: str, limits: Limits) -> Parsed:
    """A document in house form, or any Markdown (its first heading is the title)."""
    text = _text(path, limits)
    if text.lstrip().startswith("---\n"):
        try:
            document = parse_document(text.lstrip(), name=name)
        except DocumentError as error:
            raise IngestError(Problem.BAD_FRONT_MATTER, f"（{error.problem}）") from error
        return Parsed(FileKind.MARKDOWN, document.title, document.sections, document=document)
    sections = tuple(markdown_sections(text))
    first = re.search(r"^#\s+(.+?)\s*#*\s*$", text, re.MULTILINE)
    title = first.group(1) if first is not None else PurePath(name).stem
    return Parsed(FileKind.MARKDOWN, title, sections)


def read_text(path: Path, name: str, limits: Limits) -> Parsed:
    """Plain text; numbered short lines become headings."""
    lines = _text(path, limits).splitlines()
    return Parsed(FileKind.TEXT, PurePath(name).stem, tuple(sections_of(lines)))


def sections_of(lines: list[str], page: int | None = None) -> list[Section]:
    """Unmarked lines cut at what looks like a heading."""
    sections: list[Section] = []
    path: tuple[str, ...] = ()
    kept: list[str] = []

    def close() -> None:
        text = "\n".join(kept).strip()
        if text:
            sections.append(Section(path, text, page))
        kept.clear()

    for line in lines:
        if is_heading(line):
            close()
            path = (line.strip(),)
        else:
            kept.append(line)
    close()
    return sections


def read_csv(path: Path, name: str, limits: Limits) -> Parsed:
    """Question-answer pairs; the header names the columns (问题/答案, question/answer …), in any order.

    Raises:
        IngestError: no such columns, or no complete pair.
    """
    text = _text(path, limits)
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:4_000], delimiters=",;\t，")
    except csv.Error:
        dialect = csv.excel
    csv.field_size_limit(MAX_CELL_CHARS * 4)
    rows = csv.reader(io.StringIO(text), dialect)
    try:
        question_at, answer_at = _columns(next(rows, []))
        pairs = [
            Section(("问答",), f"**问：{_cell(row[question_at])}**\n答：{_cell(row[answer_at])}")
            for number, row in enumerate(rows)
            if number < limits.rows and len(row) > max(question_at, answer_at)
            if row[question_at].strip() and row[answer_at].strip()
        ]
    except csv.Error as error:
        raise IngestError(Problem.DAMAGED) from error
    return Parsed(FileKind.CSV, PurePath(name).stem, tuple(pairs))


def _columns(header: list[str]) -> tuple[int, int]:
    names = [cell.strip().strip('"').lower() for cell in header]
    question = next((i for i, cell in enumerate(names) if cell in _QUESTION_HEADERS), None)
    answer = next((i for i, cell in enumerate(names) if cell in _ANSWER_HEADERS), None)
    if question is None or answer is None:
        raise IngestError(Problem.BAD_TABLE)
    return question, answer


def _cell(text: str) -> str:
    return " ".join(text.split())[:MAX_CELL_CHARS]


def _text(path: Path, limits: Limits) -> str:
    text = decode(path.read_bytes())
    if len(text) > limits.chars:
        raise IngestError(Problem.TOO_LARGE, f"（上限{limits.chars // 10_000}万字）")
    return text


def _decode_as(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise IngestError(Problem.BAD_ENCODING) from error
