"""Friendliness, professionalism and practical use by features of the text that can be counted and argued about.

Owns the features. They are a floor, not a taste: an LLM judge and human raters are joined to them in `scoring.py`.
Sentence lengths follow what readability work for Chinese patient material recommends in general: short sentences,
little jargon, the answer first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_SENTENCE = re.compile(r"[^。！？!?\n]+[。！？!?]?")
_JARGON = re.compile(
    r"预后|转归|病理生理|血流动力学|循证|靶器官|依从性|适应证|禁忌证|耐受性|生物利用度|半衰期|不良事件|终点事件|"
    r"\b(?:LDL-C|NSAIDs?|ACEI|ARB|PCI|CABG|MACE|eGFR|INR|IgE)\b"
)
_EXPLAINED = re.compile(r"[（(][^）)]{2,30}[）)]|也就是|就是说|俗称|简单说|意思是")
_WARM = re.compile(r"您|别担心|不用太|放心|理解|可以先|慢慢|请|家人|陪")
_COLD = re.compile(r"你必须|后果自负|活该|胡闹|愚蠢|懒得|自作自受|无知")
_CARE = re.compile(
    r"就医|就诊|看医生|问医生|咨询医生|门诊|急诊|复诊|复查|120|由医生|遵医嘱|请医生|药师|告诉医生"
)
_ACTION = re.compile(
    r"每天|每日|每周|饭前|饭后|睡前|整片|服用|测量|记录|带上|停下|坐下|休息|避免|不要|可以|先|再|联系|喝|吃|清洗|复查|按"
)
_WHEN = re.compile(r"如果|一旦|出现|超过|持续|小时|分钟|天内|当天|立即|马上|尽快|什么时候|加重")
_STRUCTURE = re.compile(r"(?m)^\s*(?:[-•·*]|\d+[.、）)]|[一二三四五六][、.])|首先|其次|第一|第二|另外|最后")
_SOURCE = re.compile(r"\[\d+\]|指南|共识|说明书|资料")
_HYPE = re.compile(r"百分之百|100%有效|包治|根治|神药|绝对安全|保证治愈|立竿见影|无任何副作用|秘方|祖传")
_FILLER = re.compile(r"哈哈|嘻嘻|亲亲|宝宝们|么么|作为(?:一个)?(?:AI|人工智能)|语言模型")
_FOREIGN = re.compile(r"[А-Яа-яЁё]{3,}|[가-힣]{2,}|[ぁ-ゖァ-ヺ]{4,}|\ufffd")


@dataclass(frozen=True, slots=True)
class Features:
    """Each 0-100."""

    friendliness: float
    professionalism: float
    practical: float


def measure(answer: str) -> Features:
    text = answer.rpartition("</think>")[2].strip()
    if not text:
        return Features(0.0, 0.0, 0.0)
    return Features(_share(text, _FRIENDLY), _share(text, _PROFESSIONAL), _share(text, _PRACTICAL))


Check = Callable[[str], bool]


def _share(text: str, checks: tuple[tuple[float, Check], ...]) -> float:
    total = sum(weight for weight, _ in checks)
    return 100.0 * sum(weight for weight, check in checks if check(text)) / total


def _sentences(text: str) -> list[str]:
    return [found.group().strip() for found in _SENTENCE.finditer(text) if found.group().strip()]


def _short_sentences(text: str) -> bool:
    lengths = [len(sentence) for sentence in _sentences(text)]
    return sum(lengths) / len(lengths) <= 45 and max(lengths) <= 110


def _plain_words(text: str) -> bool:
    hard = len(_JARGON.findall(text))
    return hard <= 1 + len(_EXPLAINED.findall(text))


def _answer_first(text: str) -> bool:
    """The first sentence is no greeting, no repetition of the question and no apology."""
    first = _sentences(text)[0]
    return re.match(r"^(?:您好|你好|感谢|关于您|这个问题|作为|很抱歉|抱歉)", first) is None or len(first) > 14


def _right_length(text: str) -> bool:
    return 40 <= len(text) <= 600


def _not_repeating(text: str) -> bool:
    sentences = [sentence for sentence in _sentences(text) if len(sentence) > 8]
    return len(set(sentences)) >= 0.9 * len(sentences)


def _has(pattern: re.Pattern[str], times: int = 1) -> Check:
    return lambda text: len(pattern.findall(text)) >= times


def _lacks(pattern: re.Pattern[str]) -> Check:
    return lambda text: pattern.search(text) is None


_FRIENDLY: tuple[tuple[float, Check], ...] = (
    (3.0, _short_sentences),
    (3.0, _plain_words),
    (2.0, _has(_WARM)),
    (2.0, _lacks(_COLD)),
    (1.0, _answer_first),
    (1.0, _right_length),
)
_PROFESSIONAL: tuple[tuple[float, Check], ...] = (
    (3.0, _lacks(_HYPE)),
    (2.0, _lacks(_FILLER)),
    (2.0, _lacks(_FOREIGN)),
    (2.0, _not_repeating),
    (2.0, _has(_CARE)),
    (1.0, _has(_SOURCE)),
)
_PRACTICAL: tuple[tuple[float, Check], ...] = (
    (3.0, _has(_ACTION, 2)),
    (3.0, _has(_CARE)),
    (2.0, _has(_WHEN)),
    (1.0, lambda text: _STRUCTURE.search(text) is not None or len(text) < 160),
    (1.0, _right_length),
)
