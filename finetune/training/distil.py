"""Sequence-level distillation: a larger teacher answers, people review, the small model learns what they approved.

Owns asking the teacher. Every answer leaves here as `ai_generated` with review `pending`, so `train` refuses the file
until a person has approved each record; training itself is supervised training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.chat.prompts import system_prompt
from app.safety.types import Audience
from finetune.formats import read_records
from finetune.model_client import ModelClient, ModelError
from finetune.outputs import dump
from finetune.problems import DataError
from finetune.records import AI_GENERATED, Record
from finetune.training.errors import DataRefused, FinetuneError


class TeacherFailed(FinetuneError):
    """The endpoint did not answer as the OpenAI protocol says."""

    code = "teacher_failed"


def distil(
    source: Path,
    target: Path,
    client: ModelClient,
    model: str,
    *,
    max_tokens: int = 1024,
    limit: int | None = None,
) -> int:
    """Let the teacher answer the questions of `source`; the number of new records appended to `target`.

    Answers that `target` already holds are not asked for again, so a stopped run goes on where it was.

    Raises:
        TeacherFailed, DataRefused. What was written before stays.
    """
    done = set(_done(target))
    count = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("a", encoding="utf-8") as file:
        for record in _questions(source):
            if record.questions[0] in done or (limit is not None and count >= limit):
                continue
            answer = _ask(client, record, max_tokens)
            file.write(dump(_pending(record, answer, model)) + "\n")
            file.flush()
            done.add(record.questions[0])
            count += 1
    return count


def _ask(client: ModelClient, record: Record, max_tokens: int) -> str:
    try:
        return client.chat(_messages(record), max_tokens=max_tokens).strip()
    except ModelError as error:
        raise TeacherFailed(f"{error}; answers so far are kept, run again to go on") from error


def _questions(source: Path) -> Iterator[Record]:
    try:
        for item in read_records(source):
            if item.record is None or not item.record.questions:
                raise DataRefused(f"{item.file}:{item.line}: not a record with a question")
            yield item.record
    except DataError as error:
        raise DataRefused(str(error)) from error


def _done(target: Path) -> Iterator[str]:
    """Questions answered before; a last line that a kill cut off is cut away."""
    if not target.exists():
        return
    whole = 0
    with target.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            yield str(json.loads(line)["instruction"])
    if whole != target.stat().st_size:
        with target.open("rb+") as file:
            file.truncate(whole)


def _messages(record: Record) -> list[dict[str, str]]:
    audience = Audience(record.audience) if record.audience is not None else Audience.PATIENT
    department = "general" if record.department is None else record.department
    opening = {"role": "system", "content": system_prompt(department, audience)}
    return [opening, {"role": "user", "content": record.questions[0]}]


def _pending(record: Record, answer: str, model: str) -> dict[str, Any]:
    kept: dict[str, Any] = {"id": record.id, "department": record.department, "audience": record.audience}
    kept |= {"disease": record.disease, "reference": list(record.reference) if record.reference else None}
    return {
        "instruction": record.questions[0],
        "input": "",
        "output": answer,
        "source": AI_GENERATED,
        "teacher": model,
        "review": {"status": "pending"},
        **{key: value for key, value in kept.items() if value is not None},
    }
