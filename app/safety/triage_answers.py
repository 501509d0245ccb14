"""What the service asked last, and what a reply to it means: 有, 没有, 第一个有, or a bare number.

Owns the questions of an assistant turn and the matching of short replies to them. What the reply says in its own
words is read like any message in `triage_facts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.safety.findings_numbers import NUMBER, to_float

BARE_NUMBER = re.compile(
    r"^(?:[^，。！？；\n]{0,6}，)?(?:测了|量了|刚测|刚量|是|有|大概|大约|差不多|刚才|现在|显示|才|只有|，|的|了){0,5}"
    rf"{NUMBER}(?!(?:个|天|年|周|小时|分钟|片|岁|月|有|没|是|不|、|，\s*[2-9]))"
)
QUANTITIES = {
    "心率": re.compile(r"心率|心跳(?:多少|每分钟|是多少|几)|脉搏"),
    "血糖": re.compile(r"血糖"),
    "血压": re.compile(r"血压"),
    "体温": re.compile(r"体温|多少度|几度"),
    "血氧": re.compile(r"血氧|氧饱和"),
}
QUESTION = re.compile(r"[？?]|吗|有没有|是否|是不是|会不会|有无")
SENTENCE = re.compile(r"[^。！？；]+[。！？；]?")
LISTED = re.compile(r"\s*(?:[-•●]|\d{1,2}[.、)）]|[（(]\d)")
NUMBER_ONE = re.compile(r"\s*[（(]?1(?!\d)")
ORDINAL = (
    rf"(?:(?P<first>前)|第|(?<![^，。；、\s]))(?P<number>{NUMBER})(?!点)(?:个|条|项|种|号)?(?:问题|症状)?|"
    r"(?P<last>最后(?:一个?|那个))"
)
NUMBERED = re.compile(
    rf"(?:{ORDINAL})(?:[、和跟]第?(?P<second>{NUMBER})(?:个|条|项|种|点|号)?)?[，：:、]?(?:都|也|是|倒|好像|确实|可能|应该)?"
    r"(?:(?P<no>没有|没|不是|不|无|冇)|(?P<yes>有|是|会|对))"
)
REST_DENIED = re.compile(r"(?:其他|其它|别的|其余|剩下|后面|另外|余下)[^，。！？；\n]{0,4}(?:没|无|不|冇)")


# Asked about harming himself, a person may answer with the deed alone.
DEED = re.compile(r"割|吞|跳|上吊|安眠药|绳|刀|血|楼顶|桥|遗书|想过|计划|准备好|活着")


def asked_quantity(question: str) -> str | None:
    """The measured quantity that an assistant turn asks for last (心率, 血糖 …), as the word to read a number by."""
    found = [(m.start(), word) for word, pattern in QUANTITIES.items() for m in pattern.finditer(question)]
    return max(found)[1] if found else None


def questions_in(text: str) -> list[str]:
    """The sentences of normalised `text` that ask; of a text with a numbered list of questions, the last such list.

    A question that ends in a colon asks for each line of the list behind it.
    """
    found: list[str] = []
    numbered: list[str] = []
    listing = False
    for line in text.split("\n"):
        if listing and LISTED.match(line):
            found.append(line)
            continue
        sentences = [s for s in SENTENCE.findall(line) if QUESTION.search(s)]
        listing = bool(sentences) and line.endswith("：")
        found += sentences
        if sentences and NUMBER_ONE.match(line):
            numbered = []
        if sentences and LISTED.match(line):
            numbered.append(line)
    return numbered if numbered else found


def answers(
    text: str, asked: Sequence[frozenset[str]], *, yes: bool, no: bool
) -> tuple[frozenset[str], frozenset[str]]:
    """The asked findings that the reply affirms and denies.

    `asked` are the findings of each question, in order; `yes` and `no` say that the reply opens with one for all.
    """
    if not no and any("suicidal" in names for names in asked) and DEED.search(text):
        return frozenset({"suicidal"}), frozenset()
    every = frozenset[str]().union(*asked)
    affirmed, denied, left = set[str](), set[str](), set(range(len(asked)))
    named = [(m, numbers) for m in NUMBERED.finditer(text) if (numbers := _numbers(m, len(asked)))]
    if not named:
        return (frozenset(), every) if no else (every, frozenset()) if yes else (frozenset(), frozenset())
    for match, numbers in named:
        into = denied if match["no"] else affirmed
        into.update(*(asked[n] for n in numbers))
        left -= numbers
    if REST_DENIED.search(text):
        denied.update(*(asked[n] for n in left))
    return frozenset(affirmed), frozenset(denied - affirmed)


def _numbers(match: re.Match[str], count: int) -> set[int]:
    """Which questions a numbered answer means, counted from 0: 第一个, 前两个, 1和3, 最后一个."""
    if match["last"]:
        return {count - 1} if count else set()
    number = int(to_float(match["number"]) or 0)
    if match["first"]:
        return set(range(number)) if 0 < number <= count else set()
    second = int(to_float(match["second"]) or 0) if match["second"] else number
    return {n - 1 for n in (number, second) if 0 < n <= count}
