"""Synthetic annotated records for measuring de-identification.

Owns the filling of templates. The measured part has its own templates, names, places and writing of numbers; nothing
is adjusted to it. Every value is invented; identity cards carry a valid check digit because real ones do.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.deidentify.lists import listed
from finetune.deidentify.numbers import _CHECK_SIGNS as CHECK_SIGNS
from finetune.deidentify.numbers import _WEIGHTS as ID_WEIGHTS
from finetune.deidentify.types import SpanType

FOLDER = Path(__file__).resolve().parent.parent / "calibration" / "deidentify"
RECORDS = {"dev": 400, "measured": 260}
_SLOT = re.compile(r"\{([a-z_]+)(?::([a-z]+))?\}")
_JOINS = ("", "", " ", "\n")

_NAMES = {
    "dev": listed(
        "王秀兰 李建军 张桂芳 刘洋 陈志强 杨丽娟 赵国栋 黄海燕 周文博 吴敏 徐春梅 孙浩然 胡晓东 "
        "朱玉珍 高建平 林雪 何俊杰 郭淑英 马明 罗永康 梁欣怡 宋立新  郑美玲 谢辉 韩冰 唐诗涵 "
        "冯德才 于海洋 董洁 萧雨晨 程远航 曹云霞 袁伟 邓小红 许志远 傅静怡 沈力 曾庆华 彭飞 "
        "吕秀珍 欧阳志远 贺思齐 覃宝珠 龚自强 牛二妮 温景行 庄梓萱 鲁大海 尹招娣 司马文君 "
        "邵一鸣 常来福 武则平 段铁柱 乔木森 聂耳聪 管彤 戚薇薇 苗翠花 廖承志  单丹丹 易中天 "
        "关山月 柏杨 季羡 冉阿让 臧天朔 岑小娥 麦兜 楚雨荨 白素贞 雷震子 康乃馨 穆桂英 佟湘玉 "
        "卜算子 费玉清 席慕 莫言心 骆宾 申屠敏 上官云  向前进 章含之 古月轩 滕王阁 潘金花 "
        "尤三妹 娄阿鼠 桑小兵"
    ),
    "measured": listed(
        "蒋文静 崔国庆 石磊 田晓霞 魏淑兰 夏侯惇 任贵生 钟丽萍 戴维民 方圆 姚春花 范小军 汤显祖 "
        "金秀珍 陆一凡 孔令辉 白雪 毛阿敏 秦岭 江海涛 顾长风 邹德贵 万里红 钱多多 侯玉梅 龙飞 "
        "史湘云 谭咏 黎建英 易小川 倪萍 祝福生 耿直 符家豪 慕容雪 阮清 柴桂枝 盛夏 党建业 "
        "施雅琴 尚小云 华春莹 佟大为 闫秀芬 尉迟恭"
    ),
}
_SURNAMES = {
    "dev": listed("王 李 张 刘 陈 杨 赵 周 吴 徐 孙 朱 欧阳 贾 秦 薛 侯 孟 谭 汪 邱 韦 诸葛 葛 范 姜 卢"),
    "measured": listed("林 何 高 罗 郑 梁 谢 宋 唐 许 韩 冯 曹 彭 司徒 肖 田 董"),
}
_HOSPITALS = {
    "dev": listed(
        "北京协和医院 齐鲁医院 郑州市第七人民医院 华西医院 南京鼓楼医院 上海瑞金医院 "
        "广东省人民医院 青岛市中心医院 中南大学湘雅二医院 兰州大学第二医院 吉林省前卫医院 "
        "泸州市中医医院 深圳市龙岗区妇幼保健院 解放军第960医院 邢台市第三医院 "
        "天津医科大学总医院  黄河镇中心卫生院 首都医科大学附属北京安贞医院 同济大学附属杨浦医院 "
        "南昌三三四医院"
    ),
    "measured": listed(
        "浙江省人民医院 温州医科大学附属第一医院 海口市第四人民医院 青海省心脑血管病专科医院 "
        "空军军医大学西京医院 大连市友谊医院 柳河县医院 苏州市吴中区甪直人民医院 "
        "北京大学第三医院 宝鸡高新医院 石家庄平安医院 四川大学华西第二医院"
    ),
}
_ADDRESSES = {
    "dev": listed(
        "山东省济南市历下区文化东路12号3单元502室 北京市朝阳区望京西园四区8号楼2201 "
        "上海市浦东新区张杨路500弄23号 成都市武侯区科华北路65号  "
        "湖北省武汉市江岸区解放大道1120号 阳光花园3栋2单元501室 "
        "河南省周口市太康县王集乡李楼村4组 广西柳州市鱼峰区屏山大道305号丽景苑7栋1802 "
        "内蒙古赤峰市松山区振兴大街18号 浙江省义乌市佛堂镇蟠龙村12组 "
        "锦绣华庭小区12号楼三单元602  贵州省遵义市红花岗区老城街道碧云路9号 "
        "桃源县漳江镇青年路45号 新疆昌吉市北京南路81号附3号 云南省大理市下关镇文化路社区16号  "
        "平安里东街27号院5号楼4门301"
    ),
    "measured": listed(
        "陕西省西安市雁塔区小寨东路3号 天津市南开区鞍山西道288号天大四季村27门506 "
        "河北省保定市莲池区东风中路1567号 福建省晋江市青阳街道洪山路16号 "
        "湖南省双峰县荷叶镇富厚堂村8组 江城壹品小区9栋2单元1703室 青海省西宁市城东区八一中路7号 "
        "和平路56号机械厂家属院4号楼12 黑龙江省鸡西市虎林市东方红镇建设街3委 "
        "南宁市西乡塘区大学东路100号"
    ),
}
_PLAIN: dict[str, Callable[[random.Random], str]] = {
    "age": lambda r: str(r.randint(18, 90)),
    "lab": lambda r: f"{r.uniform(1, 12):.1f} mmol/L",
    "percent": lambda r: f"{r.randint(40, 95)}%",
    "hr": lambda r: str(r.randint(55, 110)),
    "bp": lambda r: f"{r.randint(110, 170)}/{r.randint(60, 100)}",
    "dose": lambda r: f"{r.choice((5, 10, 20, 40))} mg",
}


@dataclass(frozen=True, slots=True)
class Annotated:
    """A text with the spans that are personal data: (type, start, end)."""

    text: str
    spans: tuple[tuple[str, int, int], ...]


def records(part: str, seed: int = 20_261_122) -> list[Annotated]:
    """The records of `dev` or `measured`; the same for the same seed."""
    chance = random.Random(f"{part} {seed}")
    templates, clinical = _lines(f"{part}.txt"), _lines("clinical.txt")
    made = []
    for number in range(RECORDS[part]):
        sentences = [templates[number % len(templates)]]
        sentences += chance.sample(templates, chance.randint(0, 2)) + chance.sample(
            clinical, chance.randint(1, 3)
        )
        chance.shuffle(sentences)
        made.append(_filled(sentences, part, chance))
    return made


def _lines(name: str) -> list[str]:
    text = (FOLDER / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _filled(sentences: Sequence[str], part: str, chance: random.Random) -> Annotated:
    text = ""
    spans: list[tuple[str, int, int]] = []
    for sentence in sentences:
        text += chance.choice(_JOINS) if text else ""
        at = 0
        for slot in _SLOT.finditer(sentence):
            text += sentence[at : slot.start()]
            at = slot.end()
            kind, value = _value(slot.group(1), slot.group(2), part, chance)
            if kind is not None:
                spans.append((kind, len(text), len(text) + len(value)))
            text += value
        text += sentence[at:]
        if not sentence.endswith(("。", "？", "！")):
            text += "\n"
    return Annotated(text, tuple(spans))


def _value(slot: str, variant: str | None, part: str, chance: random.Random) -> tuple[str | None, str]:
    if slot in _PLAIN:
        return None, _PLAIN[slot](chance)
    if slot == "surname":
        return str(SpanType.NAME), chance.choice(_SURNAMES[part])
    kind = SpanType(slot)
    lists = {SpanType.NAME: _NAMES, SpanType.HOSPITAL: _HOSPITALS, SpanType.ADDRESS: _ADDRESSES}
    if kind in lists:
        return slot, chance.choice(lists[kind][part])
    return slot, _number(kind, variant, part, chance)


def _digits(chance: random.Random, count: int) -> str:
    return "".join(str(chance.randint(0, 9)) for _ in range(count))


def _number(kind: SpanType, variant: str | None, part: str, chance: random.Random) -> str:
    other = part == "measured"
    if kind is SpanType.MOBILE:
        return _mobile(variant, chance)
    if kind is SpanType.ID_CARD:
        return _identity(chance, spaced=other and chance.random() < 0.3)
    if kind is SpanType.ADMISSION_NUMBER:
        return _record_number(variant, other, chance)
    if kind in (SpanType.DATE, SpanType.BIRTH_DATE):
        return _date(kind, other, chance)
    if kind is SpanType.BANK_CARD:
        return _bank_card(chance, spaced=other and chance.random() < 0.5)
    area = chance.choice(("010", "0531", "021", "0371") if not other else ("0755", "028", "0898", "0471"))
    tail = str(chance.randint(2, 8)) + _digits(chance, 7)
    plain = {
        SpanType.LANDLINE: f"({area}){tail}" if variant == "paren" else f"{area}-{tail}",
        SpanType.WECHAT: ("fy_" if other else "wx")
        + _digits(chance, 4)
        + chance.choice(("abc", "_tang", "Lily")),
        SpanType.QQ: str(chance.randint(1, 9)) + _digits(chance, chance.randint(6, 9)),
        SpanType.EMAIL: f"{chance.choice(('li.na', 'zhang_h', 'wm88'))}{_digits(chance, 2)}@{chance.choice(('163.com', 'qq.com', 'sina.com.cn'))}",
        SpanType.PLATE: chance.choice(("鲁A", "京N", "沪C") if not other else ("粤B·", "桂R", "蒙D "))
        + chance.choice(("8K3", "D12", "05X"))
        + _digits(chance, 2),
        SpanType.PASSPORT: chance.choice("EG") + _digits(chance, 8),
    }
    return plain[kind]


_SPOKEN = dict(zip("0123456789", "零幺二三四五六七八九", strict=True))


def _mobile(variant: str | None, chance: random.Random) -> str:
    number = "1" + str(chance.choice((3, 5, 7, 8, 9))) + _digits(chance, 9)
    parts = (number[:3], number[3:7], number[7:])
    forms = {
        "spaced": " ".join(parts),
        "dashed": "-".join(parts),
        "plus": "+86 " + number,
        "spoken": "".join(_SPOKEN[digit] for digit in number),
    }
    return number if variant is None else forms[variant]


def _identity(chance: random.Random, *, spaced: bool) -> str:
    body = chance.choice(("370102", "110105", "450203", "510107"))
    body += f"{chance.randint(1935, 2018)}{chance.randint(1, 12):02d}{chance.randint(1, 28):02d}{_digits(chance, 3)}"
    total = sum(int(d) * w for d, w in zip(body, ID_WEIGHTS, strict=True))
    number = body + CHECK_SIGNS[total % 11]
    return f"{number[:6]} {number[6:14]} {number[14:]}" if spaced else number


def _record_number(variant: str | None, other: bool, chance: random.Random) -> str:
    if variant == "bed":
        return f"{chance.choice(('', '加'))}{chance.randint(1, 60)}床"
    if variant == "card":
        return chance.choice(("", "K")) + _digits(chance, 10)
    return (chance.choice(("", "ZY", "D")) if other else chance.choice(("", "Z"))) + _digits(
        chance, chance.randint(6, 9)
    )


def _date(kind: SpanType, other: bool, chance: random.Random) -> str:
    year = chance.randint(1938, 2019) if kind is SpanType.BIRTH_DATE else chance.randint(2015, 2026)
    month, day = chance.randint(1, 12), chance.randint(1, 28)
    forms = [f"{year}年{month}月{day}日", f"{year}-{month:02d}-{day:02d}"]
    if other:
        forms += [f"{year}.{month}.{day}", f"{year}/{month:02d}/{day:02d}", f"{year}年{month}月{day}号"]
    return chance.choice(forms)


def _bank_card(chance: random.Random, *, spaced: bool) -> str:
    body = "6217" + _digits(chance, 14)
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    number = body + str(-total % 10)
    return " ".join(number[i : i + 4] for i in range(0, len(number), 4)) if spaced else number
