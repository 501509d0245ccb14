"""Reads a sentence or passage for the comparison of claims: content, named medicines, polarity of each clause.

Owns the features only; how they decide support is in `claims_support.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from app.safety.claims_numbers import Quantity, quantities
from app.safety.review_text import fold

_CITATION = re.compile(r"\[\^?\d{1,3}(?:[,、\-–]\d{1,3})*\]")
_CLAUSE = re.compile(r"[,;:。!?()\n、]+")
_SENTENCE = re.compile(r"[^。!?]+[。!?]?")
_FUNCTION = re.compile(
    r"您好|您|你|我们?|的|了|着|吗|呢|吧|和|与|及|或者?|以及|是|在|有|也|都|就|还|又|把|被|对于?|于|由|从|向|到|为|以|之|其|这|那|个|一般|通常|可以|可能|能够?|会|应该?|需要?|要|建议|推荐|"
    r"如果|若|因为|所以|因此|但是?|并且?|而且?|则|等|时候?|后|前|中|上|下|进行|情况|方面|比较|非常|很|更|最|不|没有?|请|一些|一种|目前|患者|病人|根据|资料|显示|通过"
)
_ANTONYMS = (
    ("升高", "降低"), ("增加", "减少"), ("提高", "降低"), ("上升", "下降"), ("增加", "降低"), ("加重", "减轻"), ("加重", "缓解"),
    ("增强", "减弱"), ("增强", "削弱"), ("饭前", "饭后"), ("餐前", "餐后"), ("空腹", "餐后"), ("空腹", "饭后"), ("早上", "睡前"), ("早晨", "晚上"),
    ("左", "右"), ("收缩压", "舒张压"), ("一线", "二线"), ("禁用", "首选"), ("安全", "禁"), ("有效", "无效"), ("冷敷", "热敷"), ("平卧", "坐"),
    ("加快", "减慢"), ("促进", "抑制"), ("扩张", "收缩"), ("舌下", "吞服"), ("整片", "掰开"), ("整片", "嚼"),
)  # fmt: skip
_FORBID = re.compile(
    r"不(?:能|可(?!能)|要|宜|得|应|该|建议|推荐|适合|主张|允许|必|需|用|会|具|影响|增加|含|属于|是|作为|再)|无(?:需|须|法|效|明显)|没有(?!.{0,6}禁忌)|未|避免|禁|切勿|勿|忌|慎|防止|别|停用|尚无|缺乏|失去"
)
_UNLESS = re.compile(r"如无禁忌|没有禁忌|无禁忌|不用担心|不必担心|不(?:仅|但|同|良|适|舒服|明|全|足|稳|断|时|少|规|典型|可逆|可避免)|无论|未来")


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause with its content bigrams; `forbids` when it denies or forbids."""

    text: str
    bigrams: frozenset[str]
    forbids: bool


@dataclass(frozen=True, slots=True)
class Name:
    """A named medicine: `key` is the same for all names of one substance."""

    key: str
    surface: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What the comparison needs of one text. Positions are in `text` (folded, without citations)."""

    text: str
    bigrams: frozenset[str]
    clauses: tuple[Clause, ...]
    names: tuple[Name, ...]
    numbers: tuple[Quantity, ...]

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(name.key for name in self.names)


FindNames = Callable[[str], tuple[Name, ...]]


def read(raw: str, find_names: FindNames) -> Reading:
    """Read `raw` (any case, width, script)."""
    text = _CITATION.sub("", fold(raw))
    clauses = tuple(_clause(part) for part in _CLAUSE.split(text) if part)
    return Reading(text, bigrams(text), clauses, find_names(text), quantities(text))


def bigrams(text: str) -> frozenset[str]:
    """Content bigrams: function words and punctuation separate, latin words and numbers count as one."""
    found: set[str] = set()
    for run in re.split(r"[^\u4e00-\u9fffa-z0-9.]+", _FUNCTION.sub(" ", text)):
        for part in re.findall(r"[a-z]+[a-z0-9-]*|[\d.]+|[\u4e00-\u9fff]+", run):
            if part[0].isascii():
                if not part[0].isdigit():
                    found.add(part)
            elif len(part) == 1:
                continue
            else:
                found.update(part[at : at + 2] for at in range(len(part) - 1))
    return frozenset(found)


def containment(claim: frozenset[str], passage: frozenset[str]) -> float:
    """Share of the claim's content that the passage holds; 1.0 for a claim without content."""
    return len(claim & passage) / len(claim) if claim else 1.0


def sentences(text: str) -> list[str]:
    return _SENTENCE.findall(text)


def contradicts(claim: Reading, passage: Reading) -> bool:
    """True when a clause of the passage about the same thing says the opposite of a clause of the claim."""
    return any(_opposed(clause, passage) for clause in claim.clauses if len(clause.bigrams) >= 2)


def _opposed(clause: Clause, passage: Reading) -> bool:
    best, score = None, 0.0
    for other in passage.clauses:
        if len(other.bigrams) < 2:
            continue
        shared = len(clause.bigrams & other.bigrams)
        alike = shared / min(len(clause.bigrams), len(other.bigrams)) if shared >= 2 else 0.0
        agrees = clause.forbids == other.forbids
        if alike > score or (alike == score and agrees and best is not None):
            best, score = other, alike
    if best is None or score < 0.6:
        return False
    return clause.forbids != best.forbids or _antonyms(clause.text, best.text)


def _antonyms(one: str, other: str) -> bool:
    for a, b in _ANTONYMS:
        for left, right in ((a, b), (b, a)):
            if left in one and right not in one and right in other and left not in other:
                return True
    return False


def _clause(text: str) -> Clause:
    return Clause(text, bigrams(text), bool(_FORBID.search(_UNLESS.sub("", text))))
