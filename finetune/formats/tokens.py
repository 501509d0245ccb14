"""Control tokens of chat models inside data: finding them and making them harmless.

Owns the list. A record with `<|im_start|>` in it could open a turn of its own; escaped, the same characters are text.
The tokens are those of Qwen (im_start, im_end, endoftext, fim, tool and vision marks) and of the families that a
base model may come from (Llama, Mistral, Gemma, DeepSeek, GLM).
"""

from __future__ import annotations

import re

TOKEN = re.compile(
    r"<\|[^|<>\n]{1,40}\|>"
    r"|<｜[^｜<>\n]{1,40}｜>"
    r"|</?(?:s|bos|eos|pad|unk|mask|think|tool_call|tool_response|tools|start_of_turn|end_of_turn)>"
    r"|\[/?(?:INST|gMASK|sMASK|SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS)\]"
    r"|<</?SYS>>",
    re.IGNORECASE,
)
_WIDE = str.maketrans({"<": "＜", ">": "＞", "[": "［", "]": "］"})


def tokens_in(text: str) -> list[str]:
    return TOKEN.findall(text)


def escape_tokens(text: str) -> str:
    """The text with each control token in full-width brackets; escaping twice changes nothing more."""
    return TOKEN.sub(lambda found: found.group().translate(_WIDE), text)
