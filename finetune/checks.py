"""What a record must be before anybody trains on it: form, size, roles, control tokens, review state.

Owns the checks of one record by itself and the order of all checks. Medical content is `checks_medical.py`, what can
only be seen across records is `checks_file.py`; every code is explained in `docs/finetuning-data.md`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from finetune.checks_medical import Finding, medical_findings
from finetune.formats.tokens import tokens_in
from finetune.judge import Judge
from finetune.problems import Code, Problem, Severity
from finetune.records import Form, Record, ReviewStatus, Trainable
from finetune.settings import DataSettings

_QUOTED_CHARS = 40


@dataclass(frozen=True, slots=True)
class Checker:
    """Judges records; `judge` None leaves out the safety review (for tests of the other checks)."""

    limits: DataSettings
    judge: Judge | None

    def check(self, record: Record, file: str, line: int) -> list[Problem]:
        """Every problem of one record, errors and warnings."""
        found = [*self._form(record), *review_state(record)]
        if not any(f.code in (Code.ROLE_ORDER, Code.EMPTY_OUTPUT, Code.EMPTY_INPUT) for f in found):
            found += medical_findings(record, self.limits, self.judge)
        return [Problem(file, line, f.code, f.message, f.severity, record.id) for f in found]

    def _form(self, record: Record) -> Iterator[Finding]:
        yield from encoding(record)
        yield from control_tokens(record)
        yield from roles(record)
        yield from sizes(record, self.limits)


def encoding(record: Record) -> Iterator[Finding]:
    for text in record.texts():
        if "\ufffd" in text or "\x00" in text:
            yield Finding(Code.BAD_ENCODING, "contains signs that replace undecodable bytes")
            return
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            yield Finding(Code.BAD_ENCODING, "contains half of a surrogate pair")
            return


def control_tokens(record: Record) -> Iterator[Finding]:
    found = sorted({token for text in record.texts() for token in tokens_in(text)})
    if found:
        names = " ".join(found)[:_QUOTED_CHARS]
        yield Finding(
            Code.SPECIAL_TOKEN, f"contains control tokens of chat models: {names} (convert escapes them)"
        )


def roles(record: Record) -> Iterator[Finding]:
    """A system message only first, then question and answer in turn, ending with the answer."""
    names = [message.role for message in record.messages]
    body = names[1:] if names[:1] == ["system"] else names
    if "system" in body:
        yield Finding(Code.ROLE_ORDER, "a system message may only come first, once")
    elif not body or body[0] != "user":
        yield Finding(Code.ROLE_ORDER, "the conversation must begin with the user")
    elif any(a == b for a, b in itertools.pairwise(body)):
        at = next(i for i, (a, b) in enumerate(itertools.pairwise(body), start=2) if a == b)
        yield Finding(Code.ROLE_ORDER, f"turn {at} has the same speaker as the turn before it")
    elif body[-1] != "assistant":
        yield Finding(Code.ROLE_ORDER, "the conversation must end with the assistant")


def sizes(record: Record, limits: DataSettings) -> Iterator[Finding]:
    for number, text in enumerate(record.questions, start=1):
        if not text.strip():
            yield Finding(Code.EMPTY_INPUT, f"question {number} is empty")
        elif len(text) >= limits.input_chars:
            yield Finding(Code.INPUT_TOO_LONG, _too_long(f"question {number}", text, limits.input_chars))
    answers = record.answers if record.rejected is None else (*record.answers, record.rejected)
    for number, text in enumerate(answers, start=1):
        if not text.strip():
            yield Finding(Code.EMPTY_OUTPUT, f"answer {number} is empty")
        elif len(text) >= limits.output_chars:
            yield Finding(Code.OUTPUT_TOO_LONG, _too_long(f"answer {number}", text, limits.output_chars))
    if record.reasoning is not None and len(record.reasoning) >= limits.reasoning_chars:
        text = _too_long("the reasoning", record.reasoning, limits.reasoning_chars)
        yield Finding(Code.REASONING_TOO_LONG, text)
    if record.form is Form.REASONING and record.reasoning is not None and not record.reasoning.strip():
        yield Finding(Code.EMPTY_OUTPUT, "the reasoning is empty")
    if record.form is Form.PREFERENCE and record.answer == record.rejected:
        yield Finding(Code.SAME_ANSWERS, "chosen and rejected are the same text")


def _too_long(what: str, text: str, limit: int) -> str:
    return f"{what} has {len(text)} characters, it must have fewer than {limit}"


def review_state(record: Record) -> Iterator[Finding]:
    trainable = record.trainable
    if trainable is Trainable.UNAPPROVED:
        yield Finding(
            Code.UNAPPROVED_AI_GENERATED, "AI-generated and not approved by a named person: never trained on"
        )
    elif trainable is Trainable.REJECTED:
        yield Finding(Code.REJECTED_BY_REVIEW, "a reviewer rejected this record")
    elif trainable is Trainable.DEMO:
        text = "no human approved this record; a run that uses it, and its adapter, are marked demo"
        yield Finding(Code.DEMO, text, Severity.WARNING)
    elif record.review is not None and record.review.status is ReviewStatus.PENDING:
        yield Finding(Code.REVIEW_PENDING, "its review is still open", Severity.WARNING)
