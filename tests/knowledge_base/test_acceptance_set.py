"""The acceptance questions are the project's own: enough of them, of every topic, and none lifted from a document."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from knowledge_base.document import read_documents

ROOT = Path(__file__).parents[2] / "knowledge_base"


def lines(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]


def letters(text: str) -> str:
    return re.sub(r"\W", "", text)


def test_every_topic_is_asked_about_in_both_halves() -> None:
    asked = lines("acceptance.jsonl")
    ids = {document.document_id for document in read_documents(ROOT / "documents")}
    assert len(asked) >= 480
    assert len({row["question"] for row in asked}) == len(asked)
    assert {row["documents"][0] for row in asked} == ids
    assert all(set(row["documents"]) <= ids for row in asked)
    halves = Counter(row["split"] for row in asked)
    assert abs(halves["dev"] - halves["test"]) < 10


def test_there_are_two_hundred_questions_that_the_knowledge_cannot_answer() -> None:
    rows = lines("unanswerable.jsonl")
    assert len({row["question"] for row in rows}) == len(rows) >= 200
    assert not {row["question"] for row in rows} & {row["question"] for row in lines("acceptance.jsonl")}


def test_no_question_is_copied_from_a_document() -> None:
    bodies = [letters(document.body) for document in read_documents(ROOT / "documents")]
    copied = [
        row["question"]
        for row in lines("acceptance.jsonl")
        if any(letters(row["question"]) in b for b in bodies)
    ]
    assert copied == []
