"""What may be trained on. Nobody can talk the gate out of it: there is no option for that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune.training.config import TrainSettings, parse_overrides
from finetune.training.dataset import conversation, load_records, training_files, validation_files
from finetune.training.errors import DataRefused, SettingsError

PAIR = {"instruction": "漏服了阿司匹林怎么办？", "input": "", "output": "当天想起来就补，不要吃双份。"}
APPROVED = {"status": "approved", "reviewer": "王医生", "reviewed_at": "2026-11-01"}


def write(path: Path, *rows: dict[str, object] | str) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_an_unapproved_ai_generated_record_stops_the_run_with_file_and_line(tmp_path: Path) -> None:
    bad = {**PAIR, "source": "ai_generated", "review": {"status": "pending"}}
    file = write(tmp_path / "train.jsonl", PAIR, bad)
    with pytest.raises(DataRefused, match=r"train\.jsonl:2: unapproved_ai_generated"):
        load_records([file])


def test_a_model_that_signs_its_own_review_is_no_approval(tmp_path: Path) -> None:
    signed = {**PAIR, "source": "ai_generated", "review": {**APPROVED, "reviewer": "GPT-4"}}
    with pytest.raises(DataRefused, match="unapproved"):
        load_records([write(tmp_path / "a.jsonl", signed)])


def test_an_approved_ai_generated_record_trains(tmp_path: Path) -> None:
    good = {**PAIR, "source": "ai_generated", "review": APPROVED}
    assert len(load_records([write(tmp_path / "a.jsonl", good)]).records) == 1


def test_no_option_overrides_the_gate() -> None:
    for name in ("force", "allow_unapproved", "skip_review", "trust_data"):
        with pytest.raises(SettingsError, match="unknown option"):
            parse_overrides([f"--{name}"])


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({**PAIR, "review": {"status": "rejected"}}, "rejected_by_review"),
        ({**PAIR, "output": "  "}, "empty_output"),
        ('{"instruction": "断了的行', "bad_json"),
        ({"nothing": 1}, "unknown_format"),
    ],
)
def test_what_cannot_be_learnt_is_named_with_its_line(
    tmp_path: Path, row: dict[str, object] | str, code: str
) -> None:
    with pytest.raises(DataRefused, match=rf":2: {code}"):
        load_records([write(tmp_path / "a.jsonl", PAIR, row)])


def test_demonstration_records_train_and_mark_the_run(tmp_path: Path) -> None:
    assert load_records([write(tmp_path / "a.jsonl", {**PAIR, "review": {"status": "demo"}})]).demo
    assert not load_records([write(tmp_path / "b.jsonl", PAIR)]).demo


def test_a_split_folder_brings_its_own_validation_set(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", PAIR)
    write(tmp_path / "validation.jsonl", PAIR)
    assert training_files([tmp_path]) == [tmp_path / "train.jsonl"]
    assert validation_files([], [tmp_path]) == [tmp_path / "validation.jsonl"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataRefused, match="none of"):
        training_files([tmp_path / "empty"])


def test_a_missing_file_is_a_clear_refusal(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match=r"nowhere\.jsonl"):
        load_records([tmp_path / "nowhere.jsonl"])


def test_the_model_reads_what_the_service_will_show_it(tmp_path: Path) -> None:
    """One prompt for training and serving; the think part stands before the answer and can be left out."""
    case = {"Question": "胸痛两小时", "Complex_CoT": "先排除急性冠脉综合征。", "Response": "请立即做心电图。"}
    record = load_records([write(tmp_path / "a.jsonl", {**case, "audience": "clinician"})]).records[0].record
    assert record is not None
    base = {"model_name_or_path": "b", "data_path": "d", "output_dir": "o", "department": "cardiology"}
    kept = conversation(record, TrainSettings.model_validate(base))
    assert kept[0]["role"] == "system"
    assert "心血管内科" in kept[0]["content"]
    assert "临床医生" in kept[0]["content"]
    assert kept[-1]["content"] == "<think>\n先排除急性冠脉综合征。\n</think>\n\n请立即做心电图。"
    dropped = conversation(record, TrainSettings.model_validate({**base, "think": "drop", "prompt": "plain"}))
    assert [m["role"] for m in dropped] == ["user", "assistant"]
    assert dropped[-1]["content"] == "请立即做心电图。"
