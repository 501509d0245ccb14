"""The articles as readers see them: list, read, full-text search, related, recommended.

Owns the reading side of documents. Searching for evidence is `retrieval`, changing documents is `app/admin`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import nh3
from markdown_it import MarkdownIt

from app.errors import DocumentNotFound
from knowledge_base.document import Document, DocumentError, read_documents
from retrieval.graph import MedicalGraph
from retrieval.tokens import default_tokenizer

_MARK = re.compile(r"\[\^(\d+)\]")
SUMMARY_CHARS = 120


def words(text: str) -> list[str]:
    return default_tokenizer().words(text)


@dataclass(frozen=True, slots=True)
class Match:
    document: Document
    score: float
    snippet: str


class Library:
    """All served documents in memory; `reload` replaces them in one step."""

    def __init__(self, folder: Path, graph: MedicalGraph, *, today: Callable[[], date]) -> None:
        self._folder = folder
        self._graph = graph
        self._today = today
        self._extra: dict[str, Document] = {}
        self._documents: dict[str, Document] = {}
        self._words: dict[str, Counter[str]] = {}
        self._markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
        self.reload()

    def reload(self, extra: Sequence[Document] = ()) -> None:
        """Reads the folder again; `extra` are approved uploads, which win over files of the same id.

        Raises:
            DocumentError: a file is malformed; what was served before stays.
        """
        documents = {d.document_id: d for d in read_documents(self._folder)}
        documents.update({d.document_id: d for d in extra})
        self._documents, self._words = documents, {}

    def __len__(self) -> int:
        return len(self._documents)

    def get(self, document_id: str) -> Document:
        """A served document.

        Raises:
            DocumentNotFound: unknown, or expired.
        """
        document = self._documents.get(document_id)
        if document is None or self._expired(document):
            raise DocumentNotFound
        return document

    def select(
        self, *, department: str | None = None, kind: str | None = None, audience: str | None = None
    ) -> list[Document]:
        """Served documents by id, narrowed."""
        return [
            document
            for document in self._documents.values()
            if not self._expired(document)
            and department in (None, document.department)
            and kind in (None, document.kind)
            and audience in (None, document.audience)
        ]

    def search(self, query: str, among: Sequence[Document]) -> list[Match]:
        """Full-text matches, best first: words of title and keywords count more than those of the body.

        Blocking; the first call after a (re)load segments the documents (about a second for 160).
        """
        asked = list(
            dict.fromkeys([*words(query), *(w for name in self._graph.expand(query) for w in words(name))])
        )
        found = []
        for document in among:
            counts = self._count(document)
            heading = f"{document.title} {' '.join(document.keywords)}"
            score = sum(
                min(counts[word], 5) + (8 if word in heading else 0) for word in asked if counts[word]
            )
            hit = sum(1 for word in asked if counts[word])
            if hit and hit * 2 >= len(words(query)):
                found.append(Match(document, score * hit / len(asked), snippet(document.body, asked)))
        return sorted(found, key=lambda match: (-match.score, match.document.document_id))

    def _count(self, document: Document) -> Counter[str]:
        known = self._words
        if document.document_id not in known:
            text = f"{document.title} {' '.join(document.keywords)} {document.body}"
            known[document.document_id] = Counter(words(text))
        return known[document.document_id]

    def related(self, document: Document, limit: int = 6) -> list[Document]:
        """What the editor linked first, then documents that share the graph's topics."""
        entities = [
            mention.entity.id
            for mention in self._graph.mentions(f"{document.title} {' '.join(document.keywords)}")
        ]
        wanted = [*document.related, *self._graph.topics_of(entities)]
        ids = dict.fromkeys(i for i in wanted if i != document.document_id and i in self._documents)
        found = [self._documents[i] for i in ids]
        return [d for d in found if not self._expired(d) and d.audience == document.audience][:limit]

    def recommended(self, department: str | None, questions: Sequence[str], limit: int = 8) -> list[Document]:
        """For a reader: documents on what he asked lately, then of his department."""
        mine = self.select(audience="patient")
        scores: Counter[str] = Counter()
        for rank, question in enumerate(questions):
            for match in self.search(question, mine)[:4]:
                scores[match.document.document_id] += int(100 * match.score / (rank + 1))
        asked = [self._documents[i] for i, _ in scores.most_common()]
        rest = [d for d in mine if department in (None, d.department) and d not in asked]
        return [*asked, *rest][:limit]

    def html(self, document: Document) -> str:
        """The document as safe HTML; source marks become links to the list of sources."""
        linked = _MARK.sub(lambda m: f"[[{m.group(1)}]](#source-{m.group(1)})", document.body)
        return nh3.clean(self._markdown.render(linked), link_rel="noopener noreferrer nofollow")

    def _expired(self, document: Document) -> bool:
        return document.expires_on is not None and document.expires_on < self._today().isoformat()


def summary(document: Document) -> str:
    """The first plain paragraph, shortened."""
    for section in document.sections:
        text = _MARK.sub("", section.text).replace("\n", "").replace("**", "")
        if text:
            return text[:SUMMARY_CHARS]
    return ""


def snippet(body: str, asked: Sequence[str]) -> str:
    """The line of the body that has most of the words."""
    lines = [line for line in _MARK.sub("", body).replace("**", "").splitlines() if line and line[0] != "#"]
    best = max(lines, key=lambda line: sum(1 for word in asked if word in line), default="")
    return best[:SUMMARY_CHARS]


__all__ = ["DocumentError", "Library", "Match", "summary"]
