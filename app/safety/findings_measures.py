"""Finds quantities in normalised text: blood pressure, glucose, heart rate, temperature, oxygen, age, duration …

Owns the wording around numbers and the units (mmHg, mmol/L, beats and breaths a minute, degrees Celsius, per cent,
months of age, weeks of pregnancy, minutes). What a value means is decided by the lexicon's and the rules' limits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.safety.findings_numbers import NUMBER, to_float


@dataclass(frozen=True, slots=True)
class Measurement:
    """One quantity; `start` and `end` are in the normalised text, end exclusive."""

    name: str
    value: float
    start: int
    end: int


N = f"({NUMBER})"
# A value read from a device: one lone Chinese digit (一下, 两个) is no reading.
V = r"((?>\d{1,4}(?:\.\d{1,2})?)|[零〇一二两三四五六七八九十百]{2,8}(?:点[零〇一二三四五六七八九]{1,2})?|[一二两三四五六七八九]点(?:[零〇一二三四五六七八九]{1,2}|[多几]))"
# 一直, 一般, 一量 … are words, no numbers.
ONE_WORD = "一(?=[直般量测看早样些])"
NOT_NUMBER = rf"(?:[^\d。！？；\n零〇一二两三四五六七八九十百]|{ONE_WORD})"
# Between a rate, a temperature … and its number no other quantity may be named.
OWN = rf"(?:[^\d。！？；\n零〇一二两三四五六七八九十百压糖温氧钾]|{ONE_WORD})"
CHILD = r"(?:宝宝|宝贝|娃|孩子|婴儿|小孩|幼儿|儿子|女儿|崽|细路|毛毛|囡|伢|小家伙|闺女|孙子|孙女|侄女|侄子|外甥|男宝|女宝|bb|小朋友)"

PRESSURE_PAIR = re.compile(rf"{N}(?:mmhg)?(?:/|比|／|，?低压){N}")
SYSTOLIC = re.compile(rf"(?:高压|收缩压|上压){NOT_NUMBER}{{0,6}}{V}")
DIASTOLIC = re.compile(rf"(?:低压|舒张压|下压){NOT_NUMBER}{{0,6}}{V}")
PRESSURE_ONE = re.compile(
    rf"(?:血压|bp)(?!.{{0,10}}(?:低压|舒张压|下压)){NOT_NUMBER}{{0,10}}{V}(?!\s*(?:年|天|个|片|次|岁|月|/|比|多年|几年|周))"
)
GLUCOSE = re.compile(rf"(?:血糖|glucose|指血|随机糖){OWN}{{0,14}}{V}(?!\s*(?:年|天|个|片|次|岁|月|点|号))")
GLUCOSE_UNIT = re.compile(rf"{N}(?:mmol|毫摩)")
GLUCOSE_OFF = re.compile(
    r"血糖[^。！？；\n]{0,12}?(hi(?:gh)?(?![a-z])|爆表|超(?:出)?(?:了)?(?:量程|上限)|测不出来?太高|lo(?:w)?(?![a-z]))"
)
HEART_RATE = re.compile(
    rf"(?:(?:心率|心跳|脉搏|脉率|心脏(?!病)|(?<![动静])脉(?!氧)|hr|跳到|跳得){OWN}{{0,10}}|跳(?:了|才|就|有|只有)?){V}(?!\s*(?:年|天|个|片|岁|月|点|小时|分钟|mg|秒|周|/\d|度))"
)
PER_MINUTE = re.compile(
    rf"(?:一分钟|每分钟|1分钟|一分){NOT_NUMBER}{{0,4}}{N}(?:来|多|几)?(?:下|次|跳)(?!呼吸)"
)
BEATS = re.compile(rf"(?<!呼吸)(?<!呼吸次数){N}(?:多)?(?:次/分|次每分|次一分|下一分|次1分|bpm|下/分|跳/分)")
SLOW_COUNT = re.compile(
    rf"(?:心|脉)[^。！？；\n]{{0,16}}(?:一分钟|每分钟)(?:才|只有|就|只|有|到|不到){{0,2}}{N}(?!\d|秒|分|块|元)"
)
BREATHS = re.compile(rf"(?:呼吸(?:频率|次数)?|喘){NOT_NUMBER}{{0,6}}{N}(?:多)?(?:次|下|/分)")
TEMP_UNIT = re.compile(rf"{N}(?:多)?(?:度|℃|°c?)([零一二三四五六七八九半\d])?")
TEMP_WORD = re.compile(
    rf"(?:体温|烧到|烧了|发烧|发热|高烧|高热|低烧|烧|温度|量了?|热到|腋温|耳温|肛温|额温){NOT_NUMBER}{{0,8}}{V}"
    r"(?!\s*(?:年|天|个|片|次|岁|月|点|小时|分钟|周|%|/|多?[次天]))"
)
NOT_BODY = re.compile(
    r"(?:水温|室温|气温|室内|空调|外面|天气|近视|散光|角度|屋里|屋子|洗澡水|水|冷水|热水|户外|零下|弯|抬高|倾斜|床头|摇高|旋转|外展)[^，。]{0,6}$"
)
OXYGEN = re.compile(rf"(?:血氧|氧饱和|饱和度|指脉氧|指氧|氧饱|spo2|sao2|氧合){OWN}{{0,10}}{V}")
POTASSIUM = re.compile(rf"(?:血钾|钾离子|钾)(?![片盐])(?:（?k\+?）?)?{OWN}{{0,8}}{V}(?!\s*(?:片|g|mg|年|天))")
INR = re.compile(rf"(?:inr|国际标准化比值){NOT_NUMBER}{{0,8}}{V}")
PILLS = re.compile(rf"{N}(?:多|来|几)?(?:片|粒|颗|丸)")
YEARS = re.compile(rf"{N}(?:多|来)?(?:周)?岁(半)?")
MONTHS_OLD = re.compile(
    rf"{N}个?(半)?(?:多)?月(?:龄|大|的?(?:小)?{CHILD}|(?:了|啦)?，?(?:发烧|发热|烧))|{CHILD}[^，。]{{0,4}}?(?:才|刚|现在|快)?{N}个?(半)?(?:多)?月(?:龄)?(?!前|后|没|不|都|一|来|以来|内)"
)
PREGNANT_BEFORE = re.compile(r"(?:怀孕|怀了|孕|胎)[^，。]{0,3}$")
DAYS_OLD = re.compile(
    rf"(?:出生|生下来|生后|生出来)[^，。]{{0,3}}{N}(?:多|来)?(天|周|个?半?月)|{N}(?:多|来)?(天|周)(?:大)?的?(?:小)?{CHILD}|{CHILD}[^，。]{{0,3}}?(?:才|刚){N}(?:来|多|几)?(天|周)|{CHILD}{N}(?:来|多)?(天|周)(?=[，。\n]|大|发烧|发热|体温)"
)
NEWBORN = re.compile(
    r"(?:刚|还没|没|未|快|才)(?:出)?满月|满月(?:的)?(?:小)?(?:宝|娃|孩)|新生儿|月子里的?(?:宝|娃|孩|毛)|月娃|刚出生|刚生下来|没出月子的?(?:宝|娃|孩)"
)
HALF_YEAR_OLD = re.compile(rf"半岁|半岁的?{CHILD}")
WIFE_MONTHS = re.compile(
    rf"(?:媳妇|老婆|爱人|妻子|太太|儿媳|姐|妹|嫂子){N}(个多?月|个半月)(?:了|的身子|身子)[^。！？；\n]{{0,16}}(?:下面|下头|肚子|血|胎|羊水|见红)"
)
PREGNANCY = re.compile(
    rf"(?:怀孕|孕|怀了|怀着|妊娠|怀上|有身孕|大肚子|肚里孩子|双胞胎|双胎|三胞胎|孕晚期){NOT_NUMBER}{{0,4}}{N}(?:周)?(?:\+\d)?(个多?月|个半月|月|周|w)|(?:^|[，。！？；\n])(?:孕)?{N}(周)(?:多|\+\d)?(?:了|，)|{N}(周)(?:多)?(?:孕|了?[，]?(?:胎动|宝宝|胎儿|肚子|羊水|见红))"
)
SPAN_UNITS = {
    "秒": 1 / 60,
    "分": 1,
    "钟": 60,
    "时": 60,
    "天": 1440,
    "日": 1440,
    "周": 10080,
    "星": 10080,
    "礼": 10080,
    "月": 43200,
    "年": 525600,
}
DURATION = re.compile(
    rf"(十几|二十几|三十几|几十|好几|大半|{NUMBER}|半|几|数|整)(?:来|多|几)?(个)?(半)?(?:多)?"
    r"(分钟|秒钟?|小时|钟头|钟(?!情|表|爱)|天|日(?!期|常|本)|周(?!岁|围)|星期|礼拜|月|年|宿)(?:多|来)?(半)?(前|后|以?内|之?前|之?后)?"
)
WHOLE = re.compile(
    r"(一整?(?:天|夜|晚上?|上午|下午|宿|早上)|整(?:天|夜|晚|宿)|大半(?:天|夜)|半(?:天|宿|夜)|从[^，。]{1,6}到现在|[一两三]刻钟|(?:昨晚|昨天|昨夜|早上|上午|中午|下午|凌晨|夜里|今早)(?:开始)?(?:一直)?到(?:现在|这会儿?))"
)


def _one(
    pattern: re.Pattern[str], name: str, low: float, high: float
) -> Callable[[str], Iterator[Measurement]]:
    """A reader for quantities that are one number after a word, kept when low <= value <= high."""

    def read(text: str) -> Iterator[Measurement]:
        for match in pattern.finditer(text):
            value = to_float(match.group(1))
            if value is not None and low <= value <= high:
                yield Measurement(name, value, match.start(), match.end())

    return read


def _pressure(text: str) -> Iterator[Measurement]:
    paired = False
    for match in PRESSURE_PAIR.finditer(text):
        high, low = to_float(match.group(1)), to_float(match.group(2))
        if high is None or low is None or not (50 <= high <= 300 and 20 <= low <= 200 and high > low):
            continue
        named = re.search(r"血压|高压|收缩压|bp|压", text[max(0, match.start() - 30) : match.start()])
        if named or (high >= 100 and 40 <= low <= 160):
            paired = True
            yield Measurement("systolic", high, match.start(), match.end())
            yield Measurement("diastolic", low, match.start(), match.end())
    yield from _one(SYSTOLIC, "systolic", 40, 300)(text)
    yield from _one(DIASTOLIC, "diastolic", 20, 200)(text)
    if not paired:
        yield from _one(PRESSURE_ONE, "systolic", 50, 300)(text)


def _glucose(text: str) -> Iterator[Measurement]:
    for match in GLUCOSE.finditer(text):
        value = to_float(match.group(1))
        if value is None or "糖化" in text[max(0, match.start() - 2) : match.end()]:
            continue
        # Meters set to mg/dL show 18 times the mmol/L value; nobody lives to read 45 mmol/L and above at home.
        value = value / 18 if value >= 45 else value
        if 0.5 <= value <= 60:
            yield Measurement("glucose", value, match.start(), match.end())
    for match in GLUCOSE_OFF.finditer(text):
        low = match.group(1).startswith("lo")
        yield Measurement("glucose", 1.0 if low else 33.4, match.start(), match.end())


def _temperature(text: str) -> Iterator[Measurement]:
    for match in TEMP_UNIT.finditer(text):
        value = to_float(match.group(1))
        if value is None or NOT_BODY.search(text[max(0, match.start() - 10) : match.start()]):
            continue
        tail = match.group(2)
        if tail:
            extra = 0.5 if tail == "半" else to_float(tail)
            value += 0.5 if tail == "半" else (extra or 0.0) / 10
        if 33 <= value <= 43:
            yield Measurement("temperature", value, match.start(), match.end())
    yield from _one(TEMP_WORD, "temperature", 34, 43)(text)


def _age(text: str) -> Iterator[Measurement]:
    for match in YEARS.finditer(text):
        value = to_float(match.group(1))
        if value is not None and value <= 120:
            yield Measurement(
                "age_months", value * 12 + (6 if match.group(2) else 0), match.start(), match.end()
            )
    for match in MONTHS_OLD.finditer(text):
        if PREGNANT_BEFORE.search(text[max(0, match.start() - 6) : match.start()]):
            continue
        value = to_float(match.group(1) or match.group(3) or "")
        if value is not None and value <= 36:
            yield Measurement(
                "age_months",
                value + (0.5 if match.group(2) or match.group(4) or "多" in match.group(0) else 0),
                *match.span(),
            )
    for match in DAYS_OLD.finditer(text):
        groups = [g for g in match.groups() if g]
        value = to_float(groups[0])
        if value is not None:
            days = {"天": 1, "周": 7}.get(groups[1], 30)
            yield Measurement("age_months", value * days / 30, *match.span())
    for match in NEWBORN.finditer(text):
        yield Measurement("age_months", 1.0, *match.span())
    for match in HALF_YEAR_OLD.finditer(text):
        yield Measurement("age_months", 6.0, *match.span())


def _pregnancy(text: str) -> Iterator[Measurement]:
    for match in [*WIFE_MONTHS.finditer(text), *PREGNANCY.finditer(text)]:
        groups = [g for g in match.groups() if g]
        value = to_float(groups[0])
        if value is not None and value <= 44:
            weeks = value * 4.3 if "月" in groups[1] else value
            if match.group(0)[0] in "，。！？；\n0123456789零一二三四五六七八九十" and not 20 <= weeks <= 42:
                continue  # a bare "33周，" is said only of a late pregnancy
            yield Measurement("pregnancy_weeks", weeks, *match.span())


def _duration(text: str) -> Iterator[Measurement]:
    """Minutes that something has lasted (`duration`), or minutes since it happened (`ago`)."""
    for match in DURATION.finditer(text):
        word, _, half, unit, half_after, when = match.groups()
        if unit == "月" and match.group(2) is None:
            continue
        vague = {
            "半": 0.5,
            "大半": 0.6,
            "整": 1.0,
            "几": 4.0,
            "好几": 5.0,
            "数": 4.0,
            "十几": 15.0,
            "二十几": 25.0,
            "三十几": 35.0,
            "几十": 40.0,
        }
        value = vague[word] if word in vague else to_float(word)
        if value is None:
            continue
        value += 0.5 if half or half_after else 0.0
        minutes = value * (
            600
            if unit == "宿"
            else SPAN_UNITS["分" if unit == "分钟" else unit[0] if unit != "小时" else "时"]
        )
        ago = when is not None and "前" in when
        later = when is not None and "后" in when
        yield Measurement(
            "ago" if ago else "after" if later else "duration", minutes, match.start(), match.end()
        )
    for match in WHOLE.finditer(text):
        yield Measurement("duration", 360.0, match.start(), match.end())


READERS: tuple[Callable[[str], Iterator[Measurement]], ...] = (
    _pressure,
    _glucose,
    _one(HEART_RATE, "heart_rate", 15, 280),
    _one(PER_MINUTE, "heart_rate", 15, 280),
    _one(BEATS, "heart_rate", 25, 280),
    _one(SLOW_COUNT, "heart_rate", 15, 280),
    _one(BREATHS, "breaths", 4, 90),
    _temperature,
    _one(OXYGEN, "oxygen", 40, 100),
    _one(POTASSIUM, "potassium", 1.5, 10),
    _one(INR, "inr", 0.5, 20),
    _one(PILLS, "pills", 1, 500),
    _age,
    _pregnancy,
    _duration,
)


def read_measurements(text: str) -> list[Measurement]:
    """Every quantity in `text` (normalised), in order of its place."""
    found = {measurement for reader in READERS for measurement in reader(text)}
    taken = {
        place for m in found if m.name in {"age_months", "pregnancy_weeks"} for place in range(m.start, m.end)
    }
    kept = (
        m
        for m in found
        if m.name not in {"duration", "ago", "after"} or taken.isdisjoint(range(m.start, m.end))
    )
    return sorted(kept, key=lambda m: (m.start, m.name, m.value))
