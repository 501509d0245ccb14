"""The reviewed texts that a patient sees in an emergency, a crisis, or when care is needed today.

Owns the form of these texts, the disclaimers by topic and the AI-generated label; the notices' wording, with the
guideline each follows, is in `rules/notices.yaml`. Change a text, raise its version, have it reviewed again. Which notice
applies is decided by the rules.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from app.safety.types import Level, Notice

NOTICES_FILE = Path(__file__).parent / "rules" / "notices.yaml"
EMERGENCY_PHONE = "120"
CRISIS_PHONE = "12356"
CRISIS_CATEGORIES = frozenset({"self_harm"})
MAX_NOTICES = 2

__all__ = [
    "AI_LABEL",
    "DISCLAIMERS",
    "EMERGENCY_NOTICES",
    "NOTICES_VERSION",
    "URGENT_NOTICES",
    "WAIT_NOT",
    "Topic",
    "ai_label_metadata",
    "disclaimer",
    "notice_for",
    "notices_for",
]

# Shown after the deciding questions: when not to wait for an answer.
WAIT_NOT = "如果症状正在加重，或出现胸痛不缓解、喘不上气、说话不清、一侧无力、意识变差、大量出血中的任何一样，不用等回答，请马上拨打120。"

# 《人工智能生成合成内容标识办法》（2025年9月1日起施行）: text at the start or end of generated text, and metadata.
AI_LABEL = "本回答由人工智能生成"


class Template(BaseModel):
    """A notice: what may be going on, what to do until help comes, what not to do, and the guideline it follows."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str
    lead: str
    do: tuple[str, ...] = Field(min_length=1)
    dont: tuple[str, ...] = ()
    source: str = Field(min_length=4)


class NoticesFile(BaseModel):
    """`kind: notices`: the templates by category, reviewed and versioned as one."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["notices"]
    version: str
    review_date: dt.date
    emergency: dict[str, Template]
    urgent: dict[str, Template]


def read_notices(path: Path = NOTICES_FILE) -> NoticesFile:
    """The notices in `path`. Raises OSError, yaml.YAMLError or pydantic.ValidationError."""
    return NoticesFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


NOTICES = read_notices()
NOTICES_VERSION = NOTICES.version
EMERGENCY_NOTICES = NOTICES.emergency
URGENT_NOTICES = NOTICES.urgent


class Topic(StrEnum):
    GENERAL = "general"
    MEDICATION = "medication"
    TEST_RESULT = "test_result"
    REHABILITATION = "rehabilitation"
    FIRST_AID = "first_aid"
    EMERGENCY = "emergency"
    CRISIS = "crisis"


DISCLAIMERS: dict[Topic, str] = {
    Topic.GENERAL: "以上是健康科普信息，不能代替医生当面诊断和治疗；如有不适或症状变化，请及时就医。",
    Topic.MEDICATION: "用药信息仅供参考。用不用、用多少、能不能停，请听开药医生或药师的，不要自行加减或停药。",
    Topic.TEST_RESULT: "化验和检查结果要结合症状与病史判断，不同医院参考范围可能不同，请由医生解读。",
    Topic.REHABILITATION: "康复训练因人而异，请在医生或康复治疗师指导下进行；训练中出现胸痛、头晕、喘不上气，请立即停下并就医。",
    Topic.FIRST_AID: "急救知识不能代替专业救治；真遇到紧急情况，请先拨打120，听调度员指挥。",
    Topic.EMERGENCY: "这是紧急情况的通用处理步骤，请以120调度员和现场医生的指导为准。",
    Topic.CRISIS: "您不是一个人。拨打12356（全国统一心理援助热线）可以和专业人员说说话；有危险时请拨打120或110。",
}


def disclaimer(topic: Topic) -> str:
    """The reviewed disclaimer for `topic`."""
    return DISCLAIMERS[topic]


def ai_label_metadata(provider: str, content_id: str) -> dict[str, str]:
    """The implicit label for response metadata: that the content is generated, by whom, and its number."""
    return {
        "label": "ai-generated",
        "producer": provider,
        "content_id": content_id,
        "version": NOTICES_VERSION,
    }


def notice_for(category: str, level: Level) -> Notice | None:
    """The reviewed notice for a category at a level; None for routine. Raises KeyError for an unknown category."""
    if level is Level.ROUTINE:
        return None
    if level is Level.EMERGENCY:
        crisis = category in CRISIS_CATEGORIES
        template = EMERGENCY_NOTICES[category]
        phone = CRISIS_PHONE if crisis else EMERGENCY_PHONE
        return Notice("crisis" if crisis else "emergency", template.title, _render(template), phone)
    template = URGENT_NOTICES[category]
    crisis = category in CRISIS_CATEGORIES
    return Notice(
        "crisis" if crisis else "urgent", template.title, _render(template), CRISIS_PHONE if crisis else None
    )


def notices_for(decisions: Iterable[tuple[str, Level]]) -> tuple[Notice, ...]:
    """Notices of the given (category, level) pairs in order, each category once, at most `MAX_NOTICES`."""
    out: list[Notice] = []
    for category, level in dict.fromkeys(decisions):
        notice = notice_for(category, level)
        if notice is not None and all(notice.title != other.title for other in out):
            out.append(notice)
    return tuple(out[:MAX_NOTICES])


def _render(template: Template) -> str:
    lines = [template.lead]
    lines += [f"{n}. {step}" for n, step in enumerate(template.do, 1)]
    if template.dont:
        lines.append("不要：" + "；".join(template.dont) + "。")
    return "\n".join(lines)
