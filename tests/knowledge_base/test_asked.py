"""Further wordings of questions: read from files, indexed as pairs, never more than the document says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from knowledge_base.asked import Asked
from knowledge_base.chunk import chunk_document
from knowledge_base.document import DocumentError, parse_document, read_documents, with_asked
from retrieval.search import distinct
from retrieval.types import Hit

DOCUMENT = """---
id: car-900
title: 支架术后
department: cardiology
kind: procedure
audience: patient
sources:
  - {title: 某指南, publisher: 某杂志, year: 2023}
  - {title: 某共识, publisher: 某学会, year: 2021}
---

# 支架术后

## 拔牙
- 拔牙前要告诉牙医放过支架[^2]。
- 阿司匹林不要自己停。

## 运动
走路从每天十分钟开始。
"""


def folder_with(tmp_path: Path, *rows: object) -> Path:
    (tmp_path / "car-900.md").write_text(DOCUMENT, encoding="utf-8")
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / "asked.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def row(
    question: str = "补牙要停药不", answer: str = "- 阿司匹林不要自己停。", document: str = "car-900"
) -> dict[str, str]:
    return {"document": document, "question": question, "answer": answer}


def test_a_wording_becomes_a_pair_with_the_place_and_source_of_its_answer(tmp_path: Path) -> None:
    answer = "- 拔牙前要告诉牙医放过支架[^2]。"
    (document,) = read_documents(folder_with(tmp_path, row("牙坏了咋整", answer)))
    *passages, asked = chunk_document(document)
    assert asked.is_asked
    assert asked.section == "拔牙"
    assert asked.sentences == ("问：牙坏了咋整", "答：拔牙前要告诉牙医放过支架。")
    assert asked.source == "《某共识》某学会"
    assert asked.previous_id == passages[0].chunk_id


def test_a_new_wording_changes_what_is_indexed(tmp_path: Path) -> None:
    document = parse_document(DOCUMENT, name="x")
    changed = with_asked(document, [Asked("补牙要停药不", "- 阿司匹林不要自己停。")])
    assert changed.content_hash != document.content_hash


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([row(answer="阿司匹林可以停一周。")], "no section says"),
        ([row(answer="- 阿司匹林不要自己停。\n\n## 运动\n走路")], "no section says"),
        ([row(document="car-999")], "no such document"),
        ([row(), row()], "asked.jsonl:2: this question is there already"),
        (["{broken"], "asked.jsonl:1: is not JSON"),
        ([{"document": "car-900", "question": ""}], "asked.jsonl:1: needs"),
        ([row(question="长" * 101)], "too long"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(tmp_path: Path, rows: list[object], problem: str) -> None:
    with pytest.raises(DocumentError, match=problem):
        read_documents(folder_with(tmp_path, *rows))


def test_an_answer_is_not_given_twice(tmp_path: Path) -> None:
    document = with_asked(
        parse_document(DOCUMENT, name="x"),
        [Asked("补牙要停药不", "- 阿司匹林不要自己停。"), Asked("拔牙停药", "- 阿司匹林不要自己停。")],
    )
    teeth, walking, first, second = (Hit(chunk, 1.0) for chunk in chunk_document(document))
    assert distinct([first, second, walking]) == [first, walking]
    assert distinct([teeth, first]) == [teeth]
    assert distinct([first, teeth]) == [first, teeth]
