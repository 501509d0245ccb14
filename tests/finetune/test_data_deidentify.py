"""De-identification: what is found, what is left alone, and what stands in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune.deidentify import SpanType, deidentify_value, find_spans
from finetune.deidentify.evaluation import evaluate
from finetune.deidentify.files import deidentify_file
from finetune.deidentify.numbers import checksum_valid, luhn_valid


def found(text: str) -> set[tuple[str, str]]:
    return {(str(span.type), text[span.start : span.end]) for span in find_spans(text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("姓名：李桂芳 性别：女", ("name", "李桂芳")),
        ("我叫张建国，今年65岁", ("name", "张建国")),
        ("患者王芳因胸痛入院", ("name", "王芳")),
        ("我是王磊的妈妈", ("name", "王磊")),
        ("刘主任让我复查", ("name", "刘")),
        ("欧阳女士您好", ("name", "欧阳")),
        ("身份证号11010519491231002X", ("id_card", "11010519491231002X")),
        ("手机 138 0013 8000", ("mobile", "138 0013 8000")),
        ("电话+86-13912345678", ("mobile", "+86-13912345678")),
        ("打一三九一二三四五六七八找我", ("mobile", "一三九一二三四五六七八")),
        ("手机１３９１２３４５６７８", ("mobile", "１３９１２３４５６７８")),
        ("座机0531-88887777", ("landline", "0531-88887777")),
        (
            "家住山东省济南市历下区文化东路12号3单元502室",
            ("address", "山东省济南市历下区文化东路12号3单元502室"),
        ),
        ("在郑州市第七人民医院做的支架", ("hospital", "郑州市第七人民医院")),
        ("住院号：ZY2024031", ("admission_number", "ZY2024031")),
        ("13床的病人", ("admission_number", "13床")),
        ("出生日期：1958年3月12日", ("birth_date", "1958年3月12日")),
        ("她1956年8月出生", ("birth_date", "1956年8月")),
        ("2024年3月5日入院", ("date", "2024年3月5日")),
        ("微信wang_1959", ("wechat", "wang_1959")),
        ("QQ：12345678", ("qq", "12345678")),
        ("发到zhao.m@163.com", ("email", "zhao.m@163.com")),
        ("车牌鲁A·12345", ("plate", "鲁A·12345")),
        ("卡号6222 0212 3456 7890 128", ("bank_card", "6222 0212 3456 7890 128")),
    ],
)
def test_personal_data_is_found_exactly(text: str, expected: tuple[str, str]) -> None:
    assert expected in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "血压138/85 mmHg，心率72次/分，肌酐88 μmol/L，阿司匹林100 mg每日一次",
        "患者高血压病史10年，患者方便时复查，患者华法林治疗中，患者康复良好",
        "当地医院和县人民医院都看过，社区医院开的药，三甲医院的号难挂",
        "心前区疼痛，疼痛位于左侧基底节区，路易体痴呆，北京地区气候干燥",
        "我老伴小便黄，老花眼，小时候得过哮喘，吃过小柴胡颗粒",
        "2024年指南建议，2021年开始吃药，复查间隔3个月",
        "看医生，和医生商量，于医生处就诊，提高医生待遇，产房护士",
        "总IgE 326 IU/mL，白细胞5.6×10^9/L，CHA2DS2-VASc评分4分",
    ],
)
def test_clinical_text_is_left_alone(text: str) -> None:
    assert found(text) == set()


def test_checksums() -> None:
    assert checksum_valid("11010519491231002X")
    assert not checksum_valid("110105194912310021")
    assert luhn_valid("6222021234567890128")


def test_the_knowledge_documents_hold_next_to_nothing_that_looks_personal() -> None:
    folder = Path(__file__).parents[2] / "knowledge_base" / "documents"
    texts = [path.read_text("utf-8").split("---\n", 2)[2] for path in sorted(folder.rglob("*.md"))[::6]]
    assert sum(len(find_spans(line)) for text in texts for line in text.splitlines()) <= 2


def test_one_person_has_one_stand_in_throughout_a_record() -> None:
    value = {
        "id": "张三丰",
        "instruction": "我叫张建国，老张我最近胸闷。",
        "output": "张建国先生，您好。张先生请到门诊。",
        "patient_id": "P001",
        "date": "2024-03-05",
        "reference": "car-001",
    }
    clean, spans = deidentify_value(value, secret="s" * 16, key="1")
    everything = clean["instruction"] + clean["output"]
    assert "张" not in everything
    name = clean["instruction"][2:5]
    assert clean["output"].startswith(name)
    assert f"老{name[0]}" in clean["instruction"]
    assert f"{name[0]}先生" in clean["output"]
    assert clean["id"] == value["id"]
    assert clean["reference"] == "car-001"
    assert clean["patient_id"] != "P001"
    assert clean["date"] == "2024-03"
    assert {entry.field for entry in spans} == {"instruction", "output"}


def test_intervals_between_days_survive() -> None:
    clean, _ = deidentify_value("2024年3月5日手术，2024年3月12日出院", secret="s" * 16, key="1")
    assert "2024年3月5日" not in clean
    import re
    from datetime import date

    days = [date(*map(int, found)) for found in re.findall(r"(\d+)年(\d+)月(\d+)日", clean)]
    assert (days[1] - days[0]).days == 7


def test_the_same_patient_has_the_same_stand_in_in_every_record() -> None:
    one, _ = deidentify_value("患者李桂芳，女", secret="s" * 16, key="patient 7")
    two, _ = deidentify_value("李桂芳女士复诊", secret="s" * 16, key="patient 7")
    other, _ = deidentify_value("患者李桂芳，女", secret="t" * 16, key="patient 7")
    assert one[2:5] == two[:3]
    assert one != other


def test_file_report_points_into_the_input_and_holds_no_original(tmp_path: Path) -> None:
    text = "患者李桂芳，电话13912345678。"
    source = tmp_path / "in.jsonl"
    source.write_text(
        json.dumps({"id": "r1", "text": text}, ensure_ascii=False) + "\n{broken\n", encoding="utf-8"
    )
    result = deidentify_file(source, tmp_path / "out.jsonl", tmp_path / "r.json")
    report = (tmp_path / "r.json").read_text("utf-8")
    spans = json.loads(report)["records"][0]["spans"]
    assert [(s["type"], text[s["start"] : s["end"]]) for s in spans] == [
        ("name", "李桂芳"),
        ("mobile", "13912345678"),
    ]
    written = (tmp_path / "out.jsonl").read_text("utf-8")
    for original in ("李桂芳", "13912345678"):
        assert original not in report
        assert original not in written
    assert [problem.line for problem in result.problems] == [2]


def test_what_stands_in_is_not_reported_again() -> None:
    clean, _ = deidentify_value(
        "患者李桂芳，电话13912345678，微信abc_12345，住院号ZY123456", secret="s" * 16, key="1"
    )
    assert all(span.surrogate for span in find_spans(clean) if span.type is not SpanType.DATE)


def test_the_measured_part_stays_above_its_floor() -> None:
    scores = evaluate("measured")
    assert scores["all"].precision >= 0.97
    assert scores["all"].recall >= 0.88
    for kind in ("id_card", "mobile", "email", "bank_card", "admission_number", "birth_date"):
        assert scores[kind].recall >= 0.95, kind
