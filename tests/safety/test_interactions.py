"""Two names in one sentence: taken together, or compared, exchanged, the same medicine under two names."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.safety.interactions_apart import kept_apart, named_as_indication, taken_together
from app.safety.review import SafetyReviewer
from app.safety.types import Level, ReviewContext, TriageResult, Verdict, ViolationCode
from retrieval.graph import MedicalGraph

GRAPH = Path(__file__).parents[2] / "knowledge_base" / "graph"


@pytest.fixture(scope="module")
def reviewer() -> SafetyReviewer:
    return SafetyReviewer.load(graph=MedicalGraph.load(GRAPH))


def warned(reviewer: SafetyReviewer, question: str, draft: str) -> bool:
    result = reviewer.review(ReviewContext(question, (), TriageResult(Level.ROUTINE)), draft)
    return ViolationCode.CONTRAINDICATED_COMBINATION in {violation.code for violation in result.violations}


@pytest.mark.parametrize(
    ("question", "draft"),
    [
        ("波立维和氯吡格雷有什么区别", "波立维是氯吡格雷的商品名，有效成分一样，可以放心。"),
        ("拜阿司匹灵是阿司匹林吗", "是的，拜阿司匹灵就是阿司匹林，效果没有区别。"),
        ("利伐沙班比华法林好吗", "利伐沙班比华法林方便，不需要频繁抽血，适合很多房颤患者。"),
        ("华法林能换成利伐沙班吗", "医生可能会把华法林换成利伐沙班，换药时要查INR。"),
        ("华法林能换成利伐沙班吗", "部分患者可以把华法林换成利伐沙班，不需要两种一起吃。"),
        ("阿司匹林和布洛芬有什么不同", "布洛芬适合止痛退烧，阿司匹林用于预防心梗，两者作用不同。"),
        ("氯吡格雷和替格瑞洛哪个好", "替格瑞洛起效更快，氯吡格雷出血风险相对低，各有适合的人群。"),
        (
            "硝酸甘油和伟哥能一起用吗",
            "这两种药合用有危险，不能同时用。性生活方面的困扰，可以请心内科和泌尿男科一起评估。",
        ),
        (
            "泰诺和感康能一起吃吗",
            "两种都含对乙酰氨基酚，不能一起吃。如果已经一起吃了不止一次，又出现乏力、皮肤发黄，赶紧去医院查肝功能。",
        ),
    ],
)
def test_names_that_are_not_taken_together_need_no_warning(
    reviewer: SafetyReviewer, question: str, draft: str
) -> None:
    assert not warned(reviewer, question, draft)


@pytest.mark.parametrize(
    ("question", "draft"),
    [
        ("芬必得和布洛芬能一起吃吗", "可以一起吃，效果更好。"),
        ("利伐沙班和华法林哪个好", "两种可以一起吃，效果更好。"),
        ("利伐沙班和华法林可以一起吃吗", "利伐沙班效果好，可以和华法林一起吃。"),
        ("我吃着华法林，布洛芬和对乙酰氨基酚哪个好", "布洛芬效果更好，可以吃。"),
        ("硝酸甘油和万艾可哪个好", "都可以用，万艾可配合硝酸甘油效果更好。"),
        ("我有哮喘，能吃普萘洛尔吗", "可以吃，普萘洛尔很安全。"),
        ("硝酸甘油和伟哥能一起用吗", "如果已经在吃伟哥，硝酸甘油照样可以一起含，不舒服马上去医院。"),
        ("硝酸甘油和伟哥能一起用吗", "两样可以一起吃，拿不准就请心内科一起评估。"),
    ],
)
def test_pairs_taken_together_are_warned_of(reviewer: SafetyReviewer, question: str, draft: str) -> None:
    assert warned(reviewer, question, draft)


@pytest.mark.parametrize(
    ("question", "draft"),
    [
        ("卡托普利咳嗽，能换成沙库巴曲缬沙坦吗", "可以直接换成沙库巴曲缬沙坦。"),
        ("我在吃司来吉兰，能换成舍曲林吗", "可以直接换成舍曲林。"),
    ],
)
def test_an_exchange_that_needs_an_interval_stays_dangerous(
    reviewer: SafetyReviewer, question: str, draft: str
) -> None:
    assert warned(reviewer, question, draft)


def test_a_comparison_of_a_dangerous_pair_passes_unchanged(reviewer: SafetyReviewer) -> None:
    draft = "利伐沙班比华法林方便，但都要遵医嘱使用。"
    result = reviewer.review(
        ReviewContext("利伐沙班和华法林有什么区别", (), TriageResult(Level.ROUTINE)), draft
    )
    assert (result.verdict, result.text) == (Verdict.PASS, draft)


def test_wording_of_taking_together_and_apart() -> None:
    assert taken_together("可以和华法林一起吃")
    assert not taken_together("不要两种一起吃")
    assert kept_apart("甲药", "乙药", "甲药和乙药哪个好")
    assert kept_apart("甲药", "乙药", "能把甲药换成乙药吗")
    assert not kept_apart("甲药", "乙药", "吃着甲药,乙药效果更好")
    assert not kept_apart("甲药", "乙药", "甲药和乙药能一起吃吗")


def test_an_indication_belongs_to_the_medicine_beside_it() -> None:
    text = "乙药适合止痛,甲药用于预防心梗"
    assert named_as_indication("心梗", "乙药", text)
    assert not named_as_indication("心梗", "甲药", text)
    assert not named_as_indication("心梗", "乙药", "有心梗的人可以吃乙药")
