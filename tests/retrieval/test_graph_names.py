"""Names: brands, lay words, typing errors, forms and strengths lead to the right node and to nothing else."""

from __future__ import annotations

import itertools
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.graph import MedicalGraph

FOLDER = Path(__file__).parents[2] / "knowledge_base" / "graph"
GRAPH = MedicalGraph.load(FOLDER)

NAMES = [
    ("波立维", "氯吡格雷"), ("泰嘉", "氯吡格雷"), ("拜阿司匹灵", "阿司匹林"), ("阿斯匹林", "阿司匹林"),
    ("立普妥", "阿托伐他汀"), ("阿乐", "阿托伐他汀"), ("可定", "瑞舒伐他汀"), ("倍他乐克", "美托洛尔"),
    ("康忻", "比索洛尔"), ("万艾可", "西地那非"), ("伟哥", "西地那非"), ("希爱力", "他达拉非"),
    ("欣康", "单硝酸异山梨酯"), ("依姆多", "单硝酸异山梨酯"), ("消心痛", "硝酸异山梨酯"), ("络活喜", "氨氯地平"),
    ("拜新同", "硝苯地平"), ("心痛定", "硝苯地平"), ("代文", "缬沙坦"), ("科素亚", "氯沙坦"),
    ("诺欣妥", "沙库巴曲缬沙坦"), ("拜瑞妥", "利伐沙班"), ("可达龙", "胺碘酮"), ("万爽力", "曲美他嗪"),
    ("喜格迈", "尼可地尔"), ("救心丸", "速效救心丸"), ("开瑞坦", "氯雷他定"), ("仙特明", "西替利嗪"),
    ("顺尔宁", "孟鲁司特"), ("内舒拿", "糠酸莫米松"), ("茁乐", "奥马珠单抗"), ("恩必普", "丁苯酞"),
    ("先必新", "依达拉奉右莰醇"), ("培达", "西洛他唑"), ("泰诺", "酚麻美敏"), ("泰诺林", "对乙酰氨基酚"),
    ("白加黑", "氨酚伪麻美芬／氨麻苯美"), ("芬必得", "布洛芬"), ("美林", "布洛芬"), ("散利痛", "复方对乙酰氨基酚"),
    ("扶他林", "双氯芬酸"), ("感康", "复方氨酚烷胺"), ("格华止", "二甲双胍"), ("扑热息痛", "对乙酰氨基酚"),
    ("速尿", "呋塞米"), ("安体舒通", "螺内酯"), ("心得安", "普萘洛尔"), ("强的松", "泼尼松"),
    ("降压0号", "复方利血平氨苯蝶啶"), ("优甲乐", "左甲状腺素"), ("扑尔敏", "氯苯那敏"), ("黛力新", "氟哌噻吨美利曲辛"),
    ("坏胆固醇", "低密度脂蛋白胆固醇"), ("风疙瘩", "荨麻疹"), ("寻麻疹", "荨麻疹"), ("小中风", "短暂性脑缺血发作"),
    ("脑溢血", "脑出血"), ("褥疮", "压力性损伤"), ("嘴歪", "口角歪斜"), ("心梗", "急性心肌梗死"),
    ("放支架", "经皮冠状动脉介入治疗"), ("搭桥", "冠状动脉旁路移植术"), ("INR", "国际标准化比值"), ("洗鼻", "鼻腔冲洗"),
    ("耳石症", "良性阵发性位置性眩晕"), ("西柚", "葡萄柚（西柚）"), ("怀孕", "孕妇"), ("喂奶", "哺乳期妇女"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "canonical"), NAMES)
def test_a_name_leads_to_its_node(name: str, canonical: str) -> None:
    assert [entity.name for entity in GRAPH.resolve(name)] == [canonical]


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("阿司匹林肠溶片", "阿司匹林"), ("阿司匹林肠溶片100mg", "阿司匹林"), ("硝苯地平控释片（Ⅰ）", "硝苯地平"),
        ("盐酸西替利嗪片 10mg×12片", "西替利嗪"), ("富马酸比索洛尔片", "比索洛尔"), ("阿托伐他汀钙片(立普妥)", "阿托伐他汀"),
        ("ＩＮＲ", "国际标准化比值"), ("inr", "国际标准化比值"), ("阿 司 匹 林", "阿司匹林"), ("過敏性鼻炎", "变应性鼻炎"),
        ("硝酸甘油舌下片", "硝酸甘油"), ("布洛芬缓释胶囊", "布洛芬"), ("Viagra", "西地那非"), ("碳酸钙", "碳酸钙"),
    ],
)  # fmt: skip
def test_form_strength_width_and_script_do_not_matter(written: str, canonical: str) -> None:
    assert [entity.name for entity in GRAPH.resolve(written)] == [canonical]


@pytest.mark.parametrize("name", ["", "片", "不存在的药", "阿", "今天天气不错"])
def test_an_unknown_name_is_not_guessed(name: str) -> None:
    assert GRAPH.resolve(name) == []


def test_only_drug_names_lose_their_form() -> None:
    assert [entity.name for entity in GRAPH.resolve("脱敏")] == ["变应原特异性免疫治疗"]
    assert [entity.name for entity in GRAPH.resolve("甘草")] == ["甘草"]
    assert [entity.name for entity in GRAPH.resolve("甘草片")] == ["复方甘草片"]


def test_a_name_of_two_drugs_is_asked_back() -> None:
    assert {entity.name for entity in GRAPH.resolve("新康泰克")} == {"复方盐酸伪麻黄碱", "美扑伪麻"}
    assert GRAPH.is_ambiguous("新康泰克")
    assert GRAPH.is_ambiguous("心痛定")
    assert not GRAPH.is_ambiguous("拜新同")


def test_mentions_are_the_longest_names_where_they_stand() -> None:
    text = "我爸吃著阿斯匹林和单硝酸异山梨酯，胸口像压了块石头"
    mentions = GRAPH.mentions(text)
    assert [(m.surface, m.entity.name, m.kind) for m in mentions] == [
        ("阿斯匹林", "阿司匹林", "typo"),
        ("单硝酸异山梨酯", "单硝酸异山梨酯", "name"),
        ("胸口像压了块石头", "压榨样胸痛", "lay"),
    ]
    assert all(text[m.start : m.end] == m.surface for m in mentions)


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("立普妥可定期复查", "瑞舒伐他汀"), ("现代文学里的病人", "缬沙坦"), ("病情安定下来了", "地西泮"),
        ("我有预感康复很快", "复方氨酚烷胺"), ("他承诺通过了", "赛洛唑啉"), ("scapci", "经皮冠状动脉介入治疗"),
        ("每天 100 mg", "重症肌无力"),
        ("伪麻黄碱会升高血压", "高血压"),
        ("这比担心更有用", "急性心肌梗死"),
        ("舌下脱敏", "变应原特异性免疫治疗"),
        ("让病人原地平卧", "二氢吡啶类钙通道阻滞剂"),
    ],
)  # fmt: skip
def test_ordinary_words_are_not_drugs(text: str, absent: str) -> None:
    assert absent not in [mention.entity.name for mention in GRAPH.mentions(text)]


def test_expansion_adds_the_canonical_name_and_no_neighbour() -> None:
    assert GRAPH.expand("波立维和洛赛克能一起吃吗")[:1] == ("氯吡格雷",)
    assert "奥美拉唑" in GRAPH.expand("波立维和洛赛克能一起吃吗")
    assert "急性心肌梗死" in GRAPH.expand("心梗以后怎么办")
    assert "急性心肌梗死" not in GRAPH.expand("急性心肌梗死以后怎么办")
    assert "P2Y12受体抑制剂" not in GRAPH.expand("波立维")
    assert GRAPH.expand("今天天气不错") == ()


def test_search_puts_exact_names_first() -> None:
    assert GRAPH.search("波立维")[0].id == "drg:clopidogrel"
    assert GRAPH.search("阿司")[0].id == "drg:aspirin"
    assert GRAPH.search("") == ()
    assert len(GRAPH.search("心", limit=5)) == 5


def test_neighbourhood_starts_at_its_centre_and_keeps_the_limit() -> None:
    around = GRAPH.neighbourhood("drg:warfarin", limit=12)
    assert around.nodes[0].id == "drg:warfarin"
    assert len(around.edges) == 12
    ids = {node.id for node in around.nodes}
    assert all({edge.head.id, edge.tail.id} <= ids for edge in around.edges)
    assert GRAPH.neighbourhood("drg:none").nodes == ()


def test_documents_are_found_through_the_graph() -> None:
    assert GRAPH.topics_of(["drg:aspirin"])[0] == "car-015"
    assert GRAPH.topics_of(["drg:none"]) == ()
    related = GRAPH.related_documents(["car-015"])
    assert related
    assert "car-015" not in related


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.sampled_from([name for name, _ in NAMES]))
def test_mentions_never_overlap_and_always_quote_the_text(noise: str, name: str) -> None:
    text = noise + name + noise
    mentions = GRAPH.mentions(text)
    spans = sorted({(mention.start, mention.end) for mention in mentions})
    assert all(text[m.start : m.end] == m.surface for m in mentions)
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans))


def test_a_long_question_takes_less_than_a_millisecond() -> None:
    question = ("我爸吃波立维和立普妥，胸口闷，血压高压一百五，能不能再吃芬必得和白加黑？" * 6)[:200]
    GRAPH.mentions(question)
    best = min(_seconds(question) for _ in range(30))
    assert best < 0.001


def _seconds(question: str) -> float:
    start = perf_counter()
    GRAPH.mentions(question)
    return perf_counter() - start
