"""Finds addresses.

Owns the grammar of Chinese addresses. A province or a city alone is not enough to find anybody and stays; so do wards
and anatomical regions (心前区). Hospitals are `hospitals.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from finetune.deidentify.place_names import CITIES, PROVINCES
from finetune.deidentify.types import Span, SpanType

_KNOWN = "|".join(sorted({*PROVINCES, *CITIES}, key=len, reverse=True))
_SIGN = r"[一-鿿]"
# A sign that may stand inside the name of a place: any but pronouns, particles and the verbs that precede places.
_IN = r"(?:(?![的了是在我你他她它们吗吧呢说与及或这那也很吃药看病医没把被让请问于])[一-鿿])"
_NOT_PLACE = r"(?!(?:市|地|城|郊|山|社|小|病|院|辖|农|全|各|老|景|灾|疫|校|厂|牧|前|乡|街|镇|县|城乡|疫情|监护|病房|留观)(?:区|村|县|镇))"
_ADMIN = rf"{_NOT_PLACE}{_IN}{{1,7}}?(?:自治区|自治州|自治县|开发区|高新区|新区|地区|街道(?:办事处)?|办事处|省|市|县|旗|盟|州|区|镇|乡)"
_ROAD = rf"{_IN}{{1,8}}?(?:大道|大街|(?<![走马公道铁一上半水气线旁思回电尿胆网通])路|街|巷|弄|胡同|(?<![通传尿阴产胆肠吸管渠气血化频知味])道)(?:[东南西北中]段|[一二三四五六七八九十]段)?"
_ESTATE_WORDS = r"小区|花园|家园|公寓|新村|家属院|家属楼|家属区|宿舍|大院|社区|大厦|广场|国际|新城|名都|苑|府|庭|湾|城|里|园|居|庄园|山庄|村|屯|庄|寨|坝|堡"
_ESTATE = rf"{_NOT_PLACE}{_IN}{{1,8}}?(?:{_ESTATE_WORDS})"
_NUMBER = (
    r"\s?(?:[第附]?(?:[0-9A-Za-z]{1,5}|[一二三四五六七八九十百]{1,4})(?:[\-—][0-9A-Za-z]{1,5}){0,3}"
    r"(?:号院|号楼|号|支弄|弄|栋|幢|座|单元|室|层|楼|组|队|社|委|户|门|排|区|期|村|房))"
    r"|\s?[0-9]{1,3}[\-—][0-9]{1,3}[\-—][0-9]{2,4}|(?<=[元栋幢楼座层门])\s?[0-9]{2,4}(?![0-9年月天日岁mM.%])"
)
_UNIT = rf"(?:{_NUMBER}|{_ADMIN}|{_ROAD}|{_ESTATE})"
_FROM_KNOWN = re.compile(
    rf"(?:(?:{_KNOWN})(?:壮族自治区|回族自治区|维吾尔自治区|自治区|特别行政区|省|市)?\s?)(?:{_UNIT})+"
)
_LABEL = re.compile(
    r"(?:(?:家庭|现|居住|户籍|户口|通讯|通信|联系|收货|邮寄|常住|单位|工作|详细|具体)(?:住址|地址)|住址|地址|户籍所在地|户口所在地|户籍地?|籍贯|居住地|现住|常住|出生地)"
    r"\s?(?:[:：是为在]|是[:：])\s?(?P<value>[一-鿿0-9A-Za-z\-—()# ]{2,60})"
)
_LIVES = re.compile(
    rf"(?:家住|住在|居住在|租住在|现居|搬到|搬去|家在|住到|寄到|寄往|快递到|送到|老家(?:是|在)?|住(?={_KNOWN}))\s?(?P<value>(?:(?:{_KNOWN})(?:省|市)?\s?)?(?:{_UNIT})+)"
)
_ROAD_NUMBER = re.compile(
    rf"{_IN}{{2,6}}?(?:大道|大街|路|街|巷|胡同|弄)(?:[东南西北中]段)?\s?[0-9一二三四五六七八九十百]{{1,5}}(?:[\-—]\d{{1,4}})?(?:号院|号楼|号|弄)(?:{_UNIT})*"
)
_ESTATE_NUMBER = re.compile(
    rf"{_IN}{{2,8}}?(?:小区|花园|家园|公寓|新村|家属院|家属楼|宿舍|大厦|苑|府|庭|国际|名都|新城|社区)(?:{_NUMBER}){{1,5}}"
)
_VILLAGE_NUMBER = re.compile(rf"{_IN}{{2,5}}?(?:镇|乡)(?:{_UNIT})+|{_IN}{{2,4}}?(?:村|屯)(?:{_NUMBER})+")
_LEADING = re.compile(
    r"^(?:就住|家住|住在|住|送到|送|寄到|寄|搬到|搬|去|到|从|往|沿|走到|路过|家|在|来|回|户口|老家|目前|现在|现|平时|一直|地址|位)+"
)
_DETAIL = re.compile(r"[区县镇乡街路巷弄村屯旗]|小区|花园|家园|公寓|苑|室|栋|幢|单元|号|新城|府|庭")
_GENERIC_VALUE = re.compile(r"^(?:同上|不详|无|未知|保密|略|见病历|同户籍|暂无|某.*)$")


def address_spans(view: str) -> Iterator[Span]:
    for found in _LABEL.finditer(view):
        start, end = _trimmed(view, *found.span("value"))
        value = view[start:end]
        if end - start >= 2 and not _GENERIC_VALUE.match(value) and _looks_placed(value):
            yield Span(SpanType.ADDRESS, start, end)
    for found in _LIVES.finditer(view):
        if _DETAIL.search(found.group("value")):
            yield Span(SpanType.ADDRESS, *_trimmed(view, *found.span("value")))
    for pattern in (_FROM_KNOWN, _ROAD_NUMBER, _ESTATE_NUMBER, _VILLAGE_NUMBER):
        for found in pattern.finditer(view):
            start, end = _trimmed(view, *found.span())
            if end - start >= 4 and _DETAIL.search(view[start:end]):
                yield Span(SpanType.ADDRESS, start, end)


def _looks_placed(value: str) -> bool:
    return _DETAIL.search(value) is not None or re.search(rf"{_KNOWN}|[省市]", value) is not None


def _trimmed(view: str, start: int, end: int) -> tuple[int, int]:
    """Without the verbs before a place and the words after a labelled one."""
    leading = _LEADING.match(view[start:end])
    if leading is not None and leading.end() < end - start - 1:
        start += leading.end()
    value = view[start:end]
    stop = re.search(r"\s+(?=[一-鿿]{2,6}(?:[:：]|$))|(?:电话|联系|邮编|手机|性别|年龄|工作单位)", value)
    if stop is not None and stop.start() >= 2:
        end = start + stop.start()
    return start, start + len(view[start:end].rstrip(" -—("))
