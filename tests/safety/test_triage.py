"""What a patient would notice of triage: the right level, card and questions in real wording and over turns."""

from __future__ import annotations

import re

import pytest

from app.safety.notices import WAIT_NOT
from app.safety.triage import TriageEngine
from app.safety.types import Level, Turn


@pytest.fixture(scope="module")
def engine() -> TriageEngine:
    return TriageEngine.load(embed=None, semantic=False)


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("我爸胸口像压了块大石头一头冷汗半个钟头了", "acs"),
        ("心口翳痛，出咗一身冷汗，左手都痹晒", "acs"),
        ("胸门的利害，一身冷汗，左胳膊发麻", "acs"),
        ("我媽嘴角突然歪了，講話不清楚", "stroke"),
        ("血压１９５／１２５，头疼得厉害还吐了", "hypertensive_emergency"),
        ("高压二百一低压一百三，看东西模糊", "hypertensive_emergency"),
        ("血糖2.3，人说胡话", "hypoglycaemia"),
        ("吃完虾全身起疙瘩，喉咙发紧", "anaphylaxis"),
        ("吃着波立维磕到头，现在一直吐", "head_injury"),
        ("刚满月的宝宝发烧38.4", "infant_fever"),
    ],
)
def test_emergencies_in_real_wording(engine: TriageEngine, text: str, category: str) -> None:
    result = engine.assess(text)
    assert result.level is Level.EMERGENCY
    assert result.category == category
    assert result.notices[0].phone == "120"
    assert "120" in result.notices[0].text


@pytest.mark.parametrize(
    "text",
    [
        "心梗有哪些前兆",
        "我没有胸痛也没有出汗，支架后能不能喝茶",
        "五年前心梗放了支架，现在恢复得好，能爬山吗",
        "电视剧里男主突然胸口剧痛倒地没了呼吸，太假了吧",
        "下列哪项是急性左心衰的表现：咳粉红色泡沫痰",
        "急死我了，挂号系统进不去",
        "体重120斤，血压120/80正常吗",
        "万一以后突然说不出话，应该先打120吗",
        "说明书上写可能引起呼吸困难，概率大吗",
        "否认胸痛、呼吸困难、肢体无力，只是复查血脂",
    ],
)
def test_look_alikes_stay_routine(engine: TriageEngine, text: str) -> None:
    result = engine.assess(text)
    assert result.level is Level.ROUTINE
    assert result.notices == ()


def test_crisis_shows_the_hotline_and_company_and_no_method(engine: TriageEngine) -> None:
    result = engine.assess("我不想活了，攒了一抽屉安眠药")
    notice = result.notices[0]
    assert notice.kind == "crisis"
    assert notice.phone == "12356"
    assert "12356" in notice.text
    assert "120" in notice.text
    assert "陪" in notice.text


def test_spans_point_into_the_original_text(engine: TriageEngine) -> None:
    text = "您好。　血压１９５／１２５，頭疼得厲害還吐"
    result = engine.assess(text)
    quoted = [text[s.start : s.end] for s in result.spans]
    assert any("１９５／１２５" in q for q in quoted)
    assert all(0 <= s.start < s.end <= len(text) for s in result.spans)


def test_an_undecided_complaint_is_asked_about_and_says_when_not_to_wait(engine: TriageEngine) -> None:
    result = engine.assess("我这两天有点胸闷")
    assert result.level is not Level.EMERGENCY
    assert 2 <= len(result.questions) <= 4
    assert result.questions[-1] == WAIT_NOT
    assert any("汗" in q for q in result.questions)


def test_yes_to_the_deciding_question_completes_the_rule(engine: TriageEngine) -> None:
    first = engine.assess("我妈有点胸闷")
    history = [Turn("user", "我妈有点胸闷"), Turn("assistant", "".join(first.questions))]
    assert engine.assess("有的", history).level is Level.EMERGENCY
    assert engine.assess("都没有，就是天热", history).level is not Level.EMERGENCY


@pytest.mark.parametrize(
    ("reply", "level"),
    [
        ("第一个有，其他没有", Level.EMERGENCY),
        ("2有", Level.EMERGENCY),
        ("第二个没有，第三个有", Level.EMERGENCY),
        ("都没有", Level.ROUTINE),
        ("对了，我还想问能不能吃鸡蛋", Level.ROUTINE),
        ("嗯，谢谢", Level.ROUTINE),
    ],
)
def test_answers_by_number_and_polite_replies(engine: TriageEngine, reply: str, level: Level) -> None:
    first = engine.assess("最近老头晕")
    asked = "\n".join(f"{n}. {question}" for n, question in enumerate(first.questions, start=1))
    history = [Turn("user", "最近老头晕"), Turn("assistant", f"胸痛要打120。\n\n请再告诉我：\n{asked}")]
    assert engine.assess(reply, history).level is level


def test_findings_of_earlier_turns_add_up(engine: TriageEngine) -> None:
    history = [Turn("user", "我爸六十八，胸口闷"), Turn("assistant", "请问还有别的不舒服吗？")]
    result = engine.assess("脸色发灰，一头冷汗", history)
    assert result.level is Level.EMERGENCY
    assert result.category == "acs"


def test_a_bare_number_answers_the_question_asked(engine: TriageEngine) -> None:
    history = [Turn("user", "我打胰岛素的，手抖出汗"), Turn("assistant", "请测一下血糖，是多少？")]
    assert engine.assess("2.4", history).category == "hypoglycaemia"


def test_an_emergency_stays_while_the_patient_hesitates_and_ends_when_help_has_come(
    engine: TriageEngine,
) -> None:
    history = [Turn("user", "我爸胸口压着疼，出冷汗"), Turn("assistant", "请马上拨打120。")]
    assert engine.assess("他不想去医院，先在家吃点药行不行", history).level is Level.EMERGENCY
    assert engine.assess("已经住院了，放了支架，饮食上要注意什么", history).level is Level.ROUTINE
    assert engine.assess("心梗有哪些危险因素", history).level is Level.ROUTINE


def test_a_passed_attack_still_counts_for_tia_but_not_for_a_cleared_chest_pain(engine: TriageEngine) -> None:
    assert engine.assess("刚才右手没力话都说不清，十来分钟又好了").level is Level.EMERGENCY
    assert engine.assess("上周胸痛去医院查了，心电图造影都正常，医生说没事").level is Level.ROUTINE


def test_the_same_message_gives_the_same_result(engine: TriageEngine) -> None:
    text = "爷爷突然说不出话，右手垂着，血压200/110"
    assert engine.assess(text) == TriageEngine.load(embed=None, semantic=False).assess(text)


@pytest.mark.parametrize(
    "text", ["", " ", "？", "\ud800", "\x00", "a" * 5000, "疼" * 5000, "一" * 3000, "几十几百几"]
)
def test_odd_input_never_raises(engine: TriageEngine, text: str) -> None:
    assert engine.assess(text, [Turn("assistant", text), Turn("user", text)]).level in Level


def test_the_paraphrase_detector_catches_what_no_rule_says() -> None:
    engine = TriageEngine.load()
    text = "老爷子忽然整个人不对头，筷子在手里乱晃，嘴里乌里哇啦的谁也听不清他要啥"
    assert engine.assess(text).level is Level.EMERGENCY
    assert engine.assess("心梗发生时身体里到底发生了什么，想了解一下").level is Level.ROUTINE


def test_after_an_emergency_card_a_message_that_adds_nothing_is_not_read_as_the_emergency_again() -> None:
    engine = TriageEngine.load()
    first = "我爸胸口压着疼，出冷汗"
    card = engine.assess(first).notices[0].text
    history = [Turn("user", first), Turn("assistant", card)]
    for message in ("谢谢", "挂号在哪里", "已经住院了，放了支架，饮食上要注意什么"):
        assert engine.assess(message, history).level is Level.ROUTINE, message
    assert engine.assess("他不想去医院，先在家吃点药行不行", history).level is Level.EMERGENCY
    asked = [Turn("user", "胸口闷闷的一周了"), Turn("assistant", "有没有出冷汗？")]
    assert engine.assess("没有，就是闷", asked).level is not Level.EMERGENCY


@pytest.mark.parametrize(
    "text",
    [
        "我想从楼上跳下去",
        "没有轻生的想法就是想从楼上跳下去",
        "我不想死，可是不想活了",
        "痒得想死，真的不想活了",
    ],
)
def test_a_denial_of_suicide_covers_its_own_words_only(engine: TriageEngine, text: str) -> None:
    history = [
        Turn("user", "我最近睡不好"),
        Turn("assistant", "您有没有伤害自己的念头？"),
        Turn("user", "没有轻生的想法"),
        Turn("assistant", "好的，请说说睡眠。"),
    ]
    assert engine.assess(text, history).level is Level.EMERGENCY
    assert engine.assess(text).level is Level.EMERGENCY


@pytest.mark.parametrize(
    "text", ["我不抑郁也不想死，只是问量表怎么填", "我们问过她有没有轻生的想法，她说没有"]
)
def test_a_denial_of_suicide_is_no_crisis(engine: TriageEngine, text: str) -> None:
    assert engine.assess(text).level is Level.ROUTINE


def test_a_function_in_order_is_no_complaint_and_a_complaint_asked_about_stays_one(
    engine: TriageEngine,
) -> None:
    assert "dyspnoea" not in engine.assess("起了一身风疙瘩，喘气倒是好好的").findings
    for text in ("怀孕八个月喘不上气正常现象吗", "喘不上气没问题的吧", "我爸上不来气都正常吗"):
        assert "dyspnoea" in engine.assess(text).findings, text


@pytest.mark.parametrize("text", ["谢谢", "你好", "在吗", "嗯", "怎么办", "哈哈", "1", "再见", "多少钱"])
def test_small_talk_is_routine_for_the_detector_too(text: str) -> None:
    assert TriageEngine.load().assess(text).level is Level.ROUTINE


@pytest.mark.parametrize(
    ("complaint", "wanted", "unwanted"),
    [
        ("头晕", "一侧手脚", "烧炭"),
        ("胸闷", "冷汗", "怀孕"),
        ("肚子疼", "木板", "胎动"),
        ("起了一身疹子", "喉咙发紧", "吃进去的是什么"),
    ],
)
def test_deciding_questions_suit_the_complaint(
    engine: TriageEngine, complaint: str, wanted: str, unwanted: str
) -> None:
    asked = "".join(engine.assess(complaint).questions)
    assert wanted in asked
    assert unwanted not in asked


@pytest.mark.parametrize("message", ["今天天气怎么样", "尿酸高脚趾头疼吃什么药", "血压150/95，吃药后128"])
def test_nothing_is_asked_without_a_complaint_that_calls_for_it(engine: TriageEngine, message: str) -> None:
    assert engine.assess(message).questions == ()


def test_yes_to_any_deciding_question_means_its_danger(engine: TriageEngine) -> None:
    """A question whose reassuring answer is yes would turn 没有 into a denial of the danger."""
    reassuring = re.compile(r"还能|能不能|叫得醒|止得住|能止住|肯不肯|清不清醒|稳不稳|正常吗|按住吗")
    asked = [spec.question for spec in engine.book.lexicon.findings.values() if spec.question]
    assert [question for question in asked if reassuring.search(question)] == []
