"""What a reader gets from the embedded generator: the asked fact first, nothing of another subject, nothing cut loose."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from app.llm.answer_fit import EntitiesOf, wanted
from app.llm.base import GenerationRequest
from app.llm.extractive import NOT_COVERED, compose
from app.llm.extractive_subjects import subjects_of
from app.llm.extractive_values import numbers_of, value_fit
from app.safety.types import Audience, Level, TriageResult
from app.settings import ROOT
from knowledge_base.chunk import chunk_document
from knowledge_base.document import read_documents
from retrieval.graph import MedicalGraph
from retrieval.types import Chunk, Hit, Stored

DATA = Path(__file__).with_name("data")


@pytest.fixture(scope="session")
def entities_of() -> EntitiesOf:
    return subjects_of(MedicalGraph.load(ROOT / "knowledge_base" / "graph"))


@lru_cache(maxsize=1)
def chunks_of_documents() -> dict[str, list[Chunk]]:
    folder = ROOT / "knowledge_base" / "documents"
    return {document.document_id: chunk_document(document) for document in read_documents(folder)}


def passage(
    *sentences: str,
    section: str = "怎么吃",
    document: str = "d1",
    title: str = "氯吡格雷用药指导",
    score: float = 0.9,
) -> Hit:
    chunk = Chunk(
        f"{document}#{section}", document, title, section, "".join(sentences), "cardiology", "drug", "patient",
        "《说明书》", "2023", sentences,
    )  # fmt: skip
    vectors = np.zeros((len(sentences), 4), dtype=np.float32)
    return Hit(chunk, score, stored=Stored((), np.zeros(4, dtype=np.float32), vectors))


def answer(
    question: str,
    *hits: Hit,
    entities_of: EntitiesOf,
    care: frozenset[int] = frozenset(),
    audience: Audience = Audience.PATIENT,
) -> str:
    request = GenerationRequest(
        question, audience, "cardiology", hits, TriageResult(Level.ROUTINE), care=care
    )
    return compose(request, entities_of)


def opening(text: str) -> str:
    return text.split("\n\n")[0]


def test_the_answer_to_the_same_question_comes_first_and_whole(entities_of: EntitiesOf) -> None:
    other = passage(
        "问：波立维和泰嘉能换着吃吗？", "答：两种都是氯吡格雷，可以由医生换。", section="常见问题"
    )
    same = passage(
        "问：吃氯吡格雷总有瘀青要停吗？",
        "答：少量瘀青一般不用停药。",
        "瘀青变大要去医院查血。",
        section="常见问题",
    )
    text = answer("吃波立维身上瘀青，要停药吗", other, same, entities_of=entities_of)
    assert opening(text) == "少量瘀青一般不用停药[2]。瘀青变大要去医院查血[2]。"


def test_a_short_verdict_is_never_quoted_away_from_its_question(entities_of: EntitiesOf) -> None:
    same = passage("问：氯吡格雷饭前吃还是饭后吃？", "答：氯吡格雷饭前饭后吃都行。", section="常见问题")
    near = passage("问：氯吡格雷饭前吃伤胃吗？", "答：一般不会，饭前饭后吃差别很小。", section="常见问题")
    text = answer("氯吡格雷饭前吃还是饭后吃，伤胃不", same, near, entities_of=entities_of)
    assert "\n- 一般不会" not in text
    alone = answer("氯吡格雷饭前吃还是饭后吃", same, near, entities_of=entities_of)
    assert "一般不会" not in alone


def test_a_verdict_on_another_question_does_not_open_the_answer(entities_of: EntitiesOf) -> None:
    other = passage(
        "问：氯吡格雷漏服了怎么补？", "答：不能加倍，支架后有用的是下次按时吃。", section="常见问题"
    )
    own = passage("防止血栓再长，靠的是每天按时吃。", section="作用", score=0.1)
    text = answer("支架后吃氯吡格雷有用吗", other, own, entities_of=entities_of)
    assert opening(text).startswith("防止血栓再长")


def test_the_same_point_from_two_places_is_made_once(entities_of: EntitiesOf) -> None:
    own = passage("氯吡格雷空腹或随餐都可以吃。", "氯吡格雷要每天固定一个时间吃，不要自己停药。")
    again = passage("氯吡格雷每天要固定一个时间吃，不能自己停药。", section="用法")
    third = passage("氯吡格雷一天吃一次，每天固定一个时间吃，不要自己停药。", section="总的来说")
    text = answer("氯吡格雷饭前吃还是饭后吃", own, again, third, entities_of=entities_of)
    assert text.count("固定一个时间") == 1


def test_sentences_on_another_drug_stay_out(entities_of: EntitiesOf) -> None:
    own = passage("氯吡格雷空腹或随餐都可以吃。", "氯吡格雷每天固定一个时间吃。")
    foreign = passage(
        "瑞舒伐他汀饭前饭后都可以吃，每天固定时间吃。", document="d2", title="瑞舒伐他汀用药指导"
    )
    text = answer("氯吡格雷饭前还是饭后吃", foreign, own, entities_of=entities_of)
    assert opening(text).startswith("氯吡格雷空腹或随餐都可以吃[2]")
    assert "瑞舒伐他汀" not in text


def test_when_no_passage_knows_the_drug_the_answer_says_so_and_nothing_else(entities_of: EntitiesOf) -> None:
    foreign = passage("瑞舒伐他汀饭前饭后都可以吃。", document="d2", title="瑞舒伐他汀用药指导")
    assert answer("替格瑞洛饭前还是饭后吃", foreign, entities_of=entities_of) == NOT_COVERED


def test_a_class_speaks_for_its_drugs_but_not_one_drug_for_another(entities_of: EntitiesOf) -> None:
    on_class = passage("他汀类药一般要长期吃，血脂达标也不要自己停。", document="d2", title="他汀的安全性")
    assert "长期吃" in answer("立普妥血脂达标了能停吗", on_class, entities_of=entities_of)
    other = passage("瑞舒伐他汀血脂达标也不要自己停。", document="d3", title="瑞舒伐他汀用药指导")
    assert answer("立普妥血脂达标了能停吗", other, entities_of=entities_of) == NOT_COVERED
    assert "不要自己停" in answer("他汀血脂达标了能停吗", other, entities_of=entities_of)


def test_the_section_on_what_is_asked_wins_over_shared_words(entities_of: EntitiesOf) -> None:
    use = passage("氯吡格雷每天一次，怎么都不要一次吃两片。", section="怎么吃")
    missed = passage("当天想起来就补上。", "快到下一次就跳过，不要加倍。", section="漏服了怎么办")
    assert opening(answer("氯吡格雷昨天忘了吃怎么办", use, missed, entities_of=entities_of)).startswith(
        "当天想起来就补上[2]"
    )


def test_both_halves_of_a_double_question_are_answered(entities_of: EntitiesOf) -> None:
    use = passage(
        "氯吡格雷一天一般吃75 mg，吃1次。", "氯吡格雷一天最多吃1片，首次可吃300 mg。", section="一天吃多少"
    )
    missed = passage("漏服当天想起就补。", section="漏服怎么补")
    first = opening(answer("氯吡格雷一天吃多少，忘了怎么办", use, missed, entities_of=entities_of))
    assert "mg" in first
    assert "漏服当天想起就补" in first


def test_a_list_item_keeps_the_lead_that_gives_it_its_sense(entities_of: EntitiesOf) -> None:
    items = passage(
        "- 严重主动脉瓣狭窄、主动脉夹层的人。", "- 正在发热的人。",
        section="哪些人不能做", title="运动平板试验",
    )  # fmt: skip
    text = answer("主动脉瓣狭窄的人能做运动平板吗", items, entities_of=entities_of)
    assert opening(text).startswith("哪些人不能做：严重主动脉瓣狭窄")
    assert all("哪些人不能做：" in line for line in text.splitlines() if "的人" in line)


def test_a_sentence_that_points_back_comes_with_the_one_it_points_to_or_not_at_all(
    entities_of: EntitiesOf,
) -> None:
    whole = passage(
        "氯吡格雷和奥美拉唑合用会减弱药效。", "因此需要护胃时请医生换用泮托拉唑。", section="和哪些药冲突"
    )
    text = answer("氯吡格雷需要护胃时换用泮托拉唑行吗", whole, entities_of=entities_of)
    assert text.index("会减弱药效") < text.index("因此需要护胃")
    cut = passage(
        "因此氯吡格雷需要护胃时请医生换用泮托拉唑。", "氯吡格雷护胃药请医生来选。", section="和哪些药冲突"
    )
    assert "因此" not in answer("氯吡格雷需要护胃时换用泮托拉唑行吗", cut, entities_of=entities_of)


def test_a_value_meets_the_limit_it_falls_under(entities_of: EntitiesOf) -> None:
    limits = passage(
        "甘油三酯低于1.7 mmol/L合适。", "甘油三酯达到5.6 mmol/L以上要尽快降，防急性胰腺炎。", "甘油三酯和饮食有关。",
        section="甘油三酯多高算高", title="高甘油三酯",
    )  # fmt: skip
    assert "胰腺炎" in opening(answer("甘油三酯6.8要紧吗", limits, entities_of=entities_of))
    assert value_fit(numbers_of("EF值45%是什么意思"), "41%～49%叫轻度降低") == 1.0
    assert value_fit(numbers_of("EF值45%是什么意思"), "低于或等于40%叫降低") == 0.0
    assert numbers_of("吃了3天，一天2片") == ()


def test_care_comes_from_the_document_that_answers(entities_of: EntitiesOf) -> None:
    own = passage("氯吡格雷空腹或随餐都可以吃。")
    care = passage("解柏油样黑便，立即拨打120。", section="什么时候要马上就医")
    foreign = passage("关节剧痛发烧去急诊。", section="什么时候要马上就医", document="d2", title="痛风")
    text = answer("氯吡格雷饭前吃吗", own, foreign, care, entities_of=entities_of, care=frozenset({1, 2}))
    assert "柏油样黑便" in text.split("\n\n")[-1]
    assert "关节剧痛" not in text


def test_each_list_of_warnings_stands_under_its_own_instruction(entities_of: EntitiesOf) -> None:
    own = passage("氯吡格雷空腹或随餐都可以吃。")
    care = passage(
        "出现下面情况请立即拨打120：", "- 呕血或黑便。".replace("。", "，量很多。"),
        "出现下面情况请当天就诊：", "- 皮肤瘀斑越来越多。",
        section="什么时候要马上就医",
    )  # fmt: skip
    lines = answer("氯吡格雷饭前吃吗", own, care, entities_of=entities_of, care=frozenset({1})).splitlines()
    assert lines.index("出现下面情况请当天就诊：") + 1 == lines.index("- 皮肤瘀斑越来越多[2]。")


def test_clinicians_get_the_professional_order(entities_of: EntitiesOf) -> None:
    hits = (
        passage("急性胸痛应在10分钟内完成心电图。", section="首轮评估", title="急性胸痛的鉴别思路"),
        passage("急性胸痛低危患者出院后门诊随访。", section="随访", title="急性胸痛的鉴别思路"),
        passage("急性胸痛需鉴别主动脉夹层和肺栓塞。", section="鉴别诊断", title="急性胸痛的鉴别思路"),
        passage("急性胸痛ST段抬高者立即启动导管室。", section="处置流程", title="急性胸痛的鉴别思路"),
    )
    text = answer("急性胸痛怎么评估和处理", *hits, entities_of=entities_of, audience=Audience.CLINICIAN)
    headings = [line for line in text.splitlines() if line in ("依据：", "鉴别诊断：", "处理：", "随访：")]
    assert len(headings) >= 2
    assert headings == sorted(headings, key=["依据：", "鉴别诊断：", "处理：", "随访："].index)


def test_clinicians_are_answered_from_what_was_written_for_them(entities_of: EntitiesOf) -> None:
    lay = passage(
        "急性胸痛要立即处理，先拨打120并坐下休息。",
        section="急性胸痛怎么处理",
        title="胸痛的急救",
        score=0.95,
    )
    own = passage("急性胸痛应立即完成心电图和肌钙蛋白。", section="处理", title="胸痛的急救", score=0.9)
    professional = replace(own, chunk=replace(own.chunk, audience="clinician"))
    ask = "急性胸痛先处理什么"
    assert opening(answer(ask, lay, own, entities_of=entities_of)).startswith("急性胸痛要立即处理")
    text = answer(ask, lay, professional, entities_of=entities_of, audience=Audience.CLINICIAN)
    assert opening(text).startswith("急性胸痛应立即完成心电图")


def test_the_clause_that_asks_decides_not_the_story_around_it(entities_of: EntitiesOf) -> None:
    want = wanted("我老伴去年放了支架，最近天冷，请问阿司匹林一天吃多少毫克", entities_of)
    assert [kind.name for kind in want.kinds] == ["amount"]
    assert want.asking == ("请问阿司匹林一天吃多少毫克",)


def test_a_complaint_without_a_question_is_answered_with_what_it_is_and_what_to_do(
    entities_of: EntitiesOf,
) -> None:
    use = passage("单硝酸异山梨酯一般每日1次，早上吃，整片吞服。", title="单硝酸异山梨酯", section="怎么吃")
    effect = passage(
        "头痛是药物扩张血管引起的，多在几天内减轻。", title="单硝酸异山梨酯", section="常见的不良反应"
    )
    text = answer("吃了单硝酸异山梨酯头疼得厉害", use, effect, entities_of=entities_of)
    assert opening(text).startswith("头痛是药物扩张血管引起的")


@pytest.mark.parametrize("name", ["dev", "measured"])
def test_every_labelled_fact_can_be_found_in_its_documents(name: str) -> None:
    for line in (DATA / f"answers_{name}.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        texts = [c.sentences for d in case["documents"] for c in chunks_of_documents()[d]]
        pairs = ["".join(s[i : i + 2]) for s in texts for i in range(len(s))]
        assert any(all(re.search(p, pair) for p in case["must"]) for pair in pairs), case["question"]


def test_most_questions_get_their_fact_first_from_their_whole_document(entities_of: EntitiesOf) -> None:
    """Without retrieval and without vectors: the generator alone has to find the fact in a whole document."""
    cases = [
        json.loads(line) for line in (DATA / "answers_dev.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    right = 0
    for case in cases:
        chunks = [c for c in chunks_of_documents()[case["documents"][0]] if "就医" not in c.section]
        text = answer(case["question"], *(Hit(c, 0.9) for c in chunks), entities_of=entities_of)
        found = re.findall(r"[^。！？]+[。！？]", re.sub(r"\[\d+\]", "", opening(text)))
        right += all(re.search(pattern, "".join(found[:2])) for pattern in case["must"])
        assert not re.search(r"[？?]\[|^- (禁用|慎用)|：\[", text, re.MULTILINE), text
    assert right / len(cases) >= 0.65
