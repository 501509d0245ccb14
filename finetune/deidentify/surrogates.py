"""Stand-ins for what was found: natural to read, the same everywhere in a record, and nobody's data.

Owns the surrogates and how they are recognised again. Names come from a fixed list and never keep the surname;
numbers lie in ranges that are not assigned (1380000…, region 000000); days are shifted by one offset per record so
that intervals and ages keep their meaning.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date, timedelta

from finetune.deidentify.lists import listed
from finetune.deidentify.types import SpanType

_NAMES = listed(
    "安知行 柏言清 岑若川 池未央 褚云帆 邓如初 方见山 封小满 甘棠雨 古月明 顾南乔 关山越 桂子秋 何其芳 贺新凉 华天成 霍去尘 纪晓岚 简明月 江有汜 "
    "蓝田玉 乐天年 黎初阳 凌霜叶 柳如是 陆离光 骆知秋 梅映雪 苗青禾 宁静远 庞然之 祁连山 秦时月 曲终南 饶有余 阮清风 尚书文 沈流年 石敢当 舒远晴 "
    "宋词安 苏合香 谈笑风 唐诗远 陶然亭 田园歌 童年乐 温如玉 巫山云 夏无且 项脊轩 萧疏影 辛夷木 徐来之 严滩石 叶知秋 易水寒 殷墟辞 余音绕 岳阳楼"
)
_PLACES = ("安平市和顺区康乐路", "宁远市长青区福寿街", "泰和市春晖区仁德路", "永安市同心区杏林街")
_HOSPITALS = ("安平市示例医院", "宁远市示例医院", "泰和市示例医院", "永安市示例医院")
_SHIFT_DAYS = (30, 180)
_PATTERNS: dict[SpanType, re.Pattern[str]] = {
    SpanType.ID_CARD: re.compile(r"000000\d{8}00\d0|0{18}"),
    SpanType.PASSPORT: re.compile(r"E000000\d\d"),
    SpanType.MOBILE: re.compile(r"1380000\d{4}"),
    SpanType.LANDLINE: re.compile(r"0000-\d{7}"),
    SpanType.ADDRESS: re.compile(rf"(?:{'|'.join(_PLACES)})\d+号"),
    SpanType.HOSPITAL: re.compile(r"(?:.{3}|某)示例医院"),
    SpanType.ADMISSION_NUMBER: re.compile(r"[A-Z]?000\d{3}|0\d{1,2}床"),
    SpanType.WECHAT: re.compile(r"wx_example_\d+"),
    SpanType.QQ: re.compile(r"10000\d\d"),
    SpanType.EMAIL: re.compile(r"user\d+@example\.com"),
    SpanType.BANK_CARD: re.compile(r"0{12}\d{4}"),
    SpanType.PLATE: re.compile(r"京A0000\d"),
    SpanType.IP: re.compile(r"192\.0\.2\.\d+"),
    SpanType.URL: re.compile(r"https://example\.com/\d+"),
}


def is_surrogate(kind: SpanType, text: str) -> bool:
    """Whether this module wrote the text. Days cannot be told apart and count as real."""
    if kind is SpanType.NAME:
        return text in _NAMES or text in {name[0] for name in _NAMES[:0]}
    pattern = _PATTERNS.get(kind)
    return pattern is not None and pattern.fullmatch(text) is not None


class Surrogates:
    """The stand-ins of one record (or one patient: equal `seed`s give equal stand-ins for equal text).

    `seed` should hold a secret of the run: without it nobody can compute which name a stand-in came from.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._given: dict[tuple[SpanType, str], str] = {}
        self._people: dict[str, str] = {}
        self._used: set[str] = set()
        span = _SHIFT_DAYS[1] - _SHIFT_DAYS[0]
        self._shift = timedelta(days=_SHIFT_DAYS[0] + self._number("shift", span))

    def introduce(self, names: list[str]) -> None:
        """Give full names their stand-ins first, so that a surname met earlier follows its person."""
        for name in names:
            self._person(name)

    def of(self, kind: SpanType, text: str, *, surname_only: bool = False) -> str:
        if kind is SpanType.NAME:
            return self._surname(text) if surname_only else self._person(text)
        plain = re.sub(r"[\s\-—·]", "", text)
        key = (kind, plain)
        if key not in self._given:
            self._given[key] = self._make(kind, text)
        return self._given[key]

    def _person(self, name: str) -> str:
        if name not in self._people:
            for full, stand_in in self._people.items():
                if len(full) > len(name) and full.endswith(name):
                    return stand_in[-len(name) :]
            first = self._number(name, len(_NAMES))
            order = (_NAMES[(first + step) % len(_NAMES)] for step in range(len(_NAMES)))
            taken = self._used
            chosen = next((n for n in order if n not in taken and n[0] != name[0]), _NAMES[first])
            self._people[name] = chosen
            self._used.add(chosen)
        return self._people[name]

    def _surname(self, surname: str) -> str:
        """The surname of the stand-in of the first person with this surname."""
        for name, stand_in in self._people.items():
            if name.startswith(surname):
                return stand_in[0]
        return self._person(surname)[0]

    def _make(self, kind: SpanType, text: str) -> str:
        number = self._number(f"{kind}{text}", 10_000)
        if kind in (SpanType.DATE, SpanType.BIRTH_DATE):
            return self._day(text)
        if kind is SpanType.ADMISSION_NUMBER and "床" in text:
            return f"0{number % 90 + 1}床"
        made = {
            SpanType.ID_CARD: f"0000001900010100{number % 10}0",
            SpanType.PASSPORT: f"E000000{number % 100:02d}",
            SpanType.MOBILE: f"1380000{number:04d}",
            SpanType.LANDLINE: f"0000-{5550000 + number}",
            SpanType.ADDRESS: f"{_PLACES[number % len(_PLACES)]}{number % 200 + 1}号",
            SpanType.HOSPITAL: _HOSPITALS[number % len(_HOSPITALS)],
            SpanType.ADMISSION_NUMBER: f"000{number % 1000:03d}",
            SpanType.WECHAT: f"wx_example_{number}",
            SpanType.QQ: f"10000{number % 100:02d}",
            SpanType.EMAIL: f"user{number}@example.com",
            SpanType.BANK_CARD: f"{number:016d}",
            SpanType.PLATE: f"京A0000{number % 10}",
            SpanType.IP: f"192.0.2.{number % 254 + 1}",
            SpanType.URL: f"https://example.com/{number}",
        }
        return made[kind]

    def _day(self, text: str) -> str:
        """The day moved by the record's offset, in the form it had; a form that cannot be moved loses its day."""
        numbers = [int(n) for n in re.findall(r"\d+", text)]
        if re.fullmatch(r"\d{8}", text):
            numbers = [int(text[:4]), int(text[4:6]), int(text[6:])]
        try:
            moved = self._moved(numbers)
        except ValueError:
            return "某年某月某日" if "日" in text or "号" in text else "某年某月"
        if re.fullmatch(r"\d{8}", text):
            return f"{moved:%Y%m%d}"
        parts = [moved.year, moved.month, moved.day] if len(numbers) == 3 else [moved.year, moved.month]
        if len(numbers) == 2 and numbers[0] < 1000:
            parts = [moved.month, moved.day]
        if numbers[0] < 100 and len(numbers) == 3:
            parts[0] = moved.year % 100
        values = iter(parts)
        return re.sub(r"\d+", lambda found: str(next(values)).zfill(len(found.group())), text)

    def _moved(self, numbers: list[int]) -> date:
        if len(numbers) == 3:
            year = (
                numbers[0]
                if numbers[0] >= 1000
                else 2000 + numbers[0]
                if numbers[0] < 50
                else 1900 + numbers[0]
            )
            return date(year, numbers[1], numbers[2]) - self._shift
        if len(numbers) == 2:
            first = numbers[0]
            return (
                date(first, numbers[1], 15) if first >= 1000 else date(2023, first, numbers[1])
            ) - self._shift
        raise ValueError("not a date in digits")

    def _number(self, text: str, below: int) -> int:
        digest = hashlib.blake2b(f"{self._seed}\x1f{text}".encode("utf-8", "replace"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % below
