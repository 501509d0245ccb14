"""What a medical record must contain and must not say.

Owns dialogue shape, the safety line, the source and personal data. Whether a sentence is dangerous is decided by the
service's own review (`judge.py`), so that nothing is taught that the service would not let out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.safety.types import Level
from finetune.deidentify import DIRECT_TYPES, find_spans
from finetune.judge import Judge, Verdict
from finetune.medical_text import (
    asks,
    gives_advice,
    is_about_complaint_or_medicine,
    sends_to_care,
    sends_to_care_soon,
    sends_to_urgent_care,
    states_facts,
)
from finetune.problems import Code, Severity
from finetune.records import AI_GENERATED, Form, Record
from finetune.settings import DataSettings

_QUOTED_CHARS = 60


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    message: str
    severity: Severity = Severity.ERROR


def medical_findings(record: Record, limits: DataSettings, judge: Judge | None) -> Iterator[Finding]:
    """Every finding on content; provenance pairs are only looked through for personal data."""
    yield from personal_data(record)
    if record.is_provenance or record.form is Form.CLASSIFICATION:
        return
    yield from dialogue_shape(record, limits)
    yield from source(record)
    if judge is not None:
        verdict = judge.verdict(record)
        yield from unsafe(verdict)
        yield from safety_line(record, verdict)


def dialogue_shape(record: Record, limits: DataSettings) -> Iterator[Finding]:
    if not record.is_dialogue or record.form is Form.PREFERENCE:
        return
    turns = record.exchanges
    if not limits.min_turns <= turns <= limits.max_turns:
        text = f"{turns} turns, a dialogue has {limits.min_turns} to {limits.max_turns}"
        yield Finding(Code.TURNS_OUT_OF_RANGE, text)
    if not any(asks(answer) for answer in record.answers[:-1]):
        yield Finding(Code.NO_FOLLOW_UP_QUESTION, "the assistant never asks back before its last answer")
    if not gives_advice(record.answer):
        yield Finding(Code.NO_CLEAR_ADVICE, "the last answer does not say what to do")


def source(record: Record) -> Iterator[Finding]:
    named = bool(record.reference) or (record.source is not None and record.source != AI_GENERATED)
    if not named and any(states_facts(answer) for answer in record.answers):
        yield Finding(Code.MISSING_SOURCE, "states medical facts without `source` or `reference`")


def unsafe(verdict: Verdict) -> Iterator[Finding]:
    for finding in verdict.findings:
        quoted = finding.sentence.strip()[:_QUOTED_CHARS]
        yield Finding(finding.code, f"answer {finding.turn} would not pass the service's review: {quoted}")


def safety_line(record: Record, verdict: Verdict) -> Iterator[Finding]:
    """Patients hear when to seek care; where triage sees urgency, they hear it urgently."""
    if record.audience == "clinician":
        return
    answers = "\n".join(record.answers)
    urgency = verdict.urgency
    if urgency is Level.EMERGENCY and not sends_to_urgent_care(answers):
        text = "triage finds an emergency, and no answer sends to 120 or the emergency room"
        yield Finding(Code.MISSING_SAFETY_LINE, text)
    elif urgency is Level.URGENT and not sends_to_care_soon(answers):
        yield Finding(
            Code.MISSING_SAFETY_LINE, "triage finds this urgent, and no answer sends to a doctor soon"
        )
    elif is_about_complaint_or_medicine("\n".join(record.questions)) and not sends_to_care(answers):
        text = "about complaints or medicines, and no answer says when to turn to a doctor or pharmacist"
        yield Finding(Code.MISSING_SAFETY_LINE, text)


def personal_data(record: Record) -> Iterator[Finding]:
    """Numbers and addresses that point to one person are errors; names and places only warn (they may be fiction)."""
    kinds = {span.type for text in record.texts() for span in find_spans(text) if not span.surrogate}
    direct = sorted(kind for kind in kinds if kind in DIRECT_TYPES)
    other = sorted(kinds - set(direct))
    if direct:
        yield Finding(Code.PERSONAL_DATA, f"looks like personal data: {', '.join(direct)} (deidentify it)")
    if other:
        yield Finding(Code.PERSONAL_DATA, f"may name a person or place: {', '.join(other)}", Severity.WARNING)
