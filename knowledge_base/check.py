"""The editorial check of the knowledge documents: `python -m knowledge_base.check` (part of `make check`).

Owns the rules that a document must meet to be in the repository; each finding is one line `file:line: code: message`.
Whether a statement is right is for reviewers; whether it can be traced is checked here.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from knowledge_base.check_numbers import statements, unmarked_numbers
from knowledge_base.document import Document, DocumentError, Source, parse_document
from knowledge_base.near_duplicates import Paragraph, near_duplicates
from knowledge_base.sources import REGISTER, RegisteredSource, read_register

DOCUMENTS = Path(__file__).parent / "documents"
MIN_CHARS = 700
"""Characters of body without marks and white space; the house aims for 900 to 1,500."""
URGENT_SECTION = "什么时候要马上就医"
QUESTIONS_SECTION = "常见问题"
URGENT_KINDS = frozenset({"disease", "drug", "procedure", "emergency", "rehab"})
MIN_QUESTIONS = 3
_MARK = re.compile(r"\[\^(\d+)\]")
_FOREIGN = re.compile(r"https?://|<[a-zA-Z/][^>]*>|!\[")


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule broken at one place; `line` is 1-based in the file."""

    path: Path
    line: int
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.code}: {self.message}"


@dataclass(frozen=True, slots=True)
class Checked:
    """A parsed document with its file and the number of lines before its body."""

    path: Path
    document: Document
    offset: int

    def finding(self, body_line: int, code: str, message: str) -> Finding:
        return Finding(self.path, self.offset + body_line, code, message)


def check_folder(folder: Path, register: Mapping[Source, RegisteredSource], today: date) -> list[Finding]:
    """Every finding of the documents below `folder`, by file and line."""
    checked: list[Checked] = []
    findings: list[Finding] = []
    for path in sorted(folder.rglob("*.md")):
        try:
            checked.append(_read(path))
        except DocumentError as error:
            findings.append(Finding(path, 1, "front-matter", error.problem))
    findings += _identity(checked)
    ids = {item.document.document_id for item in checked}
    for item in checked:
        findings += _sources(item, register)
        findings += _dates(item, today)
        findings += _links(item, ids)
        findings += _form(item)
        findings += _marks(item)
    findings += _twins(checked)
    return sorted(findings, key=lambda finding: (str(finding.path), finding.line, finding.code))


def _read(path: Path) -> Checked:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(path.name, "cannot be read as UTF-8 text") from error
    document = parse_document(text, name=path.name)
    return Checked(path, document, text[: text.find(document.body)].count("\n"))


def _identity(checked: Sequence[Checked]) -> Iterator[Finding]:
    seen: dict[str, Path] = {}
    for item in checked:
        document_id = item.document.document_id
        if document_id in seen:
            yield Finding(item.path, 2, "id", f"{document_id} is also the id of {seen[document_id].name}")
        seen.setdefault(document_id, item.path)
        if item.path.stem != document_id:
            yield Finding(item.path, 2, "id", f"the file of {document_id} is not called {document_id}.md")
        if item.path.parent.name != item.document.department:
            yield Finding(item.path, 2, "department", f"is not in the folder {item.document.department}")


def _sources(item: Checked, register: Mapping[Source, RegisteredSource]) -> Iterator[Finding]:
    cited = item.document.sources
    if not cited:
        yield Finding(item.path, 1, "sources", "names no source")
        return
    for source in cited:
        if source not in register:
            yield Finding(
                item.path, 1, "unknown-source", f"{source.label}（{source.year}） is not in sources.toml"
            )
    if not any(source in register and register[source].confirmed for source in cited):
        yield Finding(item.path, 1, "unconfirmed", "has no confirmed source")


def _dates(item: Checked, today: date) -> Iterator[Finding]:
    document = item.document
    if document.review_date is None:
        yield Finding(item.path, 1, "review", "has no review date")
    elif document.review_date > today.isoformat():
        yield Finding(item.path, 1, "review", f"was reviewed in the future ({document.review_date})")
    if document.expires_on is None:
        yield Finding(item.path, 1, "expiry", "has no expiry date")
    elif document.expires_on < today.isoformat():
        yield Finding(item.path, 1, "expired", f"expired on {document.expires_on}: review it again")


def _links(item: Checked, ids: set[str]) -> Iterator[Finding]:
    for other in item.document.related:
        if other not in ids:
            yield Finding(item.path, 1, "related", f"{other} does not exist")
        elif other == item.document.document_id:
            yield Finding(item.path, 1, "related", "links to itself")


def _form(item: Checked) -> Iterator[Finding]:
    document = item.document
    size = len("".join(_MARK.sub("", document.body).split()))
    if size < MIN_CHARS:
        yield item.finding(1, "too-short", f"{size} characters, at least {MIN_CHARS}")
    headings = [section.path[0] for section in document.sections if section.path]
    if document.kind in URGENT_KINDS and not any(URGENT_SECTION in heading for heading in headings):
        yield item.finding(1, "urgent-section", f"has no section {URGENT_SECTION}")
    if QUESTIONS_SECTION not in headings:
        yield item.finding(1, "questions-section", f"has no section {QUESTIONS_SECTION}")
    elif document.body.count("问：") < MIN_QUESTIONS:
        yield item.finding(1, "questions-section", f"has fewer than {MIN_QUESTIONS} questions")
    for number, line in enumerate(document.body.splitlines(), start=1):
        if _FOREIGN.search(line):
            yield item.finding(number, "foreign", "contains an address, HTML or a picture")


def _marks(item: Checked) -> Iterator[Finding]:
    known = len(item.document.sources)
    for statement in statements(item.document.body):
        for mark in statement.marks:
            if not 1 <= mark <= known:
                yield item.finding(statement.line, "mark", f"[^{mark}] points to none of the {known} sources")
    for statement in unmarked_numbers(item.document.body):
        yield item.finding(statement.line, "number", f"no source for: {statement.text[:60]}")


def _twins(checked: Sequence[Checked]) -> Iterator[Finding]:
    by_id = {item.document.document_id: item for item in checked}
    paragraphs = [
        Paragraph(document_id, number, _MARK.sub("", line).replace("**", "").strip())
        for document_id, item in by_id.items()
        for number, line in enumerate(item.document.body.splitlines(), start=1)
        if line and not line.startswith("#")
    ]
    for twins in near_duplicates(paragraphs):
        where = by_id[twins.second.document]
        other = (
            f"{by_id[twins.first.document].path.name}:{by_id[twins.first.document].offset + twins.first.line}"
        )
        message = f"says nearly the same as {other} ({twins.similarity:.2f}): {twins.second.text[:40]}"
        yield where.finding(twins.second.line, "near-duplicate", message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the findings; 1 when there is any."""
    parser = argparse.ArgumentParser(prog="python -m knowledge_base.check", description=__doc__)
    parser.add_argument("--documents", type=Path, default=DOCUMENTS)
    parser.add_argument("--sources", type=Path, default=REGISTER)
    parser.add_argument("--today", type=date.fromisoformat, default=datetime.now(UTC).date())
    chosen = parser.parse_args(arguments)
    try:
        register = read_register(chosen.sources)
    except (OSError, ValueError) as error:
        sys.stdout.write(f"{chosen.sources}:1: sources: {error}\n")
        return 1
    findings = check_folder(chosen.documents, register, chosen.today)
    number = len(list(chosen.documents.rglob("*.md")))
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"{number} documents, {len(register)} sources: {len(findings)} findings\n")
    return 1 if findings or not number else 0


if __name__ == "__main__":
    sys.exit(main())
