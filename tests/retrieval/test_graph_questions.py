"""The twelve questions the graph must answer, at least ten instances each, every edge with its provenance."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from retrieval.graph import Edge, MedicalGraph

FOLDER = Path(__file__).parents[2] / "knowledge_base" / "graph"


@pytest.fixture(scope="module")
def graph() -> MedicalGraph:
    return MedicalGraph.load(FOLDER)


def said(edges: Iterable[Edge]) -> str:
    """All that a reader would see; checks in passing that each statement says where it comes from."""
    text = ""
    for edge in edges:
        assert edge.source.title
        assert edge.source.publisher
        assert edge.source.year
        assert edge.topic_id
        assert edge.status == "editorial"
        values = " ".join(str(value) for value in edge.properties.values())
        text += f"{edge.head.name} {edge.tail.name} {edge.claim} {values}\n"
    return text


@pytest.mark.parametrize(
    ("drug", "partner"),
    [
        ("硝酸甘油", "西地那非"), ("万艾可", "硝酸甘油"), ("欣康", "PDE5抑制剂"), ("波立维", "奥美拉唑"),
        ("华法林", "非甾体抗炎药"), ("倍林达", "克拉霉素"), ("舒降之", "葡萄柚"), ("诺欣妥", "普利类"),
        ("安体舒通", "低钠盐"), ("喜格迈", "PDE5抑制剂"), ("可兰特", "维拉帕米"), ("替扎尼定", "环丙沙星"),
        ("灭滴灵", "酒精饮料"), ("格华止", "含碘造影剂"), ("拜瑞妥", "非甾体抗炎药"),
    ],
)  # fmt: skip
def test_question_1_what_must_not_go_with_a_drug(graph: MedicalGraph, drug: str, partner: str) -> None:
    assert partner in said(graph.avoid_with(drug))


@pytest.mark.parametrize(
    ("symptoms", "disease", "action"),
    [
        (["压榨样胸痛", "大汗"], "急性心肌梗死", "call_120"),
        (["胸口像压了块石头", "左胳膊疼"], "急性心肌梗死", "call_120"),
        (["嘴歪", "说话不清楚"], "脑卒中", "call_120"),
        (["半边没力气"], "急性缺血性脑卒中", "call_120"),
        (["撕裂样胸背痛"], "主动脉夹层", "call_120"),
        (["风团", "喉头发紧"], "严重过敏反应", "call_120"),
        (["身上起疙瘩", "喘不上气"], "严重过敏反应", "call_120"),
        (["突发剧烈头痛"], "蛛网膜下腔出血", "call_120"),
        (["天旋地转", "看东西重影"], "后循环卒中", "call_120"),
        (["一条腿肿", "喘不上气"], "肺血栓栓塞症", "call_120"),
        (["拉黑便", "晕倒"], "消化道出血", "call_120"),
        (["停经", "肚子疼"], "异位妊娠破裂", "call_120"),
        (["肌肉酸痛", "酱油色尿"], "横纹肌溶解", "er_now"),
        (["发烧", "脖子硬"], "脑膜炎", "call_120"),
        (["眼睛胀痛", "看灯有彩虹圈"], "急性闭角型青光眼", "er_now"),
    ],
)
def test_question_2_which_emergency_comes_first(
    graph: MedicalGraph, symptoms: list[str], disease: str, action: str
) -> None:
    flags = graph.emergencies(symptoms)
    assert (disease, action) in [(flag.disease.name, flag.action) for flag in flags]
    said(edge for flag in flags for edge in flag.edges)


def test_question_2_a_combination_needs_its_core(graph: MedicalGraph) -> None:
    assert graph.emergencies(["打喷嚏", "流清鼻涕", "鼻塞"]) == ()
    sweating_and_nausea = [flag.disease.name for flag in graph.emergencies(["恶心", "大汗"])]
    assert "急性心肌梗死" not in sweating_and_nausea
    pain_alone = [flag.disease.name for flag in graph.emergencies(["胸痛"])]
    assert "急性心肌梗死" not in pain_alone
    stronger = graph.emergencies(["压榨样胸痛", "大汗", "濒死感"])[0]
    assert len(stronger.matched) == 3


@pytest.mark.parametrize(
    ("drug", "who"),
    [
        ("曲美他嗪", "帕金森病"), ("西洛他唑", "慢性心力衰竭"), ("洛汀新", "孕妇"), ("代文", "孕妇"),
        ("立普妥", "孕妇"), ("华法林", "孕妇"), ("阿司匹林", "阿司匹林哮喘"), ("普萘洛尔", "支气管哮喘"),
        ("芬必得", "慢性心力衰竭"), ("芬必得", "消化性溃疡"), ("新康泰克蓝色装", "冠心病"),
        ("二甲双胍", "eGFR低于30者"), ("扑尔敏", "前列腺增生"), ("达芬霖", "2岁以下婴幼儿"), ("格列美脲", "老年人"),
    ],
)  # fmt: skip
def test_question_3_who_must_not_take_it(graph: MedicalGraph, drug: str, who: str) -> None:
    edges = graph.restrictions(drug)
    assert who in said(edges)
    levels = [edge.get("level") == "absolute" for edge in edges]
    assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize(
    ("drug", "symptom", "action"),
    [
        ("培哚普利", "干咳", "沙坦"), ("洛汀新", "嘴唇肿", "立即停药"), ("阿司匹林", "拉黑便", "急诊"),
        ("可定", "肌肉疼痛", "肌酸激酶"), ("立普妥", "酱油色尿", "急诊"), ("倍林达", "呼吸困难", "联系医生"),
        ("拜新同", "脚踝肿", "医生"), ("欣康", "头疼", "休息"), ("万爽力", "手抖", "停药"),
        ("孟鲁司特", "自杀念头", "急诊"), ("扑尔敏", "犯困", "不开车"), ("安体舒通", "乳房胀", "医生"),
        ("他巴唑", "粒细胞缺乏症", "血常规"), ("硫酸亚铁", "黑便", "柏油"),
    ],
)  # fmt: skip
def test_question_4_is_it_an_adverse_effect(
    graph: MedicalGraph, drug: str, symptom: str, action: str
) -> None:
    edges = graph.adverse_effects(drug, symptom)
    assert edges
    assert action in " ".join(edge.get("action") for edge in edges)
    said(edges)


@pytest.mark.parametrize(
    ("disease", "setting", "treatment"),
    [
        ("慢性荨麻疹", "chronic", "第二代抗组胺药"), ("心梗", "acute", "急诊PCI"), ("过敏性休克", "acute", "肾上腺素"),
        ("过敏性鼻炎", "chronic", "鼻用糖皮质激素"), ("脑梗", "acute", "静脉溶栓"), ("房颤", "chronic", "新型口服抗凝药"),
        ("糖尿病", "chronic", "二甲双胍"), ("心衰", "chronic", "SGLT2抑制剂"), ("幽门螺杆菌", "acute", "铋剂四联疗法"),
        ("耳石症", "acute", "耳石复位"), ("低血糖", "acute", "15～20 g糖"), ("痛风", "acute", "秋水仙碱"),
        ("吞咽障碍", "rehab", "吞咽训练"), ("哮喘", "chronic", "吸入性糖皮质激素"),
    ],
)  # fmt: skip
def test_question_5_first_line_treatment(
    graph: MedicalGraph, disease: str, setting: str, treatment: str
) -> None:
    edges = graph.treatments(disease, setting)
    assert treatment in said(edges)
    assert [edge.get("line") for edge in edges] == sorted(edge.get("line") for edge in edges)


@pytest.mark.parametrize(
    ("indicator", "value", "population", "position", "suggestion"),
    [
        ("D-二聚体", 2.0, "成人", "high", "升高不能确诊"), ("D-二聚体", 0.2, "成人", "normal", "有助于排除"),
        ("血钾", 6.1, "成人", "high", "高钾血症"), ("血钾", 3.0, "成人", "low", "低钾血症"),
        ("空腹血糖", 8.0, "成人", "high", "糖尿病"), ("糖化", 7.2, "成人", "high", "糖尿病"),
        ("血红蛋白", 100, "成年男性", "low", "缺铁性贫血"), ("肌酐", 150, "成年男性", "high", "慢性肾脏病"),
        ("转氨酶", 120, "成年女性", "high", "肝"), ("尿酸", 520, "成人", "high", "不等于痛风"),
        ("血小板", 60, "成人", "low", "血小板减少"), ("NT-proBNP", 60, "成人", "normal", "排除慢性心衰"),
        ("甘油三酯", 7.0, "成人", "high", "胰腺炎"), ("坏胆固醇", 5.2, "成人", "high", "血脂异常"),
    ],
)  # fmt: skip
def test_question_6_a_test_value(
    graph: MedicalGraph, indicator: str, value: float, population: str, position: str, suggestion: str
) -> None:
    answer = graph.interpret(indicator, value, population)
    assert answer.position == position
    assert suggestion in said(answer.suggests)
    said(answer.ranges)


def test_question_6_asks_back_when_ranges_disagree(graph: MedicalGraph) -> None:
    assert graph.interpret("高压", 137).position == "unknown"
    assert graph.interpret("高压", 137, condition="家庭").position == "high"
    assert graph.interpret("高压", 137, condition="诊室").position == "normal"
    assert graph.interpret("血红蛋白", 125).position == "unknown"
    assert "甲状腺功能减退症" in said(graph.suggested_by("TSH", "high"))


@pytest.mark.parametrize(
    ("condition", "indicator", "target"),
    [
        ("冠心病", "LDL-C", "<1.8"), ("冠心病", "坏胆固醇", "降幅>50%"), ("超高危", "LDL-C", "<1.4"),
        ("脑梗", "LDL-C", "<1.8"), ("高血压", "收缩压", "<140"), ("糖尿病", "糖化", "<7.0"),
        ("糖尿病", "空腹血糖", "4.4～7.0"), ("房颤", "INR", "2.0～3.0"), ("痛风", "尿酸", "<360"),
        ("痛风", "尿酸", "<300"), ("稳定型心绞痛", "心率", "55～60"), ("慢阻肺", "血氧", "88～92"),
    ],
)  # fmt: skip
def test_question_7_what_value_is_aimed_at(
    graph: MedicalGraph, condition: str, indicator: str, target: str
) -> None:
    assert target in said(graph.targets(condition, indicator))


@pytest.mark.parametrize(
    ("drug", "test"),
    [
        ("可达龙", "甲状腺功能检查"), ("可达龙", "肝功能检查"), ("可达龙", "胸部X线"), ("可达龙", "心电图"),
        ("华法林", "国际标准化比值"), ("立普妥", "肝功能检查"), ("洛汀新", "血钾"), ("螺内酯", "血钾"),
        ("地高辛", "地高辛血药浓度"), ("格华止", "估算肾小球滤过率"), ("优甲乐", "促甲状腺激素"),
        ("倍他乐克", "静息心率"), ("拜瑞妥", "估算肾小球滤过率"), ("他巴唑", "中性粒细胞计数"),
    ],
)  # fmt: skip
def test_question_8_what_is_monitored(graph: MedicalGraph, drug: str, test: str) -> None:
    edges = graph.monitoring(drug)
    assert test in said(edges)
    assert all(edge.get("frequency") for edge in edges)


@pytest.mark.parametrize(
    ("names", "shared"),
    [
        (["泰诺", "白加黑"], "对乙酰氨基酚"), (["泰诺林", "感康"], "对乙酰氨基酚"), (["散利痛", "999感冒灵"], "对乙酰氨基酚"),
        (["维C银翘片", "快克"], "对乙酰氨基酚"), (["头痛粉", "拜阿司匹灵"], "阿司匹林"), (["立普妥", "可定"], "他汀类"),
        (["血脂康", "阿乐"], "他汀类"), (["芬必得", "扶他林"], "非甾体抗炎药"), (["诺欣妥", "代文"], "缬沙坦"),
        (["消渴丸", "优降糖"], "格列本脲"), (["倍他乐克", "康忻"], "β受体阻滞剂"), (["络活喜", "拜新同"], "地平|二氢吡啶"),
        (["开瑞坦", "仙特明"], "抗组胺药"), (["鼻炎康", "扑尔敏"], "氯苯那敏"), (["洛赛克", "波利特"], "质子泵抑制剂"),
        (["安博诺", "双氢克尿噻"], "氢氯噻嗪"),
    ],
)  # fmt: skip
def test_question_9_the_same_thing_twice(graph: MedicalGraph, names: list[str], shared: str) -> None:
    found = graph.duplicates(names)
    assert found
    assert any(word in item.why for item in found for word in shared.split("|"))
    said(item.edge for item in found)


def test_question_9_drugs_meant_to_go_together_are_no_duplicates(graph: MedicalGraph) -> None:
    assert graph.duplicates(["拜阿司匹灵", "波立维"]) == ()
    assert graph.duplicates(["立普妥", "益适纯"]) == ()


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        ("不稳定型心绞痛", "NSTEMI", "肌钙蛋白"), ("脑梗", "脑溢血", "头颅CT"), ("过敏性鼻炎", "感冒", "发热"),
        ("耳石症", "后循环卒中", "复视"), ("偏头痛", "蛛网膜下腔出血", "剧痛"), ("荨麻疹", "过敏性休克", "喉紧"),
        ("心梗", "主动脉夹层", "撕裂痛"), ("哮喘", "慢阻肺", "可逆"), ("过敏性鼻炎", "鼻窦炎", "脓涕"),
        ("食物过敏", "食物不耐受", "免疫"), ("心衰", "慢阻肺", "利钠肽"), ("小中风", "脑梗", "影像"),
        ("急性荨麻疹", "慢性荨麻疹", "6周"),
    ],
)  # fmt: skip
def test_question_10_how_to_tell_apart(graph: MedicalGraph, first: str, second: str, difference: str) -> None:
    for one, other in ((first, second), (second, first)):
        comparison = graph.distinguish(one, other)
        assert difference in said(comparison.differences)
        assert comparison.first
        assert comparison.second


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("静脉溶栓", "4.5"), ("急诊PCI", "12"), ("取栓", "24"), ("双抗", "12个月"), ("小中风", "21天"),
        ("幽门螺杆菌", "14天"), ("肺栓塞", "3个月"), ("脱敏治疗", "3年"), ("反流性食管炎", "4～8周"),
        ("鼻用减充血剂", "7天"), ("缺铁性贫血", "3个月"), ("甲亢", "12～18个月"),
    ],
)  # fmt: skip
def test_question_11_windows_and_durations(graph: MedicalGraph, name: str, value: str) -> None:
    assert value in said(graph.time_windows(name))


@pytest.mark.parametrize(
    ("first", "second", "hours"),
    [("雅施达", "诺欣妥", 36), ("希爱力", "硝酸甘油", 48), ("万艾可", "硝酸甘油", 24), ("优甲乐", "钙片", 4)],
)
def test_question_11_how_long_between_two_drugs(
    graph: MedicalGraph, first: str, second: str, hours: int
) -> None:
    for names in ((first, second), (second, first)):
        assert [edge.properties["min_interval_h"] for edge in graph.switch_interval(*names)] == [hours]


@pytest.mark.parametrize(
    ("symptom", "department", "urgent_for"),
    [
        ("风团", "皮肤科", "严重过敏反应"), ("胸口疼", "急诊科", "急性心肌梗死"), ("打喷嚏", "变态反应科", ""),
        ("嘴歪", "急诊科", "脑卒中"), ("头晕", "神经内科", "后循环卒中"), ("拉黑便", "急诊科", "消化道出血"),
        ("泡沫尿", "肾内科", ""), ("眼睛痒", "眼科", ""), ("烧心", "消化内科", ""), ("喝水呛", "康复医学科", "气道异物梗阻"),
        ("大脚趾疼", "风湿免疫科", ""), ("流鼻血", "耳鼻咽喉科", ""), ("心慌", "心内科", "室性心动过速"),
    ],
)  # fmt: skip
def test_question_12_which_department_and_how_urgent(
    graph: MedicalGraph, symptom: str, department: str, urgent_for: str
) -> None:
    referral = graph.where_to_go(symptom)
    assert department == referral.departments[0].tail.name
    assert urgent_for in said(referral.red_flags)
    if not urgent_for:
        assert referral.red_flags == ()


def test_what_is_not_known_gives_nothing(graph: MedicalGraph) -> None:
    unknown = "查无此药"
    assert graph.avoid_with(unknown) == ()
    assert graph.emergencies([unknown]) == ()
    assert graph.restrictions(unknown) == ()
    assert graph.adverse_effects("阿司匹林", unknown) == ()
    assert graph.adverse_effects("阿司匹林", "黄脓鼻涕") == ()
    assert graph.treatments(unknown) == ()
    assert graph.interpret(unknown, 1.0).position == "unknown"
    assert graph.targets(unknown) == ()
    assert graph.targets("冠心病", "血小板") == ()
    assert graph.monitoring(unknown) == ()
    assert graph.duplicates([unknown, "阿司匹林"]) == ()
    assert graph.distinguish("痛风", "耳石症").differences == ()
    assert graph.time_windows(unknown) == ()
    assert graph.switch_interval("阿司匹林", unknown) == ()
    assert graph.where_to_go(unknown).departments == ()
