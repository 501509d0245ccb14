"""What the encoder learns about finding: questions with the passage that answers them, and questions that none answers.

Owns the wordings of `knowledge_base/asked` beside the passages of the documents, the documents' own questions, public
questions with their answers (given by a path; not in the repository), and the wrong passages that look right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune.encoder.rows import SEED, Row
from knowledge_base.asked import FOLDER, read_asked
from knowledge_base.chunk import chunk_document
from knowledge_base.document import Document, read_documents
from retrieval.embedders.e5 import shipped_e5
from retrieval.types import Chunk

DOCUMENTS = FOLDER.parent / "documents"
UNANSWERED = FOLDER.parent / "unanswered"
# Wrong passages are drawn from these ranks of the embedded model: nearer ones often answer too.
WRONG_FROM, WRONG_TO, WRONG = 4, 40, 3
NEAREST = 4
MOST_QUESTION, MOST_PASSAGE = 200, 400
SENTENCE_SHARE = 0.3
_MARKS = re.compile(r"\[\^\d+\]|[\s*\-]|^答：")
_ASKED = re.compile(r"\*\*问：(.+?)\*\*")


def letters(text: str) -> str:
    """The text without marks of sources and lists, so that a quotation is found in it."""
    return _MARKS.sub("", text)


class Passages:
    """Every passage of the documents with its vector by the embedded model."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.chunks = [chunk for document in documents for chunk in chunk_document(document)]
        self._chance = np.random.default_rng(SEED)
        self._vectors = shipped_e5().embed([f"passage: {chunk.embedded_text}" for chunk in self.chunks])

    def holding(self, document: str, answer: str) -> list[Chunk]:
        """The document's passages that say `answer`."""
        wanted = letters(answer)
        return [c for c in self.chunks if c.document_id == document and wanted in letters(c.text)]

    def wrong(self, question: NDArray[np.float32], right: Sequence[Chunk]) -> tuple[str, ...]:
        """Some of the passages that look like an answer to the question's vector (384,) and are not among `right`."""
        order = np.argsort(-(self._vectors @ question))[: WRONG_TO + len(right)]
        known = {chunk.chunk_id for chunk in right}
        others = [int(i) for i in order if self.chunks[int(i)].chunk_id not in known]
        start = WRONG_FROM if right else 0
        chosen = (
            others[:NEAREST]
            if not right
            else self._chance.choice(others[start:WRONG_TO], WRONG, replace=False)
        )
        return tuple(self.chunks[int(i)].embedded_text for i in chosen)


def pair_rows(public: Path | None, without: Path | None) -> Iterator[Row]:
    """Questions with right and wrong passages. `public` has lines with "question" and "answer"; a question that is a
    "query" in a line of `without` is left out."""
    documents = read_documents(DOCUMENTS)
    passages = Passages(documents)
    yield from _asked(passages)
    yield from _own_questions(passages)
    for path in sorted(UNANSWERED.glob("*.jsonl")):
        questions = [json.loads(line)["question"] for line in path.read_text("utf-8").splitlines()]
        vectors = shipped_e5().embed([f"query: {question}" for question in questions])
        for question, vector in zip(questions, vectors, strict=True):
            yield Row("none", question, None, f"none_{path.stem}", passages.wrong(vector, ()))
    if public is not None:
        yield from _public(public, without)


def _asked(passages: Passages) -> Iterator[Row]:
    for document, asked in read_asked(FOLDER).items():
        vectors = shipped_e5().embed([f"query: {one.question}" for one in asked])
        for one, vector in zip(asked, vectors, strict=True):
            right = passages.holding(document, one.answer)
            if right:
                others = (right[0].embedded_text, *passages.wrong(vector, right))
                yield Row("pair", one.question, one.answer, "asked", others)


def _own_questions(passages: Passages) -> Iterator[Row]:
    """The documents' own questions: each beside its answer without the question, which alone would give it away."""
    for chunk in passages.chunks:
        found = _ASKED.search(chunk.text)
        if found is None:
            continue
        answer = chunk.embedded_text.replace(found.group(0), "")
        vector = shipped_e5().embed([f"query: {found.group(1)}"])[0]
        others = (answer, *passages.wrong(vector, [chunk]))
        yield Row("pair", found.group(1), None, "documents", others, 0.5)


def _public(path: Path, without: Path | None) -> Iterator[Row]:
    left_out = set()
    if without is not None:
        left_out = {json.loads(line)["query"] for line in without.read_text("utf-8").splitlines()}
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["question"] not in left_out and len(row["answer"]) >= 20:
            yield Row("pair", row["question"], None, "public", (row["answer"],))
