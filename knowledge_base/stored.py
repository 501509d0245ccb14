"""A document as JSON text, for the database: uploaded documents are kept as what was read, not as files to re-read."""

from __future__ import annotations

import json
from typing import Any

from knowledge_base.document import Document, Section, Source

FORM = 1


def to_json(document: Document) -> str:
    """The document without loss; `from_json` gives it back."""
    fields: dict[str, Any] = {
        "form": FORM,
        "document_id": document.document_id,
        "title": document.title,
        "department": document.department,
        "kind": document.kind,
        "audience": document.audience,
        "sections": [[list(s.path), s.text, s.page] for s in document.sections],
        "sources": [[s.title, s.publisher, s.year] for s in document.sources],
        "keywords": list(document.keywords),
        "related": list(document.related),
        "review_status": document.review_status,
        "review_date": document.review_date,
        "expires_on": document.expires_on,
        "body": document.body,
        "content_hash": document.content_hash,
    }
    return json.dumps(fields, ensure_ascii=False)


def from_json(text: str) -> Document:
    """The document that `to_json` wrote.

    Raises:
        ValueError: another form, or not such a text.
    """
    fields = json.loads(text)
    if fields.pop("form", None) != FORM:
        raise ValueError("a stored document of an unknown form")
    fields["sections"] = tuple(Section(tuple(path), text, page) for path, text, page in fields["sections"])
    fields["sources"] = tuple(Source(*source) for source in fields["sources"])
    for name in ("keywords", "related"):
        fields[name] = tuple(fields[name])
    return Document(**fields)
