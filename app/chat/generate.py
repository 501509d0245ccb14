"""Chooses what answers: a reviewed template, or a generator over numbered evidence. Never a model without evidence."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from app.llm.base import Finished, Part, Started, Text
from app.safety.types import Audience

NO_EVIDENCE_PATIENT = (
    "很抱歉，科室现有的资料里没有找到能可靠回答这个问题的内容，我不想凭猜测误导您。\n\n"
    "您可以换一种说法再问一次（比如写出药名、检查名或具体不适），或在就诊时咨询医生、药师。"
    "如果现在有胸痛、呼吸困难、一侧肢体无力、说话不清、意识不清或大出血等情况，请立即拨打120。"
)
NO_EVIDENCE_CLINICIAN = (
    "现有知识库中没有检索到足以支持回答的资料，因此不作推断。可补充关键信息（年龄、主诉、病程、用药、检查结果）后重新提问，"
    "或查阅相应指南原文。"
)
TEMPLATE_MODEL = "reviewed-template"


def no_evidence_reply(audience: Audience) -> str:
    return NO_EVIDENCE_CLINICIAN if audience is Audience.CLINICIAN else NO_EVIDENCE_PATIENT


def questions_paragraph(questions: Sequence[str]) -> str:
    """The deciding questions as a paragraph after the answer; "" when there are none."""
    if not questions:
        return ""
    listed = "\n".join(f"{n}. {question}" for n, question in enumerate(questions, start=1))
    return f"\n\n为了判断情况急不急，请再告诉我：\n{listed}"


async def template(text: str) -> AsyncGenerator[Part, None]:
    """A reviewed text as a generator stream."""
    yield Started("template", TEMPLATE_MODEL)
    yield Text(text)
    yield Finished()
