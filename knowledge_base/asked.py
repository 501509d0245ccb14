"""How patients ask for what a document says: further wordings, each with the words of the document that answer it.

Owns the form of `asked.jsonl` files, which lie beside the documents; one line is
`{"document": "car-012", "question": "放了支架半年能拔牙不", "answer": "an exact part of one section"}`. A wording is
indexed like a question-answer pair of the document (`chunk.py`), so nothing is said that the document does not say.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

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
    """Every `asked*.jsonl` below the folder, by document id, in the order of the lines.

    Raises:
        AskedError: unreadable, malformed, too long, or the same question twice for a document.
    """
    found: defaultdict[str, dict[str, Asked]] = defaultdict(dict)
    for path in sorted(folder.rglob("asked*.jsonl")):
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
