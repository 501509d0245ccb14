"""Finds dates of birth, and other days exact enough to point to a stay in hospital.

Owns date patterns. A year, or a year with a month, of anything but a birth stays: it is clinical information.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from finetune.deidentify.types import Span, SpanType

_YEAR = r"(?:19|20)\d{2}"
_FULL = rf"(?:{_YEAR}\s?年\s?\d{{1,2}}\s?月\s?\d{{1,2}}\s?[日号]?|{_YEAR}\s?(?P<sep>[./\-])\s?\d{{1,2}}\s?(?P=sep)\s?\d{{1,2}}(?!\d))"
_SPOKEN_DIGIT = r"[零〇一二三四五六七八九]"
_SPOKEN_FULL = rf"(?:[一二]{_SPOKEN_DIGIT}{{3}}|{_SPOKEN_DIGIT}{{2}})年(?:农历|阴历|腊|正|冬)?[零〇一二三四五六七八九十]{{0,2}}月(?:初|廿)?[零〇一二三四五六七八九十]{{1,3}}[日号]?"
_MONTH = rf"(?:{_YEAR}|(?<!\d)\d{{2}})\s?年\s?(?:农历|阴历)?\s?\d{{1,2}}\s?月(?:份|生)?(?:\s?\d{{1,2}}\s?[日号]?)?|{_YEAR}[./\-]\d{{1,2}}(?![\d./\-])"
_COMPACT = rf"{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)"
_SHORT_FULL = r"(?<!\d)\d{2}\s?年\s?\d{1,2}\s?月\s?\d{1,2}\s?[日号]"
_BIRTH_CUE = r"(?:出生(?:日期|年月日?|时间|日)?|生日|生辰|生于|诞生|DOB|Birth\s?date|Date\s?of\s?birth)"
_DAY = r"\d{1,2}月\d{1,2}[日号]?|[一二三四五六七八九十]{1,2}月[一二三四五六七八九十]{1,3}[日号]?"

_BIRTH = re.compile(
    rf"{_BIRTH_CUE}\s?(?:[:是为在于]|是在|是:)?\s?(?:公历|农历|阴历|阳历)?\s?"
    rf"(?P<value>{_FULL}|{_COMPACT}|{_SPOKEN_FULL}|{_MONTH}|{_DAY})",
    re.IGNORECASE,
)
_BORN = re.compile(
    rf"(?P<value>{_FULL}|{_SPOKEN_FULL}|{_MONTH}) ?(?:出生|生人|(?:的)?生(?:日|的)|生(?=[，,。、;；\s)）]|$))"
)
_EXACT = re.compile(rf"(?<!\d)(?:{_FULL}|{_SHORT_FULL})|{_SPOKEN_FULL}")
_EVENT = r"入院|出院|手术|住院|就诊|复查|复诊|检查|化验|发病|起病|摔|转院|造影|放(?:了)?支架|做(?:了|的|过)|术|去世|抢救|确诊|打(?:了)?疫苗|随访|拆线|透析"
_EVENT_DAY = re.compile(
    rf"(?<![\d年])(?P<value>\d{{1,2}}月\d{{1,2}}[日号])(?=[^，。；！？\n]{{0,8}}(?:{_EVENT}))"
)


def date_spans(view: str) -> Iterator[Span]:
    for pattern in (_BIRTH, _BORN):
        for found in pattern.finditer(view):
            yield Span(SpanType.BIRTH_DATE, *found.span("value"))
    for found in _EXACT.finditer(view):
        if _is_real(found.group()):
            yield Span(SpanType.DATE, *found.span())
    for found in _EVENT_DAY.finditer(view):
        yield Span(SpanType.DATE, *found.span("value"))


def _is_real(text: str) -> bool:
    """Month and day exist; spoken dates are taken as they come."""
    numbers = re.findall(r"\d+", text)
    return len(numbers) != 3 or (1 <= int(numbers[1]) <= 12 and 1 <= int(numbers[2]) <= 31)
