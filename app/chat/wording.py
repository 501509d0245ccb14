"""Which reviewed words frame an answer: the emergency text, the disclaimer by topic, the label of generated content.

The texts themselves are in `app/safety/notices.py`.
"""

from __future__ import annotations

import re

from app.chat.evidence import Found
from app.safety.notices import AI_LABEL, Topic, disclaimer
from app.safety.types import Level, TriageResult

LABEL_LINE = f"\n\n（{AI_LABEL}）"
KIND_TOPICS = {
    "drug": Topic.MEDICATION,
    "test": Topic.TEST_RESULT,
    "indicator": Topic.TEST_RESULT,
    "rehab": Topic.REHABILITATION,
    "emergency": Topic.FIRST_AID,
}
CATEGORY_DEPARTMENTS = {
    "acs": "cardiology",
    "aortic_dissection": "cardiology",
    "heart_failure": "cardiology",
    "stroke": "stroke_rehab",
    "anaphylaxis": "allergy",
    "angioedema": "allergy",
}
_MEDICATION = re.compile(r"药|吃多少|停了?|剂量|片|胶囊|注射|喷雾|漏服|一起吃|副作用")


def is_crisis(triage: TriageResult) -> bool:
    return any(notice.kind == "crisis" for notice in triage.notices)


def urgent_answer(triage: TriageResult) -> str:
    """The answer of an emergency or crisis: the reviewed notices as text, nothing else."""
    return "\n\n".join(f"{notice.title}\n{notice.text}" for notice in triage.notices)


def topic_of(question: str, triage: TriageResult, found: Found | None) -> Topic:
    """What the disclaimer must speak about."""
    if is_crisis(triage):
        return Topic.CRISIS
    if triage.level is Level.EMERGENCY:
        return Topic.EMERGENCY
    if found is not None and found.hits:
        by_kind = KIND_TOPICS.get(found.hits[0].chunk.kind)
        if by_kind is not None:
            return by_kind
    return Topic.MEDICATION if _MEDICATION.search(question) else Topic.GENERAL


def disclaimer_for(question: str, triage: TriageResult, found: Found | None) -> str:
    return disclaimer(topic_of(question, triage, found))


def department_of(triage: TriageResult) -> str | None:
    """The department that an emergency of this category belongs to, when it is one of ours."""
    return None if triage.category is None else CATEGORY_DEPARTMENTS.get(triage.category)
