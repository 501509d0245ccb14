"""Properties of triage: nothing harmless hides a red flag, and a red flag makes any routine message an emergency."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from app.safety.triage import TriageEngine
from app.safety.types import Level

DEV = Path(__file__).parent / "data" / "triage_dev.jsonl"

RED_FLAGS = (
    "我爸胸口压着疼，出了一身冷汗",
    "突然胸口剧痛，喘不上气",
    "我妈突然嘴歪了，话也说不清",
    "左边手脚突然没力气了",
    "他倒地上叫不醒，没有呼吸",
    "孩子抽搐翻白眼，已经五分钟了还没停",
    "我老公吐了好几口鲜血",
    "拉的大便像柏油一样黑，站起来就晕",
    "吃完虾全身起疹子，喉咙发紧喘不上气",
    "血糖2.3，人说胡话",
    "血压210/130，头疼得厉害",
    "我不想活了",
    "我女儿吞了一瓶安眠药",
    "孩子把洁厕灵喝了一口",
    "刚被蛇咬了，脚肿得厉害",
    "怀孕35周，突然下面流了好多血",
    "刚满月的宝宝发烧38.5",
    "老人吃汤圆噎住了，脸发紫说不出话",
    "血氧只有82，嘴唇发紫",
    "吃着华法林摔到头，一直呕吐",
)
HARMLESS_BEFORE = (
    "医生您好",
    "请问一下",
    "我想咨询一下",
    "麻烦您了",
    "我平时身体挺好的",
    "没有高血压",
    "没有药物过敏",
    "去年体检都正常",
    "我在网上看过一些资料",
    "今天天气很冷",
    "我住在三楼",
    "家里有老人",
    "昨天吃的火锅",
    "以前没有这样过",
    "不好意思打扰了",
    "孩子在上学",
)
HARMLESS_AFTER = (
    "谢谢医生",
    "麻烦快点回复",
    "怎么办",
    "需要去医院吗",
    "这是怎么回事",
    "以前没有过这样",
    "平时不抽烟",
    "没有别的病",
    "家里只有我一个人",
    "要挂什么科",
    "在线等",
    "去年体检正常",
    "不知道严不严重",
    "他不肯去医院",
)
JOINTS = ("，", "。", "\n", " ，")


@cache
def engine() -> TriageEngine:
    return TriageEngine.load(embed=None, semantic=False)


@cache
def routine_messages() -> tuple[str, ...]:
    rows = [json.loads(line) for line in DEV.read_text(encoding="utf-8").splitlines()]
    return tuple(r["text"] for r in rows if r["level"] == "routine" and not r.get("history"))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.sampled_from(RED_FLAGS),
    st.lists(st.sampled_from(HARMLESS_BEFORE), max_size=2, unique=True),
    st.lists(st.sampled_from(HARMLESS_AFTER), max_size=2, unique=True),
    st.sampled_from(JOINTS),
)
def test_harmless_text_around_a_red_flag_never_removes_it(
    flag: str, before: list[str], after: list[str], joint: str
) -> None:
    text = joint.join([*before, flag, *after])
    assert engine().assess(text).level is Level.EMERGENCY, text


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data(), st.sampled_from(RED_FLAGS), st.booleans())
def test_a_red_flag_makes_any_routine_message_an_emergency(
    data: st.DataObject, flag: str, first: bool
) -> None:
    routine = data.draw(st.sampled_from(routine_messages()))
    text = f"{flag}。{routine}" if first else f"{routine}。{flag}"
    assert engine().assess(text).level is Level.EMERGENCY, text
