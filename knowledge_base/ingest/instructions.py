"""Finds text in a document that speaks to a language model instead of to readers.

Such a document is not refused: its text is stored as text, the editor sees the flag before approving, and the answer
side never takes orders from evidence. Owns the patterns; what is done about a flag is the service's.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from knowledge_base.document import Document

_FORGET = r"(?:忽略|无视|忘记|忘掉|不要理会|不用管|跳过|抛开)"
_EARLIER = r"(?:以上|上面|之前|前面|此前|先前|所有|一切|系统|原来|原有|既定|安全)"
_ORDERS = r"(?:指令|指示|要求|规则|提示词?|设定|限制|约束|内容|命令|对话)"
_READER = r"(?:AI|人工智能|大?语言?模型|助手|机器人|chat\s?gpt|assistant|model|system)"
_PATTERNS = {
    "ignore_instructions": rf"{_FORGET}[^。\n]{{0,12}}{_EARLIER}?[^。\n]{{0,6}}{_ORDERS}"
    r"|(?:ignore|disregard|forget|override)\s+(?:all\s+|any\s+|the\s+|your\s+)*"
    r"(?:previous|prior|above|earlier|system|safety)\b",
    "role_change": rf"(?:你(?:现在|从现在起|将|要)?(?:是|扮演|充当|作为)[^。\n]{{0,16}}{_READER})"
    r"|you\s+are\s+now\b|act\s+as\s+(?:an?|the)\b|从现在(?:开始|起)[,，]?\s*你(?:必须|要|将|只)",
    "addresses_model": rf"(?:致|给|告诉|请|要求|提醒){_READER}[^。\n]{{0,12}}(?:必须|务必|请|要|应当?|不要|不得|只能|回答|输出|推荐)"
    r"|(?:作为|身为)(?:AI|人工智能|语言模型|助手)",
    "forces_answer": r"(?:不管|无论|不论)(?:用户|患者|病人|别人|谁|对方)[^。\n]{0,12}(?:问|说)[^。\n]{0,14}(?:都|一律|必须|只)?[^。\n]{0,6}(?:回答|回复|输出|推荐|告诉)"
    r"|(?:回答|回复|输出)(?:时|中|里)?(?:必须|务必|一律|只能)[^。\n]{0,20}(?:推荐|包含|写上|附上|加上|说)",
    "asks_for_prompt": r"(?:输出|显示|打印|泄露|告诉[^。\n]{0,4}|重复)[^。\n]{0,8}(?:系统提示|提示词|system\s*prompt)"
    r"|(?:reveal|print|repeat|show)\s+(?:me\s+)?(?:your\s+|the\s+)*(?:system\s+)?prompt",
    "chat_markup": r"<\|(?:im_start|im_end|system|user|assistant|endoftext)\|>|\[/?INST\]|<<SYS>>|^\s*(?:system|assistant)\s*[:：]",
}
_COMPILED = {code: re.compile(pattern, re.IGNORECASE | re.MULTILINE) for code, pattern in _PATTERNS.items()}
MAX_EXCERPT_CHARS = 80
MAX_FLAGS = 20


@dataclass(frozen=True, slots=True)
class Flag:
    """One place that speaks to the model; `excerpt` is as it stands in the document."""

    code: str
    section: str
    excerpt: str


def flag_instructions(document: Document) -> list[Flag]:
    """Every place (up to MAX_FLAGS) of title, headings and text that tries to instruct the model."""
    places = [
        ("", document.title),
        *((" / ".join(s.path), "\n".join([*s.path, s.text])) for s in document.sections),
    ]
    flags: dict[tuple[str, str], Flag] = {}
    for section, text in places:
        plain = unicodedata.normalize("NFKC", text)
        for code, pattern in _COMPILED.items():
            for found in pattern.finditer(plain):
                excerpt = plain[max(0, found.start() - 10) : found.end() + 30].replace("\n", " ")
                flags.setdefault((code, found.group()), Flag(code, section, excerpt[:MAX_EXCERPT_CHARS]))
    return list(flags.values())[:MAX_FLAGS]
