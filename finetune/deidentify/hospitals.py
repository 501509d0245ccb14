"""Finds the names of hospitals.

Owns where the name before 医院 begins and whether it names one: a place, an ordinal, a university, an army unit or a
name of its own must be there. 当地医院, 三甲医院 and 县人民医院 name none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from finetune.deidentify.lists import listed
from finetune.deidentify.place_names import CITIES, PROVINCES
from finetune.deidentify.types import Span, SpanType
from finetune.deidentify.words import frequency, is_ordinary_word, is_place_or_institution, tokens

_END = re.compile(
    r"(?:医院|卫生院|卫生服务中心|卫生服务站|医学中心|医疗中心|疗养院|保健院|诊所|康复中心|体检中心|门诊部)"
    r"(?:[一-鿿]{1,4}院区|[东南西北新老本总]院区?|[一-鿿]{1,4}分院|[\(（][一-鿿]{1,6}院区[\)）])?"
)
_WINDOW_CHARS = 24
_RUN = re.compile(r"[一-鿿0-9·]+$")
_PLACES = frozenset({*PROVINCES, *CITIES})
_SUFFIXED = re.compile(r"[一-鿿]{1,8}[省市县区州盟旗镇乡]")
_CODE = re.compile(r"[零〇一二三四五六七八九]{3}")
_ORDINAL = re.compile(r"第?[一二三四五六七八九十]{1,3}|第?\d{1,3}")
# What kind of hospital: part of many names, names none by itself.
_KINDS = frozenset(
    listed(
        "人民 中心 中医 中医药 西医 中西医 中西医结合 结合 综合 专科 儿童 妇女 妇幼 妇产 妇儿 妇产科 肿瘤 口腔 眼科 胸科 胸部 骨科 肺科 脑科 心脏病 心血管 心血管病 "
        "精神 精神卫生 卫生 传染 传染病 康复 附属 附 保健 医学院 医科 大学 医科大学 医药大学 军医大学 学院 校 老年 老年病 皮肤病 皮肤 结核病 血液病 职工 工人 红十字 红十字会 "
        "总 省 市 县 区 镇 乡 州 分 与 和 暨 街道 社区 耳鼻喉 耳鼻喉科 妇科 男科 糖尿病 肝病 肾病 护理 整形 美容 医疗 医疗美容 国际 民族 蒙医 藏医 回医 部队 陆军 海军 空军 火箭军 "
        "战区 军区 解放军 中国人民解放军 武警 武装 警察 部队 总队 铁路 煤矿 矿务局 油田 钢铁 集团 公司 第 临床 教学 中 医 科 院".replace(
            "\n", " "
        )
    )
)
# These name one although they say no place.
_TELLING = frozenset(listed("解放军 中国人民解放军 武警 陆军 海军 空军 火箭军 军医大学 总队 矿务局 油田"))
_BRANDS = frozenset(
    listed(
        "协和 同济 湘雅 华西 瑞金 仁济 齐鲁 西京 唐都 天坛 宣武 阜外 安贞 积水潭 中山 华山 长海 长征 东方肝胆 新华 曙光 龙华 岳阳 世纪坛 同仁 友谊 朝阳 佑安 地坛 "
        "安定 回龙观 广安门 西苑 东直门 东方 望京 博爱 武夷 鼓楼 明基 梅山 邵逸夫 华侨 珠江 南方 西南 新桥 大坪 盛京 中日友好 中日联谊 白求恩 哈励逊 普仁 仁爱 和睦家 爱尔 "
        "伊美尔 华康 阳光 和平 仁和 康宁 安康 康华 泰康 健宫 博仁 华信 惠民 圣玛丽 玛丽亚 普瑞 光明 华厦 树兰 明州 恩泽 宏恩 嘉会 瑞慈 美年 爱康 慈铭 天佑 "
        "广慈 大慈 普爱 亚心 亚洲 太和 东南 西北 华北 华东 华南 东北 京都 首都 利民 济民 济世 仁心 仁德 仁康 协同 长安 长宁 静安 徐汇 浦东 闵行 海淀 丰台 西城 东城 "
        "弘爱 长庚 高博 北大 清华 复旦 交大 浙大 中大 川大 武大 郑大 山大 吉大 南大 苏大 医大 中南 暨南 南开 滨海 江滨 江北 江南 河东 河西 城东 城西 城南 城北".replace(
            "\n", " "
        )
    )
)
_NOBODY = re.compile(r"某|哪|那|这|各|什么|别|其他|城市|植发|病$")


_FROM_PLACE = re.compile(
    rf"(?:{'|'.join(sorted({*PROVINCES, *CITIES}, key=len, reverse=True))})(?:省|市|自治区|地区|县|区)?"
)
_REST_CHARS = 14
# A place followed by one of these is not the beginning of a hospital's name.
_NO_NAME = re.compile(
    r"[的了是在我你他她它们这那哪吗吧呢很都也就去到看问找从往住做开叫说]|什么|附近|周边|正规|最好|公立|私立|民营|专业|大型|几家|一家|所有|各个?|某|其他|别的|不错|好点|"
    r"当地|三甲|二甲|三级|二级|社区|大医|小医|有名|著名|权威|排名|知名|城市"
)


class _Part(Enum):
    NAMING = 1
    KIND = 2
    UNKNOWN = 3
    STOP = 4


def hospital_spans(view: str) -> Iterator[Span]:
    for found in _END.finditer(view):
        run = _RUN.search(view[max(0, found.start() - _WINDOW_CHARS) : found.start()])
        if run is None:
            continue
        length = max(_name_length(tokens(run.group())), _placed_length(run.group()))
        if length:
            yield Span(SpanType.HOSPITAL, found.start() - length, found.end())


def _placed_length(run: str) -> int:
    """The length from the last place that is followed by nothing but a name."""
    for found in _FROM_PLACE.finditer(run):
        rest = run[found.end() :]
        if len(rest) <= _REST_CHARS and _NO_NAME.search(rest) is None:
            return len(run) - found.start()
    return 0


def _name_length(words: tuple[str, ...]) -> int:
    """How many signs before 医院 belong to its name; 0 when nothing there names it."""
    kept: list[tuple[str, _Part]] = []
    for word in reversed(words):
        part = _part(word)
        if part is _Part.STOP:
            break
        kept.append((word, part))
    while kept and (kept[-1][0] in ("与", "和", "暨", "分", "总", "中", "科", "医", "院") or _is_loose(kept)):
        kept.pop()
    named = any(part is _Part.NAMING for _, part in kept)
    unknown = sum(len(word) for word, part in kept if part is _Part.UNKNOWN)
    return sum(len(word) for word, _ in kept) if named or unknown >= 2 else 0


def _is_loose(kept: list[tuple[str, _Part]]) -> bool:
    """A single unknown sign at the front, before parts that already name the hospital, is a word of the sentence."""
    word, part = kept[-1]
    rest = kept[:-1]
    alone = len(word) == 1 and part is _Part.UNKNOWN and not (rest and rest[-1][1] is _Part.UNKNOWN)
    return alone and (not rest or frequency(word) > 2000 or any(p is _Part.NAMING for _, p in rest))


def _part(word: str) -> _Part:
    if word not in _KINDS and _NOBODY.search(word) is not None:
        return _Part.STOP
    if word == "和县":  # a county too, but 医院和县医院 is far more frequent
        return _Part.STOP
    if word in _PLACES or word in _BRANDS or word in _TELLING:
        return _Part.NAMING
    if word in _KINDS:
        return _Part.KIND
    if _CODE.fullmatch(word) is not None:
        return _Part.NAMING
    if _ORDINAL.fullmatch(word) is not None and (word.startswith("第") or word.isdigit() or len(word) == 1):
        return _Part.NAMING if word.startswith("第") or word.isdigit() else _Part.KIND
    if _SUFFIXED.fullmatch(word) is not None and is_place_or_institution(word):
        return _Part.NAMING
    if is_place_or_institution(word):
        return _Part.NAMING
    if len(word) == 1:
        return _Part.STOP if frequency(word) > _COMMON_SIGN or word in _STOP_SIGNS else _Part.UNKNOWN
    return _Part.STOP if is_ordinary_word(word) else _Part.UNKNOWN


# jieba counts a sign that stands alone; beyond this it is a word of the sentence rather than part of a name.
_COMMON_SIGN = 20_000
_STOP_SIGNS = frozenset(
    "带换据按用装传留上下想去到来回问找看送转入出住进离在于从往至由是了过的我你您他她它们请为被让有没也都不要能会可给跟把将向对就才还又再后前先已曾家所间个小大好该本原当以及或而但因若如时天月年日号岁名位种次点只每很更最多少"
)
