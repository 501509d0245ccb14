"""Claims against evidence: numbers with units and ranges, names, polarity, citations put right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from app.safety.citations import bare_claim, cited_numbers
from app.safety.claims import UNSUPPORTED
from app.safety.claims_numbers import Dim, quantities, supported_by
from app.safety.review import SafetyReviewer
from app.safety.review_text import fold
from app.safety.types import (
    Evidence,
    Level,
    ReviewContext,
    ReviewResult,
    TriageResult,
    Verdict,
    ViolationCode,
)
from retrieval.graph import MedicalGraph

REVIEWER = SafetyReviewer.load()
GRAPH = MedicalGraph.load(Path(__file__).parents[2] / "knowledge_base" / "graph")
ASPIRIN = "阿司匹林的维持剂量一般是每日75～100 mg。"
CLOPIDOGREL = "氯吡格雷的维持剂量为75 mg，每日1次。"
SALT = "高血压患者每日食盐不超过5 g。"


def review(draft: str, evidence: Sequence[str], question: str = "怎么用药", **options: bool) -> ReviewResult:
    reviewer = SafetyReviewer.load(**options) if options else REVIEWER  # type: ignore[arg-type]
    passages = [Evidence(f"e{index}", "", text) for index, text in enumerate(evidence)]
    return reviewer.review(ReviewContext(question, passages, TriageResult(Level.ROUTINE)), draft)


def codes(result: ReviewResult) -> set[ViolationCode]:
    return {violation.code for violation in result.violations}


@pytest.mark.parametrize(
    ("text", "dim", "low", "high"),
    [
        ("每次75～100 mg", Dim.MASS, 75, 100),
        ("一百毫克", Dim.MASS, 100, 100),
        ("0.1g", Dim.MASS, 100, 100),
        ("每次1/2片", Dim.PIECES, 0.5, 0.5),
        ("吃半片", Dim.PIECES, 0.5, 0.5),
        ("一天两次", Dim.FREQUENCY, 2, 2),
        ("每8小时一次", Dim.FREQUENCY, 3, 3),
        ("血压140/90mmHg", Dim.BLOOD_PRESSURE, 140, 90),
        ("12个月", Dim.TIME, 8760, 8760),
        ("大约三成的人", Dim.PERCENT, 30, 30),
        ("INR 2.0～3.0", Dim.PLAIN, 2, 3),
        ("心率每分钟60到100次", Dim.RATE, 60, 100),
        ("尼莫地平60 mg q4h", Dim.FREQUENCY, 6, 6),
        ("尼莫地平60 mg q4h", Dim.MASS, 60, 60),
        ("阿司匹林100mg qd", Dim.MASS, 100, 100),
        ("有两成人复发，占两成", Dim.PERCENT, 20, 20),
        ("每天喝2升水", Dim.VOLUME, 2000, 2000),
        ("吃一片药", Dim.PIECES, 1, 1),
    ],
)
def test_quantities_are_read(text: str, dim: Dim, low: float, high: float) -> None:
    found = [quantity for quantity in quantities(fold(text)) if quantity.dim is dim]
    assert [(quantity.low, quantity.high) for quantity in found] == [(low, high)]


@pytest.mark.parametrize(
    "text",
    [
        "请拨打120",
        "P2Y12受体",
        "2型糖尿病",
        "2023年版指南",
        "一般一起用",
        "第3天的",
        "一成不变",
        "都在那一片",
        "吓一跳",
        "晚饭七分饱",
    ]
    + ["酒一滴不沾", "大体分三步", "喝半杯果汁", "2.3升高"],
)
def test_names_that_hold_digits_are_no_quantities(text: str) -> None:
    assert quantities(fold(text)) == ()


def test_a_figure_at_the_start_of_a_line_is_no_list_mark() -> None:
    assert bare_claim("5.9%属于糖尿病前期[1]。") == "5.9%属于糖尿病前期。"
    assert bare_claim("1. 多喝水。") == bare_claim("1.多喝水。") == "多喝水。"


@pytest.mark.parametrize(
    ("claim", "known", "supported"),
    [
        ("100毫克", "75～100 mg", True),
        ("75到100毫克", "75～100 mg", True),
        ("50～100 mg", "75～100 mg", False),
        ("300 mg", "75～100 mg", False),
        ("0.1克", "100 mg", True),
        ("每天两次", "bid", True),
        ("每天三次", "每日2次", False),
        ("一年", "12个月", True),
        ("低于140/90", "<140/90 mmHg", True),
        ("高于5克", "不超过5 g", False),
        ("漏服未超过6小时", "6小时内", True),
        ("最小75 mg，最大100 mg", "75～100 mg", True),
    ],
)
def test_comparison(claim: str, known: str, supported: bool) -> None:
    passage = quantities(fold(known))
    assert all(supported_by(quantity, passage) for quantity in quantities(fold(claim))) is supported


def test_wrong_number_is_replaced_by_an_honest_sentence() -> None:
    result = review("阿司匹林一般每天300毫克[1]。请遵医嘱。", [ASPIRIN])
    assert codes(result) == {ViolationCode.UNSUPPORTED_CLAIM, ViolationCode.FALSE_CITATION}
    assert "300" not in result.text
    assert UNSUPPORTED in result.text
    assert result.cited == ()


def test_wrong_citation_is_corrected_to_the_passage_that_supports() -> None:
    result = review("阿司匹林一般每天100毫克[2]。", [ASPIRIN, SALT])
    assert codes(result) == {ViolationCode.FALSE_CITATION}
    assert result.text == "阿司匹林一般每天100毫克[1]。"


def test_citation_of_a_passage_that_does_not_exist_is_corrected() -> None:
    assert review("高血压患者每天吃盐不要超过5克[7]。", [SALT]).text == "高血压患者每天吃盐不要超过5克[1]。"


def test_number_of_another_medicine_does_not_support() -> None:
    result = review("氯吡格雷每天100 mg[1]。", [f"{ASPIRIN}{CLOPIDOGREL}"])
    assert ViolationCode.UNSUPPORTED_CLAIM in codes(result)


def test_two_passages_may_support_together() -> None:
    draft = "阿司匹林每日75～100 mg，氯吡格雷每日75 mg[1][2]。"
    assert review(draft, [ASPIRIN, CLOPIDOGREL]).verdict is Verdict.PASS


def test_opposite_of_the_evidence_is_unsupported() -> None:
    evidence = ["鼻腔冲洗应使用生理盐水，不能直接用自来水。"]
    assert ViolationCode.UNSUPPORTED_CLAIM in codes(review("鼻腔冲洗可以直接用自来水[1]。", evidence))
    assert review("鼻腔冲洗不能直接用自来水[1]。", evidence).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "draft",
    [
        "您好，您的心情我理解。",
        "请尽快到心内科就诊。",
        "以上内容仅供参考，不能代替医生的诊断。",
        "请立即拨打120，4.5小时内溶栓效果最好。",
    ],
)
def test_what_claims_nothing_needs_no_evidence(draft: str) -> None:
    assert review(draft, []).verdict is Verdict.PASS


def test_the_users_own_reading_needs_no_evidence() -> None:
    draft = "血压168/95 mmHg属于偏高，请安静休息后复测。"
    assert review(draft, [], "今天量血压168/95").verdict is Verdict.PASS
    assert review(draft, [], "血压怎么量").verdict is not Verdict.PASS


def test_a_dose_without_evidence_does_not_pass() -> None:
    assert codes(review("布洛芬每次吃600毫克。", [])) >= {ViolationCode.UNSUPPORTED_CLAIM}


def test_missing_citation_is_added_only_when_asked_for() -> None:
    draft = "阿司匹林一般每日75～100 mg。"
    assert review(draft, [ASPIRIN]).text == draft
    assert review(draft, [SALT, ASPIRIN], cite_missing=True).text == "阿司匹林一般每日75～100 mg[2]。"


def test_cited_numbers_spell_out_ranges() -> None:
    assert cited_numbers("甲[1-3]。乙[2,5]。丙[^6]。") == (1, 2, 3, 5, 6)


@pytest.mark.parametrize(
    ("claim", "passage", "passes"),
    [
        ("帕金森病患者不能用曲美他嗪[1]。", "曲美他嗪禁用于帕金森病患者。", True),
        ("帕金森病患者可以放心用曲美他嗪[1]。", "曲美他嗪禁用于帕金森病患者。", False),
        ("螺内酯会引起低钾血症[1]。", "螺内酯可引起高钾血症，用药期间应监测血钾。", False),
        ("螺内酯可能引起高钾血症[1]。", "螺内酯可引起高钾血症，用药期间应监测血钾。", True),
        ("美托洛尔缓释片要嚼碎后吞服[1]。", "美托洛尔缓释片可沿刻痕掰开，但不能嚼碎或压碎。", False),
        ("美托洛尔缓释片不能嚼碎[1]。", "美托洛尔缓释片可沿刻痕掰开，但不能嚼碎或压碎。", True),
        ("鼻喷激素能根治过敏性鼻炎[1]。", "鼻用激素是中重度过敏性鼻炎的一线用药。", False),
        ("美托洛尔不能突然停，突然停药可能诱发心绞痛[1]。", "美托洛尔突然停药可诱发心绞痛。", True),
        ("美托洛尔不会诱发心绞痛[1]。", "美托洛尔突然停药可诱发心绞痛。", False),
        ("阿司匹林加氯吡格雷一般要持续12个月[1]。", "支架术后双联抗血小板治疗通常持续12个月。", True),
        ("第二代抗组胺药嗜睡的情况要少一些[1]。", "第二代抗组胺药较少引起嗜睡。", True),
        ("布洛芬间隔6～8小时，不要为了退烧快而加倍[1]。", "布洛芬两次用药间隔6～8小时。", True),
        ("伊伐布雷定可以用于房颤患者[1]。", "伊伐布雷定适用于窦性心律的心衰患者。", False),
    ],
)
def test_what_a_passage_forbids_or_does_not_say_is_not_supported(
    claim: str, passage: str, passes: bool
) -> None:
    reviewer = SafetyReviewer.load(graph=GRAPH)
    context = ReviewContext("怎么用药", [Evidence("e0", "", passage)], TriageResult(Level.ROUTINE))
    assert (reviewer.review(context, claim).verdict is Verdict.PASS) is passes


def test_a_work_may_be_named_that_the_passage_follows_or_the_user_named_and_no_other() -> None:
    passage = Evidence("e0", "食盐", SALT, source="《中国高血压防治指南》")
    context = ReviewContext("吃多少盐", [passage], TriageResult(Level.ROUTINE))
    reviewer = SafetyReviewer.load()
    right = "《中国高血压防治指南》建议高血压患者每日食盐不超过5 g[1]。"
    assert reviewer.review(context, right).verdict is Verdict.PASS
    wrong = "《哈佛肾脏评论》和《中国高血压防治指南》都建议每日食盐不超过5 g[1]。"
    assert ViolationCode.FALSE_CITATION in codes(reviewer.review(context, wrong))
    asked = ReviewContext("《黄帝内经》里说要少吃盐吗", [passage], TriageResult(Level.ROUTINE))
    said = "您提到的《黄帝内经》是古代医书，高血压患者每日食盐不超过5 g[1]。"
    assert ViolationCode.FALSE_CITATION not in codes(reviewer.review(asked, said))
