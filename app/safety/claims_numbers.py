"""Reads clinical quantities from folded Chinese text and compares them with units, ranges and conversions.

Owns numbers only: what is a quantity (a dose, a test value, a time, a frequency), what merely looks like one (P2Y12,
2型糖尿病, 拨打120), and when one is contained in another. Which sentence must be supported is decided in `claims.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class Dim(StrEnum):
    """What a quantity measures; only quantities of one dimension are compared."""

    MASS = "mass"  # mg
    VOLUME = "volume"  # ml
    PIECES = "pieces"  # tablets, capsules, pills
    PUFFS = "puffs"  # sprays, inhalations, drops
    UNITS = "units"  # international units
    TIME = "time"  # hours
    FREQUENCY = "frequency"  # per day
    TIMES = "times"  # occasions, without a period
    PERCENT = "percent"
    MASS_CONCENTRATION = "mass_concentration"  # mg/l
    AMOUNT_CONCENTRATION = "amount_concentration"  # mmol/l
    ACTIVITY = "activity"  # u/l
    PRESSURE = "pressure"  # mmhg
    BLOOD_PRESSURE = "blood_pressure"  # systolic mmhg, diastolic in `high`
    RATE = "rate"  # per minute
    TEMPERATURE = "temperature"  # degrees Celsius
    LENGTH = "length"  # cm
    ENERGY = "energy"  # kcal
    AGE = "age"  # years
    FOLD = "fold"
    SCORE = "score"
    PLAIN = "plain"  # an indicator without unit (INR, BMI)


DOSE_DIMS = frozenset({Dim.MASS, Dim.VOLUME, Dim.PIECES, Dim.PUFFS, Dim.UNITS, Dim.FREQUENCY})


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value or range [low, high] in the base unit of its dimension; `bound` is "<", ">" or "" as written.

    `start`, `end` are positions in the folded text.
    """

    dim: Dim
    low: float
    high: float
    bound: str
    start: int
    end: int


_UNITS: dict[str, tuple[Dim, float]] = {
    "mg": (Dim.MASS, 1), "毫克": (Dim.MASS, 1), "g": (Dim.MASS, 1000), "克": (Dim.MASS, 1000),
    "kg": (Dim.MASS, 1e6), "公斤": (Dim.MASS, 1e6), "千克": (Dim.MASS, 1e6), "斤": (Dim.MASS, 5e5),
    "μg": (Dim.MASS, 1e-3), "ug": (Dim.MASS, 1e-3), "mcg": (Dim.MASS, 1e-3), "微克": (Dim.MASS, 1e-3),
    "两": (Dim.MASS, 5e4),
    "ml": (Dim.VOLUME, 1), "毫升": (Dim.VOLUME, 1), "l": (Dim.VOLUME, 1000), "升": (Dim.VOLUME, 1000), "cc": (Dim.VOLUME, 1),
    "片": (Dim.PIECES, 1), "粒": (Dim.PIECES, 1), "颗": (Dim.PIECES, 1), "丸": (Dim.PIECES, 1), "支": (Dim.PIECES, 1),
    "袋": (Dim.PIECES, 1), "包": (Dim.PIECES, 1), "贴": (Dim.PIECES, 1), "枚": (Dim.PIECES, 1), "杯": (Dim.PIECES, 1),
    "喷": (Dim.PUFFS, 1), "揿": (Dim.PUFFS, 1), "吸": (Dim.PUFFS, 1), "滴": (Dim.PUFFS, 1),
    "iu": (Dim.UNITS, 1), "单位": (Dim.UNITS, 1), "万单位": (Dim.UNITS, 1e4), "u": (Dim.UNITS, 1),
    "秒": (Dim.TIME, 1 / 3600), "秒钟": (Dim.TIME, 1 / 3600), "分钟": (Dim.TIME, 1 / 60), "min": (Dim.TIME, 1 / 60),
    "小时": (Dim.TIME, 1), "个小时": (Dim.TIME, 1), "h": (Dim.TIME, 1), "钟头": (Dim.TIME, 1), "个钟头": (Dim.TIME, 1),
    "天": (Dim.TIME, 24), "日": (Dim.TIME, 24), "晚": (Dim.TIME, 24), "d": (Dim.TIME, 24), "周": (Dim.TIME, 168), "星期": (Dim.TIME, 168),
    "个星期": (Dim.TIME, 168), "礼拜": (Dim.TIME, 168), "个月": (Dim.TIME, 730), "月": (Dim.TIME, 730), "年": (Dim.TIME, 8760),
    "%": (Dim.PERCENT, 1), "mmol/l": (Dim.AMOUNT_CONCENTRATION, 1), "毫摩尔/升": (Dim.AMOUNT_CONCENTRATION, 1),
    "毫摩尔每升": (Dim.AMOUNT_CONCENTRATION, 1), "mmol": (Dim.AMOUNT_CONCENTRATION, 1),
    "μmol/l": (Dim.AMOUNT_CONCENTRATION, 1e-3), "umol/l": (Dim.AMOUNT_CONCENTRATION, 1e-3), "微摩尔/升": (Dim.AMOUNT_CONCENTRATION, 1e-3),
    "mg/dl": (Dim.MASS_CONCENTRATION, 10), "g/l": (Dim.MASS_CONCENTRATION, 1000), "mg/l": (Dim.MASS_CONCENTRATION, 1),
    "g/dl": (Dim.MASS_CONCENTRATION, 1e4), "ng/ml": (Dim.MASS_CONCENTRATION, 1e-3), "μg/l": (Dim.MASS_CONCENTRATION, 1e-3),
    "ug/l": (Dim.MASS_CONCENTRATION, 1e-3), "pg/ml": (Dim.MASS_CONCENTRATION, 1e-6), "ng/l": (Dim.MASS_CONCENTRATION, 1e-6),
    "u/l": (Dim.ACTIVITY, 1), "iu/l": (Dim.ACTIVITY, 1), "iu/ml": (Dim.ACTIVITY, 1000), "ku/l": (Dim.ACTIVITY, 1000),
    "mmhg": (Dim.PRESSURE, 1), "毫米汞柱": (Dim.PRESSURE, 1), "kpa": (Dim.PRESSURE, 7.5), "千帕": (Dim.PRESSURE, 7.5),
    "次/分钟": (Dim.RATE, 1), "次/分": (Dim.RATE, 1), "次每分": (Dim.RATE, 1), "次每分钟": (Dim.RATE, 1), "bpm": (Dim.RATE, 1), "跳": (Dim.RATE, 1),
    "°c": (Dim.TEMPERATURE, 1), "度": (Dim.TEMPERATURE, 1), "摄氏度": (Dim.TEMPERATURE, 1),
    "cm": (Dim.LENGTH, 1), "厘米": (Dim.LENGTH, 1), "公分": (Dim.LENGTH, 1), "mm": (Dim.LENGTH, 0.1), "毫米": (Dim.LENGTH, 0.1),
    "m": (Dim.LENGTH, 100), "米": (Dim.LENGTH, 100), "km": (Dim.LENGTH, 1e5), "公里": (Dim.LENGTH, 1e5), "步": (Dim.LENGTH, 60),
    "kcal": (Dim.ENERGY, 1), "千卡": (Dim.ENERGY, 1), "大卡": (Dim.ENERGY, 1),
    "岁": (Dim.AGE, 1), "周岁": (Dim.AGE, 1), "月龄": (Dim.AGE, 1 / 12), "倍": (Dim.FOLD, 1), "分": (Dim.SCORE, 1), "次": (Dim.TIMES, 1),
}  # fmt: skip
# 2.3升高 has risen and is no litre.
_NOT_BEFORE = {"升": "(?![高至到压糖降温])"}
_UNIT = "|".join(
    re.escape(unit) + _NOT_BEFORE.get(unit, "") for unit in sorted(_UNITS, key=len, reverse=True)
)
_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"两": 2, "半": 0.5, "〇": 0}
_NUMBER = r"\d+(?:\.\d+)?(?:/\d+(?!\d*/))?|半|[一二两三四五六七八九十百千]+(?:点[零一二三四五六七八九]+)?"
# Folding closes the gap of "60 mg q4h".
_LATIN_AFTER = r"q\d+h|qd|qn|qid|bid|tid|po|iv"
_AFTER_UNIT = r"(?:(?<![a-z])|(?<=mg)|(?<=kg)|(?<=ug)|(?<=ml)|(?<=\dg)|(?<=\du))"
_RANGE = re.compile(
    rf"(?P<low>{_NUMBER})(?:(?P<low_unit>{_UNIT})?(?:~|-|–|—|至|到|∼)(?P<high>{_NUMBER}))?(?P<unit>{_UNIT})(?!(?!{_LATIN_AFTER})[a-z])"
)
_BLOOD_PRESSURE = re.compile(r"(?P<s>\d{2,3})/(?P<d>\d{2,3})(?![\d.])(?:mmhg|毫米汞柱)?")
_PLAIN = re.compile(
    r"(?:inr|bmi|体质指数|体重指数|ph|评分|得分|ef|比值|hba1c|糖化血红蛋白|ldl-?c?|血糖|尿酸|胆固醇|甘油三酯|血压|心率|收缩压|舒张压|高压|低压|体温)"
    r"[^\d,;。]{0,8}?(?P<low>\d+(?:\.\d+)?)(?:(?:~|-|–|—|至|到)(?P<high>\d+(?:\.\d+)?))?(?![\d.]|[a-z%°/])"
)
_EVERY = "每一?|一"
_FREQUENCY = (
    re.compile(rf"(?:{_EVERY})(?P<period>日|天|晚|周|星期|个?月|年)(?:要|需要?|应|可以?|只?需|仅|最多|至少|不超过|约)*(?:服用?|吃|口服|用|喷|注射|运动|测量?|锻炼)?(?P<low>{_NUMBER})(?:(?:~|-|至|到|、)(?P<high>{_NUMBER}))?[次回顿]"),
    re.compile(rf"(?P<low>{_NUMBER})(?:(?:~|-|至|到)(?P<high>{_NUMBER}))?次/(?P<period>日|天|周|月|年|d)"),
    re.compile(rf"每(?:隔)?(?P<gap>{_NUMBER})(?:(?:~|-|至|到)(?P<gap2>{_NUMBER}))?(?:个)?(?:小时|h)(?:服用?|吃|口服|用)?(?:一次|1次)?"),
    re.compile(rf"{_AFTER_UNIT}q(?P<gap>{_NUMBER})h(?![a-z])"),
    re.compile(rf"{_AFTER_UNIT}(?P<latin>qd|bid|tid|qid|qn)(?![a-z])"),
    re.compile(r"(?P<early>(?:每[天日])早晚|早晚(?:各|测|服|吃|喷|刷|量)|早、?中、?晚各)"),
)  # fmt: skip
_AND_A_HALF = re.compile(r"(?P<low>\d+|[一二两三四五六七八九十]+)个半(?P<unit>小时|钟头|月|星期)")
_PER_MINUTE = re.compile(
    rf"每分钟(?:约|大于|超过|低于|少于|在)?(?P<low>{_NUMBER})(?:(?:~|-|至|到)(?P<high>{_NUMBER}))?次"
)
_TENTHS = re.compile(r"(?P<low>[一两二三四五六七八九]|\d)成(?![人年功分都熟长为本瘾药像份型立果绩员不])")
_LIANG = re.compile(r"(?P<low>[一二三四五六七八九半]|\d+)两(?=白?酒|米|面|肉|主食|饭|生|水果)")
_PERCENT = re.compile(rf"百分之(?P<low>{_NUMBER})(?:(?:~|-|至|到)(?:百分之)?(?P<high>{_NUMBER}))?")
_PERIOD_DAYS = {
    "日": 1.0,
    "天": 1.0,
    "晚": 1.0,
    "d": 1.0,
    "周": 7.0,
    "星期": 7.0,
    "月": 30.0,
    "个月": 30.0,
    "年": 365.0,
}
_LATIN = {"qd": 1.0, "qn": 1.0, "bid": 2.0, "tid": 3.0, "qid": 4.0}
# Look like quantities, are names.
_NAMES = re.compile(
    r"[一二两三四五六七八九][两二三四五六七八九](?=[次天片周年个日小分月粒])|p2y12|cyp\d\w+|sglt-?2|pcsk9|glp-?1|dpp-?4|cha2ds2(?:-vasc)?|has-bled|[12]型|h[12](?:受体)?|维生素?[bdk]\d{1,2}(?!\d)|b12|b6|ω-?3|omega-?3|t[34]|"
    r"covid-?19|ige|il-?\d+|\d+导联|(?:24|48|72)小时(?:动态|尿|心电|内镜|holter|值班|热线|服务)|五羟色胺|5-(?:羟色胺|ht)|[一二三四1-4i]+[级期度型类]|第[一二三四五六七八九十\d]+(?:代|次|步|版|条|天|类|个)|"
    r"(?:19|20)\d\d(?:年(?:版)?|版)|\[\^?\d+\]|(?:拨打|拨|打|叫|呼叫|电话|热线|急救|联系|按|即|或|、|和)[:\"“]?(?:120|110|119|999|12356|12320|114|12345)|(?:120|999)(?=急救|电话|救护|或|、|,|。|!|;|送|医|后|等|就|到|,|$)|12356|12320|"
    r"一个(?!半|月|小时|钟头|星期|周|疗程)|一(?:周|月|年)(?!后|内|以内|之内|左右|以上|以下|多|[。,;!?]|的?疗程|即可|就|复|再|到|至|~|$|时间)|一(?:些|般|定|起|样|直|旦|边|方面|下|点|种|类|切|致|律|并|线|侧|时|味|向|半身|同|项|款|份|系列|会儿?|步|部分|员|经|体|度|再|段|句|生|场|口|手|看|开始|分为二|二)|"
    r"(?:十|万|千)分(?![之钟])|两(?:种|个|者|类|侧|款|样|边|项|方面|药|手|腿|肋)|三(?:高|餐|甲|种|个|类|叉|级)|四肢|五官|八成|百日|千万|半(?:身|夜|边|侧|数|衰|流|卧|坐)|二(?:者|级|尖|甲)|双|单|八角|九[点九]|七情|六味|三七|十(?:分(?!钟)|全|二指肠|足)|百(?:病|分(?!之))|同一天|一(?:天|日|月|晚)(?!服|吃|口服|用|喷|[\d一二两三四五六七八九十半早晚\u4e00-\u9fff]?[次片粒回顿~]|量|总量|[^,。]{0,3}\d)|(?:有|这|那|某|哪|上|下|本|当|每|近)一(?:天|日|周|次|年|月)|(?:前|后)一(?:天|日|次)|第一|(?:那|这|整|连成)一片(?!药)|一跳|[一二三四五六七八九]分(?:饱|醉)|[一两二三四五六七八九]步(?!行)|一滴(?:不|也|都)|[半一](?:小)?杯(?:果汁|温?水|牛奶|糖水|豆浆|蜂蜜水)"
)  # fmt: skip
_LESS = re.compile(
    r"(?:(?:未|没有?)(?:超过|高于|大于|超出|多于|达到?|满)|(?<!不)(?<!不能)低于|(?<!不)小于|不(?:要|能|得|可|应|宜|会)?(?:超过|高于|大于|超出|多于)|别超过|勿超过|(?<!不)少于|不足|至多|最多|不到|<=?|≤|以内|控制在|降至|降到|未满|不高于|不大于|上限(?:是|为)?)$"
)
_LESS_AFTER = re.compile(r"^(?:以下|以内|之内|之下|以里|内)")
_MORE = re.compile(
    r"(?:高于|大于|超过|多于|至少|不(?:要|能|得|应)?(?:低于|少于|小于)|>=?|≥|达到?|满|超出|下限(?:是|为)?|最少)$"
)
_MORE_AFTER = re.compile(r"^(?:以上|及以上|或以上|之上)")
_TOLERANCE = 0.006
# 一天, 一次 name an occasion or a period, they measure nothing.
_NOT_MEASURED = frozenset((one, unit) for one in ("一", "1") for unit in ("次",)) | {
    ("一", "天"),
    ("一", "日"),
    ("一", "晚"),
}


def number(text: str) -> float:
    """Read 0.5, 1/2, 半, 十二, 一百二十, 两点五. Raises `ValueError` on anything else."""
    if text[0].isdigit():
        above, _, below = text.partition("/")
        return float(above) / float(below) if below and float(below) else float(above)
    whole, _, part = text.partition("点")
    value = _chinese(whole)
    digits = (_DIGITS[char] / float(10 ** (place + 1)) for place, char in enumerate(part))
    return float(value + sum(digits))


def _chinese(text: str) -> float:
    total, current = 0.0, 0.0
    for char in text:
        if char in "十百千":
            scale = {"十": 10, "百": 100, "千": 1000}[char]
            total += (current if current else 1) * scale
            current = 0
        elif char in _DIGITS:
            current = _DIGITS[char]
        else:
            raise ValueError(text)
    return total + current


@lru_cache(maxsize=8192)
def quantities(folded: str) -> tuple[Quantity, ...]:
    """Return every clinical quantity of the text, in order; names that contain digits are skipped."""
    text = _NAMES.sub(lambda match: "□" * len(match.group()), folded)
    found = sorted(_read(text), key=lambda quantity: quantity.start)
    return tuple(found)


def _read(text: str) -> Iterator[Quantity]:
    taken = bytearray(len(text))

    def free(match: re.Match[str]) -> bool:
        if any(taken[match.start() : match.end()]):
            return False
        taken[match.start() : match.end()] = b"\x01" * (match.end() - match.start())
        return True

    for pattern in _FREQUENCY:
        for match in filter(free, pattern.finditer(text)):
            yield _frequency(match, text)
    for match in filter(free, _PER_MINUTE.finditer(text)):
        yield _quantity(Dim.RATE, 1, match.group("low"), match.group("high"), match, text)
    for match in filter(free, _AND_A_HALF.finditer(text)):
        dim, scale = _UNITS[{"月": "个月"}.get(match.group("unit"), match.group("unit"))]
        value = (number(match.group("low")) + 0.5) * scale
        yield Quantity(
            dim, value, value, _bound(text, match.start(), match.end()), match.start(), match.end()
        )
    for match in filter(free, _PERCENT.finditer(text)):
        yield _quantity(Dim.PERCENT, 1, match.group("low"), match.group("high"), match, text)
    for match in filter(free, _TENTHS.finditer(text)):
        yield _quantity(Dim.PERCENT, 10, match.group("low"), None, match, text)
    for match in filter(free, _LIANG.finditer(text)):
        yield _quantity(Dim.MASS, 5e4, match.group("low"), None, match, text)
    for match in _BLOOD_PRESSURE.finditer(text):
        systolic, diastolic = float(match.group("s")), float(match.group("d"))
        if 60 <= systolic <= 300 and 30 <= diastolic <= 200 and diastolic < systolic and free(match):
            bound = _bound(text, match.start(), match.end())
            yield Quantity(Dim.BLOOD_PRESSURE, systolic, diastolic, bound, match.start(), match.end())
    for match in filter(free, _RANGE.finditer(text)):
        yield from _with_unit(match, text)
    for match in filter(free, _PLAIN.finditer(text)):
        yield _quantity(Dim.PLAIN, 1, match.group("low"), match.group("high"), match, text)


def _with_unit(match: re.Match[str], text: str) -> Iterator[Quantity]:
    dim, scale = _UNITS[match.group("unit")]
    low, high = match.group("low"), match.group("high")
    low_unit = match.group("low_unit")
    if low_unit is not None and _UNITS[low_unit] != (dim, scale):
        other, factor = _UNITS[low_unit]
        if other is dim and high is not None:
            ends = sorted((number(low) * factor, number(high) * scale))
            yield Quantity(dim, ends[0], ends[1], "", match.start(), match.end())
        return
    if high is None and (low, match.group("unit")) in _NOT_MEASURED:
        return
    if dim is Dim.MASS and match.group("unit") == "两" and not low[0].isdigit():
        return
    yield _quantity(dim, scale, low, high, match, text)


def _quantity(
    dim: Dim, scale: float, low: str, high: str | None, match: re.Match[str], text: str
) -> Quantity:
    first = number(low) * scale
    last = first if high is None else number(high) * scale
    return Quantity(
        dim,
        min(first, last),
        max(first, last),
        _bound(text, match.start(), match.end()),
        match.start(),
        match.end(),
    )


def _frequency(match: re.Match[str], text: str) -> Quantity:
    groups = match.groupdict()
    start, end = match.start(), match.end()
    if groups.get("latin") is not None:
        rate = _LATIN[groups["latin"]]
        return Quantity(Dim.FREQUENCY, rate, rate, "", start, end)
    if groups.get("early") is not None:
        rate = 3.0 if "中" in groups["early"] else 2.0
        return Quantity(Dim.FREQUENCY, rate, rate, "", start, end)
    if groups.get("gap") is not None:
        gaps = [24 / max(number(gap), 0.1) for gap in (groups["gap"], groups.get("gap2")) if gap is not None]
        return Quantity(Dim.FREQUENCY, min(gaps), max(gaps), "", start, end)
    days = _PERIOD_DAYS[groups["period"]]
    low = number(groups["low"]) / days
    high = low if groups.get("high") is None else number(groups["high"]) / days
    return Quantity(Dim.FREQUENCY, low, high, _bound(text, start, end), start, end)


def _bound(text: str, start: int, end: int) -> str:
    before, after = text[max(0, start - 6) : start], text[end : end + 3]
    if _LESS.search(before) or _LESS_AFTER.search(after):
        return "<"
    if _MORE.search(before) or _MORE_AFTER.search(after):
        return ">"
    return ""


def contains(known: Quantity, claimed: Quantity) -> bool:
    """True when `known` says what `claimed` says: the same value, or a value or range inside the known range."""
    if known.dim is not claimed.dim:
        return False
    if known.bound and claimed.bound and known.bound != claimed.bound:
        return False
    if known.dim is Dim.BLOOD_PRESSURE:
        return _same(known.low, claimed.low) and _same(known.high, claimed.high)
    slack = _TOLERANCE * max(abs(known.high), abs(claimed.high))
    if claimed.bound and not known.bound and known.low != known.high and claimed.low == claimed.high:
        # Below a range's lower end or above its upper end is not what the range says.
        return abs((known.high if claimed.bound == "<" else known.low) - claimed.low) <= slack
    if known.dim is Dim.TIME and claimed.high >= 24:
        # A month is 28 to 31 days, 12 months a year: calendar words are compared with 5 % of room.
        slack = 0.05 * claimed.high
    return known.low - slack <= claimed.low and claimed.high <= known.high + slack


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= _TOLERANCE * max(abs(one), abs(other))


def supported_by(claimed: Quantity, known: tuple[Quantity, ...]) -> bool:
    """True when one known quantity contains the claimed one, or its two ends are both known."""
    if any(contains(quantity, claimed) for quantity in known):
        return True
    if claimed.low == claimed.high or claimed.dim is Dim.BLOOD_PRESSURE:
        return False
    low = Quantity(claimed.dim, claimed.low, claimed.low, "", 0, 0)
    high = Quantity(claimed.dim, claimed.high, claimed.high, "", 0, 0)
    return any(contains(quantity, low) for quantity in known) and any(
        contains(quantity, high) for quantity in known
    )
