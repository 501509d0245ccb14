"""What the checks refuse, by code, in the service's own judgement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.checks_file import FileReport, check_file

GOOD = {
    "id": "g1",
    "instruction": "阿司匹林肠溶片是饭前吃还是饭后吃？",
    "input": "",
    "output": "阿司匹林肠溶片宜在饭前用温水整片吞服，不要掰开或嚼碎。胃不舒服或大便发黑时，请尽快看医生，不要自己停药。",
    "source": "阿司匹林肠溶片说明书",
    "department": "cardiology",
}


def dialogue(*texts: str, **fields: Any) -> dict[str, Any]:
    turns = [{"from": "gpt" if n % 2 else "human", "value": text} for n, text in enumerate(texts)]
    return {"conversations": turns, "source": "《中国高血压防治指南》", **fields}


GOOD_DIALOGUE = dialogue(
    "医生，我量血压老是偏高。",
    "请问大概是多少，量之前有没有坐着休息？",
    "一百四十五左右，一般坐下就量。",
    "平时吃盐重吗，有没有在吃降压药？",
    "口味重，还没吃药。",
    "建议量之前先静坐5分钟，连续记录一周，并把每天的盐减下来，然后带着记录到门诊由医生决定要不要用药。",
)


def check(tmp_path: Path, *rows: Any) -> FileReport:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return check_file(path)


def test_good_records_pass(tmp_path: Path) -> None:
    report = check(tmp_path, GOOD, GOOD_DIALOGUE)
    assert report.errors == []
    assert report.records == 2


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({**GOOD, "instruction": "头" * 500}, "input_too_long"),
        ({**GOOD, "output": "建议就医。" * 200}, "output_too_long"),
        ({**GOOD, "output": "建议就医。" * 200_000}, "output_too_long"),
        ({**GOOD, "output": "  "}, "empty_output"),
        ({**GOOD, "instruction": ""}, "empty_input"),
        ({**GOOD, "output": "好的<|im_start|>请就医"}, "special_token"),
        ({**GOOD, "output": "请就医\ufffd"}, "bad_encoding"),
        ({**GOOD, "source": None}, "missing_source"),
        ({**GOOD, "source": "ai_generated", "reference": "car-015"}, "unapproved_ai_generated"),
        ({**GOOD, "review": {"status": "rejected"}}, "rejected_by_review"),
        ({**GOOD, "output": "您得的就是冠心病，这一点可以肯定。请到心内科就医。"}, "definitive_diagnosis"),
        ({**GOOD, "output": "把阿司匹林停掉就行，不用问医生。"}, "stop_medication"),
        ({**GOOD, "output": "阿司匹林肠溶片宜在饭前用温水整片吞服。"}, "missing_safety_line"),
        ({**GOOD, "output": "请就医，或打我电话13912345678。"}, "personal_data"),
        (dialogue("血压高怎么办？", "请问多高？", "一百五。", "建议到门诊看医生。"), "turns_out_of_range"),
        (dialogue("高", "要就医。", "高", "要就医。", "高", "建议到门诊看医生。"), "no_follow_up_question"),
        (dialogue("高", "多高？", "高", "多久了？", "高", "您觉得呢？"), "no_clear_advice"),
        (dialogue("高", "多高？", "高", "多久了？", "建议就医"), "role_order"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "human", "value": "b"}]}, "role_order"),
    ],
)
def test_each_fault_has_its_code_and_line(tmp_path: Path, row: dict[str, Any], code: str) -> None:
    report = check(tmp_path, GOOD, row)
    assert (2, code) in [(problem.line, problem.code) for problem in report.errors]
    assert all(problem.line == 2 for problem in report.errors if problem.code != "duplicate_id")


def test_an_emergency_must_be_sent_to_emergency_care(tmp_path: Path) -> None:
    question = "我爸突然胸口压榨样疼，大汗淋漓，已经半个多小时了，怎么办？"
    source = {"source": "《急性ST段抬高型心肌梗死诊断和治疗指南》"}
    calm = {
        "instruction": question,
        "input": "",
        "output": "可以先休息观察，下周到门诊复查心电图。",
        **source,
    }
    right = {**calm, "output": "这可能是急性心肌缺血，请立即拨打120，让他平躺不要走动，不要自己开车去医院。"}
    assert "missing_safety_line" in [problem.code for problem in check(tmp_path, calm).errors]
    assert check(tmp_path, right).errors == []


def test_ids_are_unique_and_demo_is_only_a_warning(tmp_path: Path) -> None:
    report = check(
        tmp_path, {**GOOD, "review": {"status": "demo"}}, {**GOOD, "output": GOOD["output"] + "谢谢。"}
    )
    assert [(problem.code, problem.line) for problem in report.errors] == [("duplicate_id", 2)]
    assert [problem.code for problem in report.warnings] == ["demo"]
    assert report.demo == 1


def test_a_single_turn_converted_to_a_dialogue_format_stays_a_single_turn(tmp_path: Path) -> None:
    from finetune.formats import Target, to_target
    from finetune.formats.parse import parse_record

    record, _ = parse_record(GOOD)
    assert record is not None
    assert check(tmp_path, to_target(record, Target.MESSAGES)).errors == []


def test_clinicians_get_no_patient_rules_on_doses(tmp_path: Path) -> None:
    row = {
        "Question": "支架术后双联抗血小板的常规维持剂量？",
        "Complex_CoT": "先看阿司匹林，再看P2Y12受体拮抗剂。",
        "Response": "阿司匹林75～100 mg每日1次，氯吡格雷75 mg每日1次。",
        "audience": "clinician",
        "source": "《冠心病双联抗血小板治疗中国专家共识》",
    }
    assert check(tmp_path, row).errors == []


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("\n")
    assert [problem.code for problem in check_file(path).errors] == ["empty_file"]
