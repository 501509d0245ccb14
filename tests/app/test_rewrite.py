"""Follow-up questions: what is carried over, what is replaced, and what must never be carried over."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from app.chat.rewrite import rewrite
from app.container import topics_in
from app.safety.types import Turn
from app.settings import ROOT
from retrieval.graph import MedicalGraph

DATA = Path(__file__).with_name("data")
TopicsOf = Callable[[str], list[str]]


@pytest.fixture(scope="session")
def topics_of() -> TopicsOf:
    graph = MedicalGraph.load(ROOT / "knowledge_base" / "graph")
    return lambda text: topics_in(graph, text)


def said(*questions: str) -> list[Turn]:
    """The questions with an empty-handed answer after each."""
    return [turn for q in questions for turn in (Turn("user", q), Turn("assistant", "请以医生的意见为准。"))]


def standalone(message: str, *earlier: str, topics_of: TopicsOf) -> str:
    return rewrite(message, said(*earlier), topics_of).question


@pytest.mark.parametrize(
    "message",
    [
        "那要吃多久？",
        "它有副作用吗",
        "孕妇呢",
        "那饭前还是饭后",
        "如果忘了呢",
        "还有别的办法吗",
        "能开车吗",
        "拔牙要停几天",
    ],
)
def test_a_message_without_a_topic_gets_that_of_the_last_question(message: str, topics_of: TopicsOf) -> None:
    assert standalone(message, "波立维怎么吃", topics_of=topics_of) == f"氯吡格雷 {message}"


def test_small_talk_in_between_does_not_lose_the_topic(topics_of: TopicsOf) -> None:
    earlier = ("硝酸甘油怎么含", "好的谢谢", "你们食堂几点开门", "哈哈", "今天天气不错", "知道了")
    assert standalone("那它放多久会过期", *earlier, topics_of=topics_of).startswith("硝酸甘油 ")


def test_the_newest_topic_wins_and_a_left_one_never_comes_back(topics_of: TopicsOf) -> None:
    question = standalone("会传染吗", "氯吡格雷怎么吃", "荨麻疹能洗澡吗", topics_of=topics_of)
    assert "荨麻疹" in question
    assert "氯吡格雷" not in question


@pytest.mark.parametrize(
    "message",
    [
        "荨麻疹能洗澡吗",
        "换个问题，偏瘫病人多久翻一次身",
        "那我换个问题，夜里盗汗怎么办",
        "另外问一下，我妈老是睡不着怎么办",
        "我女儿最近老打喷嚏流清鼻涕",
        "膝盖肿了走路响要看哪个科",
    ],
)
def test_a_new_subject_is_left_alone(message: str, topics_of: TopicsOf) -> None:
    assert standalone(message, "二甲双胍会伤肾吗", topics_of=topics_of) == message


def test_a_combination_needs_both_drugs(topics_of: TopicsOf) -> None:
    question = standalone("和布洛芬能一起吃吗", "拜阿司匹灵能停吗", topics_of=topics_of)
    assert "阿司匹林" in question
    assert "布洛芬" in question


def test_a_food_alone_is_no_new_subject(topics_of: TopicsOf) -> None:
    assert standalone("能喝咖啡吗", "胃食管反流怎么治", topics_of=topics_of) != "能喝咖啡吗"
    assert standalone("痛风能吃海鲜吗", "华法林要查什么", topics_of=topics_of) == "痛风能吃海鲜吗"


def test_the_earlier_question_is_asked_of_the_new_thing(topics_of: TopicsOf) -> None:
    assert (
        standalone("那氯吡格雷呢？", "阿司匹林饭前吃还是饭后吃", topics_of=topics_of)
        == "氯吡格雷饭前吃还是饭后吃"
    )
    assert standalone("西替利嗪呢", "开瑞坦一天几片", topics_of=topics_of) == "西替利嗪一天几片"


def test_a_long_story_is_not_repeated_for_the_new_thing(topics_of: TopicsOf) -> None:
    story = "阿司匹林" + "，我和老伴商量了很久不知道该怎么办" * 60
    assert len(standalone("那氯吡格雷呢", story, topics_of=topics_of)) < 100


def test_two_things_stay_two_unless_one_of_them_is_meant(topics_of: TopicsOf) -> None:
    first = "替格瑞洛和氯吡格雷哪个好"
    assert rewrite("这两种药都要饭后吃吗", said(first), topics_of).carried == ("替格瑞洛", "氯吡格雷")
    assert rewrite("后一种怎么吃", said(first), topics_of).carried == ("氯吡格雷",)
    assert rewrite("前者贵不贵", said(first), topics_of).carried == ("替格瑞洛",)


def test_that_test_means_the_test_not_the_drug_named_with_it(topics_of: TopicsOf) -> None:
    earlier = ("我吃着二甲双胍，下周要做冠脉造影",)
    assert rewrite("刚才说的那个检查疼不疼", said(*earlier), topics_of).carried == ("冠状动脉造影",)
    assert rewrite("那个药要停几天", said(*earlier), topics_of).carried == ("二甲双胍",)


def test_the_answer_names_the_drug_when_the_patient_did_not(topics_of: TopicsOf) -> None:
    history = [Turn("user", "身上起疙瘩很痒怎么办"), Turn("assistant", "可以用氯雷他定这类药止痒。")]
    assert rewrite("那个药会犯困吗", history, topics_of).question == "氯雷他定 那个药会犯困吗"


def test_without_any_topic_the_complaint_itself_is_kept(topics_of: TopicsOf) -> None:
    assert standalone("要补钙吗", "腿老是转筋", "谢谢", topics_of=topics_of) == "腿老是转筋 要补钙吗"


def test_a_first_question_and_thanks_stay_as_they_are(topics_of: TopicsOf) -> None:
    assert rewrite("它有副作用吗", [], topics_of).question == "它有副作用吗"


def test_labelled_dialogues_name_what_is_meant_and_nothing_else(topics_of: TopicsOf) -> None:
    for line in (DATA / "dialogues_dev.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        history = [Turn("assistant" if i % 2 else "user", text) for i, text in enumerate(case["turns"][:-1])]
        question = rewrite(case["turns"][-1], history, topics_of).question
        assert all(re.search(name, question) for name in case["names"]), question
        assert not any(re.search(name, question) for name in case["not"]), question
