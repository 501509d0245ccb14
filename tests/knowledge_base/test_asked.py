"""Further wordings of questions: read from files, each answered by a part of its document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from knowledge_base.asked import FOLDER, AskedError, misplaced, read_asked
from knowledge_base.document import read_documents

DOCUMENTS = FOLDER.parent / "documents"


def row(question: str = "牙坏了咋整", answer: str = "阿司匹林", document: str = "car-015") -> dict[str, str]:
    return {"document": document, "question": question, "answer": answer}


def folder_with(tmp_path: Path, *rows: object) -> Path:
    lines = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in rows]
    (tmp_path / "asked.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_every_shipped_wording_is_answered_by_a_section_of_its_document() -> None:
    documents = read_documents(DOCUMENTS)
    asked = read_asked(FOLDER)
    assert misplaced(documents, asked) == []
    assert sum(map(len, asked.values())) > 1_000


def test_no_wording_is_a_measured_question() -> None:
    """The acceptance questions measure what was learned from the wordings."""
    measured = {
        json.loads(line)["question"]
        for line in (FOLDER.parent / "acceptance.jsonl").read_text(encoding="utf-8").splitlines()
    }
    assert measured.isdisjoint(one.question for rows in read_asked(FOLDER).values() for one in rows)


def test_an_answer_from_nowhere_and_an_unknown_document_are_named(tmp_path: Path) -> None:
    asked = read_asked(folder_with(tmp_path, row(answer="阿司匹林可以停一周。"), row(document="car-999")))
    problems = misplaced(read_documents(DOCUMENTS / "cardiology"), asked)
    assert len(problems) == 2
    assert "no such document" in problems[0]
    assert "牙坏了咋整" in problems[1]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([row(), row()], "asked.jsonl:2: this question is there already"),
        (["{broken"], "asked.jsonl:1: is not JSON"),
        ([{"document": "car-900", "question": ""}], "asked.jsonl:1: needs"),
        ([row(question="长" * 101)], "too long"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, rows: list[object], problem: str) -> None:
    with pytest.raises(AskedError, match=problem):
        read_asked(folder_with(tmp_path, *rows))
