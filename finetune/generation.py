"""Question-answer pairs and paraphrases written by a model, each with its passage, all queued for human review.

Owns the prompts of generation, the reading of replies and the first sieve (numbers that the passage does not have).
Nothing that comes out of here may be trained on before a named person approves it (`records.Trainable`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.formats import Located
from finetune.model_client import ModelClient, ModelError
from finetune.records import AI_GENERATED, Record
from knowledge_base.chunk import chunk_document
from knowledge_base.document import read_documents
from retrieval.types import Chunk

ASK_PAIRS = """你在为医院的健康问答系统起草训练数据，之后由医生逐条审核。
只根据下面的资料，写出{count}组“患者会怎么问—应该怎么答”。要求：
1. 问题用患者的口语，彼此不同；不出现姓名、电话等个人信息。
2. 回答只用资料里有的内容，数字、药名照抄，80到200字；不下诊断，不让患者自行加减药；说明什么情况要就医。
3. 只输出JSON数组，每项形如{{"question": "…", "answer": "…"}}，不要别的文字。

资料标题：{title} {section}
资料：
{passage}"""

ASK_PARAPHRASE = """把下面这个患者的问题换{count}种口语说法，意思完全不变，数字和药名不变，不增加也不减少信息。
只输出JSON数组，每项是一个字符串，不要别的文字。

问题：{question}"""

_ARRAY = re.compile(r"\[.*\]", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MIN_CHARS = 4


@dataclass(frozen=True, slots=True)
class Generated:
    """A candidate row, or why there is none (`problem`, with where it arose)."""

    row: dict[str, Any] | None
    where: str
    problem: str = ""


def passages_of(folder: Path, department: str | None) -> list[Chunk]:
    """The passages of the house's documents; raises DocumentError for a malformed one."""
    documents = read_documents(folder)
    chosen = [d for d in documents if department is None or d.department == department]
    return [chunk for document in chosen for chunk in chunk_document(document)]


def generate_pairs(client: ModelClient, passages: Sequence[Chunk], count: int) -> Iterator[Generated]:
    """Pairs for each passage; a passage that fails is reported and the next one follows."""
    for chunk in passages:
        prompt = ASK_PAIRS.format(
            count=count, title=chunk.title, section=chunk.section, passage=_inert(chunk.text)
        )
        try:
            entries = _array(client.chat([{"role": "user", "content": prompt}], temperature=0.7))
        except (ModelError, ValueError) as error:
            yield Generated(None, chunk.chunk_id, str(error))
            continue
        for number, entry in enumerate(entries, start=1):
            yield _pair(chunk, entry, f"gen-{chunk.chunk_id.replace('#', '-')}-{number}")


def _pair(chunk: Chunk, entry: Any, identity: str) -> Generated:
    question = entry.get("question") if isinstance(entry, dict) else None
    answer = entry.get("answer") if isinstance(entry, dict) else None
    if not isinstance(question, str) or not isinstance(answer, str) or len(question.strip()) < _MIN_CHARS:
        return Generated(None, chunk.chunk_id, "the reply has an entry without question and answer")
    unsupported = numbers_beyond(answer, f"{chunk.title}{chunk.section}{chunk.text}")
    if unsupported:
        return Generated(
            None, chunk.chunk_id, f"numbers that the passage does not have: {', '.join(unsupported)}"
        )
    row = {
        "id": identity,
        "instruction": question.strip(),
        "input": "",
        "output": answer.strip(),
        "department": chunk.department,
        "audience": chunk.audience,
        "reference": chunk.document_id,
        "passage": {
            "chunk_id": chunk.chunk_id,
            "title": chunk.title,
            "section": chunk.section,
            "text": chunk.text,
        },
        **_queued(),
    }
    return Generated(row, chunk.chunk_id)


def paraphrase(client: ModelClient, rows: Iterable[Located], count: int) -> Iterator[Generated]:
    """The same answers under other wordings of their questions; the answer's own review does not carry over."""
    for located in rows:
        record = located.record
        if record is None or record.exchanges != 1 or record.reasoning is not None:
            continue
        question = record.questions[0]
        prompt = ASK_PARAPHRASE.format(count=count, question=_inert(question))
        where = record.id or f"line {located.line}"
        try:
            entries = _array(client.chat([{"role": "user", "content": prompt}], temperature=0.9))
        except (ModelError, ValueError) as error:
            yield Generated(None, where, str(error))
            continue
        for number, entry in enumerate(entries, start=1):
            yield _reworded(record, entry, where, number)


def _reworded(record: Record, entry: Any, where: str, number: int) -> Generated:
    question = record.questions[0]
    if not isinstance(entry, str) or len(entry.strip()) < _MIN_CHARS or entry.strip() == question:
        return Generated(None, where, "the reply has an entry that is no other wording")
    if sorted(_NUMBER.findall(entry)) != sorted(_NUMBER.findall(question)):
        return Generated(None, where, "the wording changed a number")
    row: dict[str, Any] = {
        "id": f"{where}-p{number}",
        "instruction": entry.strip(),
        "input": "",
        "output": record.answer,
        "paraphrase_of": where,
        "department": record.department,
        "audience": record.audience,
        "reference": list(record.reference),
        "disease": record.disease,
        **_queued(),
    }
    return Generated({key: value for key, value in row.items() if value not in (None, [])}, where)


def numbers_beyond(answer: str, passage: str) -> list[str]:
    """Numbers of the answer that the passage does not contain (list marks 1. 2. and 120 aside)."""
    without_marks = re.sub(r"(?m)^\s*\d{1,2}[.、)）]", "", answer)
    allowed = {*_NUMBER.findall(passage), "120"}
    return sorted({number for number in _NUMBER.findall(without_marks) if number not in allowed})


def _queued() -> dict[str, Any]:
    return {"source": AI_GENERATED, "review": {"status": "pending", "reviewer": "", "reviewed_at": ""}}


def _inert(text: str) -> str:
    return text.replace("<", "＜").replace(">", "＞")


def _array(reply: str) -> list[Any]:
    """Raises ValueError when the reply holds no JSON array."""
    found = _ARRAY.search(reply)
    if found is None:
        raise ValueError("the reply holds no JSON array")
    try:
        value = json.loads(found.group())
    except (ValueError, RecursionError) as error:
        raise ValueError("the reply's JSON array is broken") from error
    return value if isinstance(value, list) else []
