"""Finds numbers and accounts: identity cards, telephones, bank cards, record numbers, WeChat, QQ, e-mail, plates.

Owns patterns and checksums. The identity card's check digit is GB 11643-1999, the bank card's the Luhn sum
(ISO/IEC 7812-1). A number without checksum or cue is left alone: laboratory values and doses are numbers too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from finetune.deidentify.lists import listed
from finetune.deidentify.types import Span, SpanType

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_SIGNS = "10X98765432"
_GAP = r"[ \-—]?"
_LONG = re.compile(r"(?<![\dA-Za-z.])\d(?:[ \-—]?\d){11,18}(?:[ \-—]?[Xx])?(?![\dA-Za-z])")
_ID_CUE = re.compile(r"身份证|证件|公民|ID\s*card|身份号|户口本", re.IGNORECASE)
_BANK_CUE = re.compile(
    r"卡号|银行|账号|帐号|账户|储蓄卡|信用卡|工行|建行|农行|中行|招行|交行|邮储|汇款|打款|转账"
)
_CUE_CHARS = 14

_SEP = r"[ \-—.·]"
_MOBILE = re.compile(
    rf"(?<!\d)(?<!\d\.)(?:(?:\+|00)?86{_SEP}?)?"
    rf"(?:1[3-9]\d{{9}}|1[3-9]\d{_SEP}\d{{4}}{_SEP}\d{{4}}|1[3-9]\d{_SEP}\d{{8}}|1[3-9]\d{{2}}{_SEP}\d{{3}}{_SEP}\d{{4}}"
    rf"|1[3-9]\d{_SEP}\d{{3}}{_SEP}\d{{5}}|1[3-9]\d{{3}}{_SEP}\d{{6}}|1[3-9]\d{{3}}{_SEP}\d{{3}}{_SEP}\d{{3}}"
    rf"|1[3-9](?:{_SEP}\d){{9}}|1(?:{_SEP}\d){{10}})"
    r"(?!\d)(?!\.\d)"
)
_SPOKEN = re.compile(
    r"(?<![零〇一幺二两三四五六七八九])[一幺][、，, \-]?[三四五六七八九](?:[、，, \-]?[零〇一幺二两三四五六七八九]){9}"
    r"(?![零〇一幺二两三四五六七八九])"
)
_AREA = r"(?:010|02[0-57-9]|0[3-9]\d{2})"
_LANDLINE = re.compile(
    rf"(?<![\d.])(?:\({_AREA}\)\s?|{_AREA}[ \-—]?|(?:\+|00)?86[ \-](?:10|2[0-57-9]|[3-9]\d{{2}})[ \-])"
    rf"[2-9]\d{{2,3}}{_GAP}\d{{4}}(?:\s?(?:转|分机|ext\.?|-)\s?\d{{1,6}})?(?!\d)"
)
_CUED_LANDLINE = re.compile(
    r"(?:电话|座机|固话|宅电|办公室|分机|联系方式|打)\s?(?:号码|号)?\s?(?:[:是为]|是:)?\s?(?P<value>[2-9]\d{2,3}[ \-]?\d{4})(?![\d])"
)
_RECORD_WORDS = (
    r"住院|门诊|门急诊|急诊|病案|病历|病理|检查|检验|影像|放射|超声|B超|彩超|CT|MRI|MR|X光|X线|心电图?|条形?|标本|样本|就诊|"
    r"医保|社保|诊疗|就医|健康|登记|处方|报告单?|申请单?|挂号|预约|体检|流水|档案|随访|手术|麻醉|入院|出院|留观|取药|订单|"
    r"患者|病人|发票|结算|费用|化验单?|新农合|农合|合疗"
)
_RECORD = re.compile(
    rf"(?:{_RECORD_WORDS})\s?(?:单|卡|证|记录)?\s?(?:号码?|编号|编码|条码|码|卡号|证号|ID号?|No\.?|#)"
    r"\s?(?:[:=#是为]|是:)?\s?(?P<value>[A-Za-z]{0,6}[\-_]?\d[\dA-Za-z\-_]{2,24})",
    re.IGNORECASE,
)
_RECORD_LATIN = re.compile(
    r"(?<![A-Za-z])(?:MRN|PID|Patient\s?ID|患者ID|ID号?|No\.)\s?[:：=#]\s?(?P<value>[A-Za-z]{0,4}-?\d[\dA-Za-z\-]{3,20})",
    re.IGNORECASE,
)
_BED = re.compile(
    r"床(?:位)?(?:号|位号)\s?(?:[:是为])?\s?(?P<value>[加+]?[A-Za-z]?\d{1,3}(?:-\d{1,3})?床?)"
    r"|(?<![\d.张有共约])(?P<plain>(?:\d{1,2}病?区)?[加+]?\d{1,3}号?床)(?![旁被垫单边位头])"
    r"|(?P<spoken>[加]?[一二三四五六七八九十]{1,4}号床)"
)
_WECHAT = re.compile(
    r"(?:微信|微x|wechat|weixin|(?<![a-z])(?:wx|vx|wei?xin)|[v薇威]信|加v|(?<![a-z])v(?=[:是])|徽信|weChat)"
    r"\s?(?:账号|帐号|号码|号|id)?\s?(?:也?是|同|为|就是)?\s?[:=]?\s?(?P<value>[a-z][\-_a-z0-9]{4,29}|\d{5,11}(?!\d))",
    re.IGNORECASE,
)
_WXID = re.compile(r"(?<![A-Za-z0-9_])wxid_[A-Za-z0-9]{6,}")
_QQ = re.compile(
    r"(?<![A-Za-z])(?:QQ|扣扣|企鹅|Q号|Q群|q)\s?(?:号码|账号|帐号|群号?|号)?\s?(?:也?是|为)?\s?[:=]?\s?(?P<value>[1-9]\d{4,11})(?!\d)",
    re.IGNORECASE,
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9](?:[A-Za-z0-9._%+\-]*[A-Za-z0-9_])?\s?@\s?[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*\.[A-Za-z]{2,}"
)
_URL = re.compile(r"(?:https?://|www\.)[^\s一-鿿，。；、（）()<>\"'“”]+")
_IP = re.compile(r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\d.])")
_PLATE = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使][A-HJ-NP-Z][·•・\-. ]?"
    r"(?=[A-Z0-9]*\d)(?:[A-HJ-NP-Z0-9]{5,6}|[A-HJ-NP-Z0-9]{4}[学警港澳挂领试超])(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_PASSPORT = re.compile(
    r"(?:护照|通行证|台胞证|军官证|士兵证|驾驶证|驾照|行驶证|居住证|回乡证)\s?(?:号码|证号|号)?\s?(?:[:是为]|是:)?\s?"
    r"(?P<value>(?:[A-Za-z]{1,2}\d{7,9}|[A-Za-z]\d{8}|(?:军|武|空|海)字第\d{4,10}号?|\d{8,10}(?!\d)))",
)


def number_spans(view: str, text: str) -> Iterator[Span]:
    """Finds in `view` (the text with full-width signs folded, same length) and, for spoken digits, in `text`."""
    yield from _simple(view)
    yield from _long_numbers(view)
    for found in _MOBILE.finditer(view):
        yield Span(SpanType.MOBILE, found.start(), found.end())
    for found in _SPOKEN.finditer(text):
        yield Span(SpanType.MOBILE, found.start(), found.end())


def _simple(view: str) -> Iterator[Span]:
    patterns = (
        (SpanType.URL, _URL),
        (SpanType.EMAIL, _EMAIL),
        (SpanType.ADMISSION_NUMBER, _RECORD),
        (SpanType.ADMISSION_NUMBER, _RECORD_LATIN),
        (SpanType.ADMISSION_NUMBER, _BED),
        (SpanType.PASSPORT, _PASSPORT),
        (SpanType.WECHAT, _WECHAT),
        (SpanType.WECHAT, _WXID),
        (SpanType.QQ, _QQ),
        (SpanType.LANDLINE, _LANDLINE),
        (SpanType.LANDLINE, _CUED_LANDLINE),
        (SpanType.PLATE, _PLATE),
        (SpanType.IP, _IP),
    )
    for kind, pattern in patterns:
        for found in pattern.finditer(view):
            groups = [name for name, value in found.groupdict().items() if value is not None]
            start, end = found.span(groups[0]) if groups else found.span()
            if kind is SpanType.WECHAT and _MOBILE.fullmatch(view, start, end):
                continue
            yield Span(kind, start, end)


def _long_numbers(view: str) -> Iterator[Span]:
    for found in _LONG.finditer(view):
        digits = re.sub(r"[ \-—]", "", found.group()).upper()
        before = view[max(0, found.start() - _CUE_CHARS) : found.start()]
        if is_identity_number(digits) or (_ID_CUE.search(before) is not None and len(digits) in (15, 18)):
            yield Span(SpanType.ID_CARD, found.start(), found.end())
        elif digits.isdigit() and (
            (16 <= len(digits) <= 19 and luhn_valid(digits) and digits[0] in "34569")
            or (_BANK_CUE.search(before) is not None and len(digits) >= 12)
        ):
            yield Span(SpanType.BANK_CARD, found.start(), found.end())


def is_identity_number(digits: str) -> bool:
    """18 signs with a real birth date (typing errors in the check digit included), or the old 15 digits."""
    if len(digits) == 18 and digits[:17].isdigit():
        return digits[0] in "12345689" and _is_day(digits[6:10], digits[10:12], digits[12:14])
    if len(digits) == 15 and digits.isdigit():
        return digits[:2] in _PROVINCE_CODES and _is_day("19" + digits[6:8], digits[8:10], digits[10:12])
    return False


def checksum_valid(digits: str) -> bool:
    """GB 11643-1999 for 18 signs."""
    if len(digits) != 18 or not digits[:17].isdigit():
        return False
    total = sum(int(d) * w for d, w in zip(digits, _WEIGHTS, strict=False))
    return _CHECK_SIGNS[total % 11] == digits[17].upper()


def luhn_valid(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_day(year: str, month: str, day: str) -> bool:
    return 1900 <= int(year) <= 2035 and 1 <= int(month) <= 12 and 1 <= int(day) <= 31


_PROVINCE_CODES = frozenset(
    listed(
        "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82"
    )
)
