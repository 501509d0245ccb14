"""Cuts documents into passages: by section, never inside a sentence, tables whole, question-answer pairs whole.

Parameters were chosen by measurement, see `docs/benchmarks.md` (chunking).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from knowledge_base.document import Document, Section, Source
from retrieval.types import Chunk

MARK = re.compile(r"\[\^(\d+)\]")
_SENTENCE = re.compile(r"[^。！？!?；\n]*(?:[。！？!?；]+[”’）)」』]*|\n|$)")
_TABLE_LINE = re.compile(r"^\s*\|")
_PAIR = re.compile(r"(?m)^\s*(?:\*\*)?问[:：]")
_BULLET = re.compile(r"^\s*(?:[-*+]|\d+[.、)])\s+")
_EMPHASIS = re.compile(r"\*\*")
MAX_PIECE_CHARS = 1_000
"""What one sentence or table may have; the embedders read 512 tokens, about 800 characters of Chinese."""
MAX_TABLE_CHARS = 4_000
MAX_LEAD_CHARS = 100
"""Longer sentences (and tables) are not repeated as overlap."""


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """Sizes in characters of text without marks; `overlap` in sentences; `pairs` questions with answers a passage."""

    max_chars: int = 320
    min_chars: int = 60
    overlap: int = 1
    pairs: int = 1


@dataclass(frozen=True, slots=True)
class Piece:
    """One sentence, table or pair; `marks` are the 1-based source numbers it carries."""

    text: str
    marks: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.text)


def chunk_document(document: Document, settings: ChunkSettings | None = None) -> list[Chunk]:
    """The passages of a document in reading order, neighbours linked."""
    chosen = ChunkSettings() if settings is None else settings
    chunks: list[Chunk] = []
    for section in document.sections:
        for pieces in _passages(section, chosen):
            number = len(chunks) + 1
            chunks.append(_chunk(document, section, pieces, f"{document.document_id}#{number:03d}"))
    return [
        replace(
            chunk,
            previous_id=chunks[i - 1].chunk_id if i > 0 else None,
            next_id=chunks[i + 1].chunk_id if i + 1 < len(chunks) else None,
        )
        for i, chunk in enumerate(chunks)
    ]


def _passages(section: Section, settings: ChunkSettings) -> Iterator[list[Piece]]:
    for block in _blocks(section.text, settings.pairs):
        yield from _pack(list(_pieces(block)), settings)


def _blocks(text: str, pairs: int) -> Iterator[str]:
    """A section as groups of `pairs` question-answer pairs where it has them, else as one block."""
    starts = [match.start() for match in _PAIR.finditer(text)]
    if not starts:
        yield text
        return
    starts = starts[::pairs]
    bounds = [0, *starts] if starts[0] > 0 else starts
    for start, end in zip(bounds, [*bounds[1:], len(text)], strict=True):
        if text[start:end].strip():
            yield text[start:end]


def _pieces(text: str) -> Iterator[Piece]:
    table: list[str] = []
    for line in [*text.splitlines(), ""]:
        if _TABLE_LINE.match(line):
            table.append(line.strip())
            continue
        if table:
            yield from (_piece(part) for part in _tables(table))
            table = []
        for sentence in split_sentences(line):
            yield from _bounded(_piece(sentence))


def _tables(lines: Sequence[str]) -> Iterator[str]:
    """The table whole; one that no passage can hold in parts, each with the heading row."""
    if sum(map(len, lines)) <= MAX_PIECE_CHARS or len(lines) < 4:
        yield "\n".join(lines)[:MAX_TABLE_CHARS]
        return
    head, rows = list(lines[:2]), lines[2:]
    part: list[str] = []
    for row in rows:
        if part and sum(map(len, [*head, *part, row])) > MAX_PIECE_CHARS:
            yield "\n".join([*head, *part])
            part = []
        part.append(row[:MAX_TABLE_CHARS])
    yield "\n".join([*head, *part])


def split_sentences(line: str) -> list[str]:
    """Sentences of one line with their end marks; a mark behind the full stop stays with its sentence."""
    moved = re.sub(r"([。！？!?；])((?:\[\^\d+\])+)", r"\2\1", line.strip())
    return [match.group().strip() for match in _SENTENCE.finditer(moved) if match.group().strip()]


def _piece(text: str) -> Piece:
    marks = tuple(int(number) for number in MARK.findall(text))
    return Piece(_EMPHASIS.sub("", MARK.sub("", text)).strip(), marks)


def _bounded(piece: Piece) -> Iterator[Piece]:
    """The piece, or parts of one that is too long to be a sentence (a page without full stops)."""
    text = piece.text
    while len(text) > MAX_PIECE_CHARS:
        end = max(text.rfind(char, MAX_PIECE_CHARS // 2, MAX_PIECE_CHARS) for char in "，,、：: ")
        end = MAX_PIECE_CHARS - 1 if end < 0 else end
        yield Piece(text[: end + 1].strip(), piece.marks)
        text = text[end + 1 :].strip()
    if text:
        yield Piece(text, piece.marks)


def _pack(pieces: Sequence[Piece], settings: ChunkSettings) -> Iterator[list[Piece]]:
    """Sentences packed up to `max_chars`; the next passage opens with the last `overlap` sentences.

    A short rest joins the passage before it instead of standing alone.
    """
    groups: list[list[Piece]] = []
    for piece in pieces:
        if not groups or _size(groups[-1]) + piece.size > settings.max_chars:
            groups.append([])
        groups[-1].append(piece)
    if len(groups) > 1 and _size(groups[-1]) < settings.min_chars:
        rest = groups.pop()
        groups[-1].extend(rest)
    for number, group in enumerate(groups):
        lead = groups[number - 1][-settings.overlap :] if number and settings.overlap else []
        yield [*(p for p in lead if p.size <= MAX_LEAD_CHARS), *group]


def _size(pieces: Sequence[Piece]) -> int:
    return sum(piece.size for piece in pieces)


def _chunk(document: Document, section: Section, pieces: Sequence[Piece], chunk_id: str) -> Chunk:
    marks = [mark for piece in pieces for mark in piece.marks if 1 <= mark <= len(document.sources)]
    main = _source(document, max(set(marks), key=marks.count) if marks else 1)
    return Chunk(
        chunk_id=chunk_id,
        document_id=document.document_id,
        title=document.title,
        section=" / ".join(section.path),
        text=_join(pieces),
        department=document.department,
        kind=document.kind,
        audience=document.audience,
        source=main.label if main is not None else "",
        year=main.year if main is not None else "",
        sentences=tuple(piece.text for piece in pieces),
        sentence_sources=tuple(_label(document, piece.marks) for piece in pieces),
        keywords=document.keywords,
        page=section.page,
        expires_on=document.expires_on,
    )


def _join(pieces: Sequence[Piece]) -> str:
    """The text as read: list items and pairs keep their lines, sentences of a paragraph run on."""
    out = ""
    for piece in pieces:
        starts_line = _BULLET.match(piece.text) or piece.text.startswith(("|", "问", "答"))
        out += ("\n" if out and (starts_line or out.endswith("|")) else "") + piece.text
    return out


def _label(document: Document, marks: Sequence[int]) -> str:
    sources = [_source(document, mark) for mark in marks]
    return "；".join(f"{s.label}（{s.year}）" for s in sources if s is not None)


def _source(document: Document, mark: int) -> Source | None:
    return document.sources[mark - 1] if 1 <= mark <= len(document.sources) else None
