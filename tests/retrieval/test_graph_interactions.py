"""Drugs against drugs, food and conditions: both orders, inheritance, and silence where nothing is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.graph import FindingKind, MedicalGraph, Severity

FOLDER = Path(__file__).parents[2] / "knowledge_base" / "graph"
NEVER, SERIOUS, CAUTION = Severity.CONTRAINDICATED, Severity.SERIOUS, Severity.CAUTION


@pytest.fixture(scope="module")
def graph() -> MedicalGraph:
    return MedicalGraph.load(FOLDER)


PAIRS = [
    ("硝酸甘油", "万艾可", NEVER), ("依姆多", "希爱力", NEVER), ("爱倍", "艾力达", NEVER), ("喜格迈", "金戈", NEVER),
    ("华法林", "芬必得", SERIOUS), ("华法林", "灭滴灵", SERIOUS), ("华法林", "左氧氟沙星", SERIOUS),
    ("华法林", "氟康唑", SERIOUS), ("华法林", "菠菜", CAUTION), ("华法林", "纳豆", SERIOUS), ("华法林", "拜瑞妥", NEVER),
    ("波立维", "洛赛克", SERIOUS), ("波立维", "耐信", SERIOUS), ("舒降之", "克拉霉素", NEVER), ("立普妥", "克拉霉素", SERIOUS),
    ("舒降之", "伊曲康唑", NEVER), ("可定", "环孢素", NEVER), ("舒降之", "吉非罗齐", NEVER), ("立普妥", "西柚", SERIOUS),
    ("倍他乐克", "异搏定", NEVER), ("康忻", "合心爽", SERIOUS), ("洛汀新", "安体舒通", SERIOUS), ("代文", "氯化钾", SERIOUS),
    ("科素亚", "低钠盐", SERIOUS), ("雅施达", "诺欣妥", NEVER), ("地高辛", "可达龙", SERIOUS), ("拜阿司匹灵", "芬必得", SERIOUS),
    ("拜瑞妥", "扶他林", SERIOUS), ("可兰特", "合心爽", NEVER), ("倍林达", "克拉霉素", NEVER), ("格华止", "造影剂", SERIOUS),
    ("头孢哌酮", "喝酒", SERIOUS), ("头孢克肟", "啤酒", SERIOUS), ("甲硝唑", "白酒", NEVER), ("司来吉兰", "左洛复", NEVER),
    ("扑尔敏", "喝酒", SERIOUS), ("扑尔敏", "安眠药", SERIOUS), ("替扎尼定", "环丙沙星", NEVER), ("替扎尼定", "氟伏沙明", NEVER),
    ("肾上腺素", "心得安", SERIOUS), ("白加黑", "司来吉兰", NEVER), ("优甲乐", "钙片", SERIOUS), ("别嘌醇", "硫唑嘌呤", SERIOUS),
    ("头孢", "藿香正气水", SERIOUS), ("血脂康", "红曲", SERIOUS), ("拜新同", "西柚汁", SERIOUS), ("达比加群", "伊曲康唑", NEVER),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "severity"), PAIRS)
def test_a_pair_is_found_in_both_orders(
    graph: MedicalGraph, first: str, second: str, severity: Severity
) -> None:
    for names in ([first, second], [second, first]):
        report = graph.interactions(names)
        assert report.unknown == ()
        assert report.worst == severity
        top = report.interactions[0]
        assert top.why
        assert top.source
        assert top.year
        assert {top.given_a, top.given_b} == {first, second}


@pytest.mark.parametrize(
    ("drug", "condition", "severity"),
    [
        ("培达", "心衰", NEVER), ("万爽力", "帕金森", NEVER), ("心得安", "哮喘", NEVER), ("拜阿司匹灵", "阿司匹林哮喘", NEVER),
        ("白加黑", "冠心病", NEVER), ("白加黑", "高血压", SERIOUS), ("芬必得", "心衰", NEVER), ("芬必得", "胃溃疡", NEVER),
        ("扶他林", "肾功能不全", SERIOUS), ("立普妥", "怀孕", NEVER), ("洛汀新", "怀孕", NEVER), ("代文", "怀孕", NEVER),
        ("诺欣妥", "怀孕", NEVER), ("华法林", "怀孕", NEVER), ("左氧氟沙星", "儿童", NEVER), ("异搏定", "心衰", SERIOUS),
        ("格华止", "eGFR<30", NEVER), ("安体舒通", "高血钾", NEVER), ("鼻眼净", "两岁以下", NEVER), ("开瑞坦", "怀孕", CAUTION),
        ("低钠盐", "肾功能不全", NEVER), ("扑尔敏", "前列腺肥大", SERIOUS), ("阿莫西林", "青霉素过敏", NEVER),
        ("拜瑞妥", "机械瓣", NEVER), ("阿司匹林", "水痘的孩子", NEVER), ("安定", "开车", CAUTION),
    ],
)  # fmt: skip
def test_a_drug_against_a_condition(
    graph: MedicalGraph, drug: str, condition: str, severity: Severity
) -> None:
    known = "egfr_lt_30" if condition == "eGFR<30" else condition
    report = graph.interactions([drug], [f"pop:{known}" if known == "egfr_lt_30" else known])
    assert report.worst == severity
    assert report.interactions[0].kind is FindingKind.DRUG_CONDITION


def test_the_drugs_own_statement_wins_over_that_of_its_class(graph: MedicalGraph) -> None:
    """Fluvastatin has nothing of its own and inherits; for metoprolol in asthma its own label decides."""
    inherited = graph.interactions(["来适可", "秋水仙碱"]).interactions[0]
    assert inherited.edge.head.id == "cls:statin" or inherited.edge.tail.id == "cls:statin"
    own = graph.interactions(["倍他乐克"], ["哮喘"]).interactions[0]
    assert own.edge.head.id == "drg:metoprolol"
    assert own.severity is SERIOUS
    class_wide = graph.interactions(["阿替洛尔"], ["哮喘"]).interactions[0]
    assert class_wide.severity is NEVER


def test_a_compound_carries_the_warnings_of_its_ingredients(graph: MedicalGraph) -> None:
    assert graph.interactions(["多达一", "克拉霉素"]).worst is SERIOUS
    assert graph.interactions(["泰诺", "白酒"]).worst is SERIOUS
    assert graph.interactions(["头痛粉"], ["胃溃疡"]).worst is NEVER


def test_a_class_name_stands_for_its_members(graph: MedicalGraph) -> None:
    assert graph.interactions(["沙坦类", "螺内酯"]).worst is SERIOUS
    assert graph.interactions(["降压药没听过", "他汀"]).unknown == ("降压药没听过",)


def test_drugs_that_go_together_report_caution_only(graph: MedicalGraph) -> None:
    together = graph.interactions(["拜阿司匹灵", "波立维"])
    assert [item.severity for item in together.interactions] == [CAUTION]
    assert "合用" in together.interactions[0].advice


def test_unknown_and_ambiguous_names_are_reported(graph: MedicalGraph) -> None:
    report = graph.interactions(["新康泰克", "没有这个药"], ["火星病"])
    assert report.unknown == ("没有这个药", "火星病")
    assert [(item.name, len(item.candidates)) for item in report.ambiguous] == [("新康泰克", 2)]


def test_a_pair_without_a_statement_is_silent(graph: MedicalGraph) -> None:
    report = graph.interactions(["内舒拿", "立普妥"], ["耳石症"])
    assert report.interactions == ()
    assert report.worst is None
    assert graph.interactions([]).interactions == ()


def test_the_same_drug_under_two_brands_is_a_duplicate(graph: MedicalGraph) -> None:
    found = graph.interactions(["立普妥", "阿乐"]).interactions
    assert [item.kind for item in found] == [FindingKind.DUPLICATE_INGREDIENT]
    assert "阿托伐他汀" in found[0].why
    assert graph.interactions(["立普妥", "立普妥"]).interactions == ()


def test_findings_come_worst_first(graph: MedicalGraph) -> None:
    report = graph.interactions(["硝酸甘油", "万艾可", "络活喜", "泰诺林", "白酒"], ["高血压"])
    ranks = [item.severity.rank for item in report.interactions]
    assert ranks == sorted(ranks)
    assert report.worst is NEVER
