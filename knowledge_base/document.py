"""A knowledge document: its front matter, its sections, and the reading of the house's Markdown form.

Owns the form of a document. Cutting it into passages is `chunk.py`, other file kinds are `ingest/`, the editorial
checks are `check.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

DEPARTMENTS = ("cardiology", "allergy", "stroke_rehab", "general")
AUDIENCES = ("patient", "clinician")
MAX_FRONT_MATTER_CHARS = 20_000
_FRONT = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n", re.DOTALL)
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$")


class DocumentError(Exception):
    """A document that cannot be used; `path` and `problem` say which and why."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a statement can be read. `year` is a number, or 现行版 for a drug label."""

    title: str
    publisher: str
    year: str

    @property
    def label(self) -> str:
        return f"《{self.title}》{self.publisher}" if self.publisher else f"《{self.title}》"


@dataclass(frozen=True, slots=True)
class Section:
    """Text under one heading path, in order. `page` (1-based) where the file had pages."""

    path: tuple[str, ...]
    text: str
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """One document, ready to be cut. `content_hash` (sha256, hex) covers everything that is indexed."""

    document_id: str
    title: str
    department: str
    kind: str
    audience: str
    sections: tuple[Section, ...]
    sources: tuple[Source, ...] = ()
    keywords: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    review_status: str = "draft"
    review_date: str | None = None
    expires_on: str | None = None
    body: str = ""
    content_hash: str = ""


class _SafeLoader(yaml.SafeLoader):
    """YAML without aliases, so that a nested-anchor bomb is refused instead of expanded."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def read_document(path: Path) -> Document:
    """The document in a Markdown file of the house form.

    Raises:
        DocumentError: unreadable, not UTF-8, without front matter, or with malformed fields.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(path.name, f"cannot be read as UTF-8 text ({type(error).__name__})") from error
    return parse_document(text, name=path.name)


def parse_document(text: str, *, name: str) -> Document:
    """The document in a text of the house form; `name` is for error messages.

    Raises:
        DocumentError: see `read_document`.
    """
    matched = _FRONT.match(text)
    if matched is None:
        raise DocumentError(name, "has no front matter between --- lines")
    front = _front_matter(matched.group(1), name)
    body = text[matched.end() :].strip()
    sections = tuple(markdown_sections(body))
    if not sections:
        raise DocumentError(name, "has no text")
    return Document(
        document_id=_word(front, "id", name),
        title=_word(front, "title", name),
        department=_one_of(front, "department", DEPARTMENTS, name),
        kind=_word(front, "kind", name),
        audience=_one_of(front, "audience", AUDIENCES, name),
        sections=sections,
        sources=_sources(front.get("sources"), name),
        keywords=_words(front.get("keywords"), name),
        related=_words(front.get("related"), name),
        review_status=str((front.get("review") or {}).get("status", "draft")),
        review_date=_day((front.get("review") or {}).get("date"), name),
        expires_on=_day(front.get("expires_on"), name),
        body=body,
        content_hash=hashlib.sha256(text.encode("utf-8")).hexdigest(),
    )


def read_documents(folder: Path) -> list[Document]:
    """Every `*.md` below the folder, ordered by id.

    Raises:
        DocumentError: a file is malformed, or two share an id.
    """
    documents = [read_document(path) for path in sorted(folder.rglob("*.md"))]
    seen: set[str] = set()
    for document in documents:
        if document.document_id in seen:
            raise DocumentError(document.document_id, "the id is used twice")
        seen.add(document.document_id)
    return sorted(documents, key=lambda document: document.document_id)


def markdown_sections(body: str) -> list[Section]:
    """The body cut at its headings; the level-1 heading (the title) is not part of the paths."""
    sections: list[Section] = []
    path: list[tuple[int, str]] = []
    lines: list[str] = []

    def close() -> None:
        text = "\n".join(lines).strip()
        if text:
            sections.append(Section(tuple(title for level, title in path if level > 1), text))
        lines.clear()

    fenced = False
    for line in body.splitlines():
        fenced ^= line.lstrip().startswith("```")
        heading = None if fenced else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        close()
        level = len(heading.group(1))
        path = [entry for entry in path if entry[0] < level] + [(level, heading.group(2))]
    close()
    return sections


def _front_matter(text: str, name: str) -> dict[str, Any]:
    if len(text) > MAX_FRONT_MATTER_CHARS:
        raise DocumentError(name, "its front matter is too long")
    try:
        front = yaml.load(text, Loader=_SafeLoader)  # noqa: S506 (a SafeLoader without aliases)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DocumentError(name, "its front matter is not valid YAML") from error
    if not isinstance(front, dict):
        raise DocumentError(name, "its front matter is not a mapping")
    return front


def _word(front: dict[str, Any], key: str, name: str) -> str:
    value = front.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DocumentError(name, f"front matter needs `{key}` as text")
    return value.strip()


def _one_of(front: dict[str, Any], key: str, allowed: Sequence[str], name: str) -> str:
    value = _word(front, key, name)
    if value not in allowed:
        raise DocumentError(name, f"`{key}` is {value!r}, not one of {', '.join(allowed)}")
    return value


def _words(value: object, name: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise DocumentError(name, "keywords and related must be lists")
    return tuple(str(item).strip() for item in value)


def _sources(value: object, name: str) -> tuple[Source, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) and item.get("title") for item in value):
        raise DocumentError(name, "`sources` must be a list of {title, publisher, year}")
    return tuple(
        Source(str(item["title"]), str(item.get("publisher", "")), str(item.get("year", "")))
        for item in value
    )


def _day(value: object, name: str) -> str | None:
    if value is None:
        return None
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError as error:
        raise DocumentError(name, f"{value!r} is not a date (YYYY-MM-DD)") from error
