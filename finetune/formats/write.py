"""The internal record to one of the formats that training reads, with control tokens made harmless.

Owns what each target looks like and what it cannot hold. Files are `finetune/outputs.py`.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any

from finetune.formats.tokens import escape_tokens
from finetune.records import Message, Record


class Target(StrEnum):
    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"
    MESSAGES = "messages"
    REASONING = "reasoning"


class ConversionError(Exception):
    """The target cannot hold the record without losing part of it."""


def to_target(record: Record, target: Target) -> dict[str, Any]:
    """The record as a JSON object of the target's form.

    Raises:
        ConversionError: see `_alpaca` and `_reasoning`.
    """
    safe = escaped(record)
    if target is Target.ALPACA:
        own = _alpaca(safe)
    elif target is Target.REASONING:
        own = _reasoning(safe)
    else:
        own = _conversation(safe, target)
    return {**own, **_shared(safe)}


def escaped(record: Record) -> Record:
    """The record with every control token written in full-width signs, so that it stays text."""
    return replace(
        record,
        messages=tuple(Message(m.role, escape_tokens(m.content)) for m in record.messages),
        input=escape_tokens(record.input),
        reasoning=None if record.reasoning is None else escape_tokens(record.reasoning),
        chain=tuple(escape_tokens(step) for step in record.chain),
        rejected=None if record.rejected is None else escape_tokens(record.rejected),
    )


def _alpaca(record: Record) -> dict[str, Any]:
    """`history` and `system` carry what precedes the last question.

    Raises:
        ConversionError: roles that do not alternate up to an answer.
    """
    body = [m for m in record.messages if m.role != "system"]
    roles = [m.role for m in body]
    if not body or roles != ["user", "assistant"] * (len(body) // 2):
        raise ConversionError("Alpaca needs questions and answers in turn, ending with an answer")
    question = body[-2].content
    instruction = question[: -len(record.input) - 1] if record.input else question
    own: dict[str, Any] = {"instruction": instruction, "input": record.input, "output": _with_think(record)}
    if system := _system(record):
        own["system"] = system
    if len(body) > 2:
        own["history"] = [[body[i].content, body[i + 1].content] for i in range(0, len(body) - 2, 2)]
    return own


def _conversation(record: Record, target: Target) -> dict[str, Any]:
    turns = [*record.messages]
    if record.answer or (turns and turns[-1].role == "assistant"):
        turns[-1] = Message("assistant", _with_think(record))
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    if target is Target.SHAREGPT:
        own: dict[str, Any] = {"conversations": [{"from": names[m.role], "value": m.content} for m in turns]}
    else:
        own = {"messages": [{"role": m.role, "content": m.content} for m in turns]}
    if record.input:
        own["input"] = record.input
    if not record.is_dialogue:
        own["single_turn"] = True
    return own


def _reasoning(record: Record) -> dict[str, Any]:
    """Raises ConversionError for several turns, a system message or a record without reasoning."""
    if [m.role for m in record.messages] != ["user", "assistant"]:
        raise ConversionError("the reasoning format holds one question with one answer")
    if record.reasoning is None:
        raise ConversionError("the record has no reasoning to write as Complex_CoT")
    own: dict[str, Any] = {
        "Question": record.messages[0].content,
        "Complex_CoT": record.reasoning,
        "Response": record.answer,
    }
    if record.chain:
        own["chain_of_thought"] = list(record.chain)
    return own


def _with_think(record: Record) -> str:
    if record.reasoning is None:
        return record.answer
    return f"<think>\n{record.reasoning}\n</think>\n\n{record.answer}"


def _system(record: Record) -> str:
    return "\n".join(m.content for m in record.messages if m.role == "system")


def _shared(record: Record) -> dict[str, Any]:
    review = record.review
    fields: dict[str, Any] = {
        "id": record.id,
        "department": record.department,
        "audience": record.audience,
        "source": record.source,
        "reference": record.reference[0] if len(record.reference) == 1 else list(record.reference),
        "review": None
        if review is None
        else {"status": str(review.status), "reviewer": review.reviewer, "reviewed_at": review.reviewed_at},
        "disease": record.disease,
        "patient_id": record.patient_id,
        "date": record.date,
        "label": record.label,
        "rejected_answer": record.rejected,
    }
    kept = {key: value for key, value in fields.items() if value not in (None, [])}
    # A mark of the dialogue formats has no meaning elsewhere and is written anew where it has.
    return {**{key: value for key, value in record.extra.items() if key != "single_turn"}, **kept}
