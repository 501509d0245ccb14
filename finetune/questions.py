"""The questions of a file, as the near-twin search compares them.

Owns which text of a record stands for its question. An instruction that many records share (请回答患者的问题) says
nothing about any of them and is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.formats import Located, read_records
from finetune.formats.parse import parse_record
from finetune.records import Form, Record

_SHARED_TIMES = 3
_FIRST_TURN_CHARS = 10
_QUESTION_FIELDS = ("question", "Question", "query", "prompt", "text", "instruction", "title", "stem")


@dataclass(frozen=True, slots=True)
class Question:
    """One text to compare: `row` is the position of its record in the file's list, `line` where it begins."""

    row: int
    line: int
    id: str | None
    text: str

    @property
    def name(self) -> str | int:
        """The id where there is one, else the line."""
        return self.line if self.id is None else self.id


def read_rows(path: Path) -> list[Located]:
    """All items of the file, broken ones included."""
    return list(read_records(path))


def questions_of(rows: Sequence[Located], *, openings: bool) -> list[Question]:
    """The question of each row; with `openings` also the first turn of each dialogue by itself.

    Rows that are no training record count when they have a question field (benchmark files).
    """
    shared = shared_instructions([row.record for row in rows if row.record is not None])
    found: list[Question] = []
    for number, row in enumerate(rows):
        identity = _id_of(row)
        for text in _texts(row, shared, openings):
            if text.strip():
                found.append(Question(number, row.line, identity, text))
    return found


def shared_instructions(records: Sequence[Record]) -> frozenset[str]:
    counts = Counter(_instruction(record) for record in records if record.input)
    return frozenset(text for text, count in counts.items() if count >= _SHARED_TIMES)


def _instruction(record: Record) -> str:
    question = record.questions[-1] if record.questions else ""
    return question[: -len(record.input) - 1] if record.input else question


def _texts(row: Located, shared: frozenset[str], openings: bool) -> list[str]:
    if row.record is None:
        return _bare(row.raw)
    record = row.record
    turns = list(record.questions)
    if record.input and turns and _instruction(record) in shared:
        turns[-1] = record.input
    whole = "\n".join(turns)
    if record.form is Form.PREFERENCE and not openings:
        whole = "\n".join([whole, record.answer, record.rejected or ""])
    if openings and len(turns) > 1 and len(turns[0]) >= _FIRST_TURN_CHARS:
        return [whole, turns[0]]
    return [whole]


def _bare(raw: Any) -> list[str]:
    if not isinstance(raw, Mapping):
        return []
    record, _ = parse_record(raw)
    if record is not None:
        return ["\n".join(record.questions)]
    return [raw[name] for name in _QUESTION_FIELDS if isinstance(raw.get(name), str)][:1]


def _id_of(row: Located) -> str | None:
    if row.record is not None:
        return row.record.id
    value = row.raw.get("id") if isinstance(row.raw, Mapping) else None
    return None if value is None else str(value)
