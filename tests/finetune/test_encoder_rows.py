"""What the encoder is trained on: nothing that it is measured with, and a part held out by the words alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune.encoder import rows
from finetune.encoder.pairs import UNANSWERED, letters
from finetune.encoder.rows import Row, apart_from_measured
from knowledge_base.asked import FOLDER, read_asked

KNOWLEDGE = FOLDER.parent
MEASURED = "我爸今早起来左边手脚不听使唤，说话也含糊"


def questions(path: Path) -> set[str]:
    return {json.loads(line)["question"] for line in path.read_text("utf-8").splitlines()}


def test_no_question_that_retrieval_is_measured_with_is_trained_on() -> None:
    measured = questions(KNOWLEDGE / "acceptance.jsonl") | questions(KNOWLEDGE / "unanswerable.jsonl")
    asked = {one.question for many in read_asked(FOLDER).values() for one in many}
    unanswered = [question for path in UNANSWERED.glob("*.jsonl") for question in questions(path)]
    assert len(unanswered) == len(set(unanswered)) > 100
    assert not measured & asked
    assert not measured & set(unanswered)
    assert not asked & set(unanswered)


def test_what_resembles_a_measured_text_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "triage_measured9.jsonl").write_text(json.dumps({"text": MEASURED}) + "\n", "utf-8")
    monkeypatch.setattr(rows.triage_train, "SETS", tmp_path)
    near = Row("message", MEASURED.replace("今早", "今天"), 2, "test")
    far = Row("message", "布洛芬饭前吃还是饭后吃", 0, "test")
    assert list(apart_from_measured([near, far])) == [far]


def test_a_quarter_of_what_authors_wrote_is_held_out_and_rules_never() -> None:
    texts = [f"第{number}条" for number in range(2000)]
    held = [Row("message", text, 0, "circulation").held for text in texts]
    assert 0.2 < sum(held) / len(held) < 0.3
    assert held == [Row("message", text, 2, "neuro").held for text in texts], "by the words, not the label"
    assert not any(Row("message", text, 0, "background").held for text in texts)
    answer = Row("answer", "问", ["dose_change"], "drafts_train", ("甲。", "乙。"))
    assert answer.text == "甲。乙。"


def test_an_answer_is_found_in_a_passage_whatever_its_marks() -> None:
    assert letters("- **首选**二代抗组胺药[^2]。") == "首选二代抗组胺药。"
