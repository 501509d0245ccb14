"""The professional order of points for clinicians: suspected diagnosis, basis, differential diagnosis, management,
follow-up, as far as the evidence has it.

Owns which sentence belongs under which heading; the sentences are chosen in `extractive_select.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.llm.extractive_text import Sentence, cited, needs_lead

ORDER = ("疑似诊断", "依据", "鉴别诊断", "处理", "随访", "其他要点")
_ROLES = (
    ("鉴别诊断", re.compile(r"鉴别|区分|区别|非致命|致命性|排除"), re.compile(r"鉴别|需与|不能排除|首先排除|应排除")),
    ("随访", re.compile(r"随访|复查|复诊|出院后"), re.compile(r"随访|复诊|复查(?!心电图和)|出院随访")),
    ("处理", re.compile(r"处置|处理|治疗|用药|流程|先想到|急救|怎么(吃|用)"), re.compile(r"应立即|启动|给予|首选|禁用|剂量|抗凝|溶栓|转运|停用|减压|引流|处置|会诊|留观|不得|拨打120")),
    ("依据", re.compile(r"评估|检查|分层|化验|怎么看|确诊|判断|评分"), re.compile(r"心电图|肌钙蛋白|CT|超声|评分|化验|检测|检查|提示|升高|复测|血压")),
    ("疑似诊断", re.compile(r"诊断|表现|什么样"), re.compile(r"考虑|疑|多为|多半|诊断为|表现为")),
)  # fmt: skip


def role_of(sentence: Sentence) -> str:
    """The heading a sentence belongs under: by its section first, then by its own words."""
    for role, section, _ in _ROLES:
        if not sentence.asks and section.search(sentence.section):
            return role
    for role, _, words in _ROLES:
        if words.search(sentence.text):
            return role
    return ORDER[-1]


def professional_blocks(points: Sequence[Sentence]) -> str:
    """The points under their headings in professional order; a plain list when all belong under one."""
    roles = {point: role_of(point) for point in points}
    used = [role for role in ORDER if role in roles.values()]
    if len(used) < 2:
        return "\n".join(_line(point) for point in points)
    blocks = ["\n".join([f"{role}：", *(_line(p) for p in points if roles[p] == role)]) for role in used]
    return "\n".join(blocks)


def _line(point: Sentence) -> str:
    return f"- {cited(point, f'{point.lead}：{point.text}')}" if needs_lead(point) else f"- {cited(point)}"
