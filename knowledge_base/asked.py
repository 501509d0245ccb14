"""How patients ask for what a document says: further wordings, each with the words of the document that answer it.

Owns the form of `asked/*.jsonl`; one line is
`{"document": "car-012", "question": "放了支架半年能拔牙不", "answer": "an exact part of one section"}`. The embedded
reranker learns from them and `benchmarks/asked.py` measures with them. They are not indexed: with the embedded default
other wordings of a style drew questions away from the passages that answer them (docs/decisions/0005).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from knowledge_base.document import Document

FOLDER = Path(__file__).parent / "asked"
MAX_QUESTION_CHARS, MAX_ANSWER_CHARS = 100, 300


@dataclass(frozen=True, slots=True)
class Asked:
    """A wording and the part of the document, character by character, that answers it."""

    question: str
    answer: str


class AskedError(Exception):
    """A line that cannot be used; `place` is the file and line."""

    def __init__(self, place: str, problem: str) -> None:
        self.place = place
        self.problem = problem
        super().__init__(f"{place}: {problem}")


def read_asked(folder: Path) -> dict[str, tuple[Asked, ...]]:
    """Every `*.jsonl` in the folder, by document id, in the order of the lines.

    Raises:
        AskedError: unreadable, malformed, too long, or the same question twice for a document.
    """
    found: defaultdict[str, dict[str, Asked]] = defaultdict(dict)
    for path in sorted(folder.glob("*.jsonl")):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise AskedError(path.name, f"cannot be read as UTF-8 text ({type(error).__name__})") from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                document, asked = _row(line, f"{path.name}:{number}")
                if asked.question in found[document]:
                    raise AskedError(f"{path.name}:{number}", "this question is there already")
                found[document][asked.question] = asked
    return {document: tuple(rows.values()) for document, rows in found.items()}


def misplaced(documents: Iterable[Document], asked: Mapping[str, Sequence[Asked]]) -> list[str]:
    """What is wrong with the wordings: a document that is not there, an answer that no section of it holds."""
    known = {document.document_id: document for document in documents}
    problems = [
        f"{document_id}: there is no such document" for document_id in asked if document_id not in known
    ]
    for document_id, rows in asked.items():
        sections = known[document_id].sections if document_id in known else ()
        problems += [
            f"{document_id}: no section says what answers {one.question!r}"
            for one in rows
            if sections and not any(one.answer in section.text for section in sections)
        ]
    return problems


def _row(line: str, place: str) -> tuple[str, Asked]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise AskedError(place, "is not JSON") from error
    names = ("document", "question", "answer")
    if not isinstance(row, dict) or not all(isinstance(row.get(n), str) and row[n].strip() for n in names):
        raise AskedError(place, f"needs {', '.join(names)} as text")
    if len(row["question"]) > MAX_QUESTION_CHARS or len(row["answer"]) > MAX_ANSWER_CHARS:
        raise AskedError(place, "question or answer is too long")
    return row["document"], Asked(row["question"].strip(), row["answer"].strip())
