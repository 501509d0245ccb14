"""The rule files as a department edits them: examples hold, bad files change nothing, differences are shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.safety.rules_cli import differences, failed_examples, rules_app
from app.safety.triage import TriageEngine
from app.safety.triage_rulebook import RULES_FOLDER, RuleFileError, load_rulebook
from app.safety.triage_semantic import DETECTOR_FILE
from app.safety.types import Level

DEPARTMENTS = {"common", "cardiology", "allergy", "stroke_rehab", "general"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "rules"
    shutil.copytree(RULES_FOLDER, target)
    return target


def test_every_rule_does_what_its_examples_say() -> None:
    assert failed_examples(TriageEngine.load(embed=None, semantic=False)) == []


def test_every_department_owns_rules_with_source_and_review_date() -> None:
    book = load_rulebook()
    assert set(book.departments.values()) == DEPARTMENTS
    assert all(rule.source.title and rule.review_date and rule.owner for rule in book.rules)


def test_a_bad_file_keeps_the_last_good_version_and_raises_the_alarm(folder: Path) -> None:
    alarms: list[str] = []
    engine = TriageEngine.load(folder, alarm=alarms.append, embed=None, semantic=False)
    version = engine.version
    (folder / "cardiology.yaml").write_text("kind: triage\nrules: [", encoding="utf-8")
    assert engine.reload() is False
    assert engine.version == version
    assert "cardiology.yaml" in alarms[0]
    assert engine.assess("我爸胸口压着疼，一身冷汗").level is Level.EMERGENCY


def test_a_good_change_takes_effect_on_reload(folder: Path) -> None:
    engine = TriageEngine.load(folder, embed=None, semantic=False)
    assert engine.assess("右脚大拇趾突突地跳").level is Level.ROUTINE
    (folder / "zz_local.yaml").write_text(
        """
kind: findings
findings:
  toe_throbs: {label: 脚趾跳痛, words: 大拇趾突突地跳}
""",
        encoding="utf-8",
    )
    (folder / "zz_rules.yaml").write_text(
        """
kind: triage
department: general
rules:
  - id: local.toe
    category: general
    level: urgent
    owner: general
    source: {title: 本科室约定, year: 2026}
    review_date: 2026-11-22
    when: toe_throbs
    examples: {positive: [大拇趾突突地跳], negative: [脚趾甲怎么剪]}
""",
        encoding="utf-8",
    )
    assert engine.reload() is True
    assert engine.assess("右脚大拇趾突突地跳").rules == ("local.toe",)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("cardiology.yaml", "all: [chest_severe", "all: [chest_unheard_of"),
        ("cardiology.yaml", "level: emergency", "level: frightening"),
        ("cardiology.yaml", "category: acs", "category: unknown_category"),
        ("findings_circulation.yaml", "- chest _8 pain", "- chest_nowhere _8 pain"),
    ],
)
def test_unknown_names_are_refused(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RuleFileError):
        load_rulebook(folder)


def test_a_damaged_detector_is_refused_and_the_last_good_one_stays(folder: Path) -> None:
    alarms: list[str] = []
    engine = TriageEngine.load(folder, alarm=alarms.append, embed=None)
    text = "老爷子忽然整个人不对头，筷子在手里乱晃，嘴里乌里哇啦的谁也听不清他要啥"
    before = engine.assess(text)
    (folder / DETECTOR_FILE).write_bytes(b"PK\x03\x04 cut short")
    assert engine.reload() is False
    assert "not a detector" in alarms[0]
    assert engine.assess(text) == before
    with pytest.raises(ValueError, match="not a detector"):
        TriageEngine.load(folder)


def test_a_detector_that_is_missing_is_refused_rather_than_left_out(folder: Path) -> None:
    (folder / DETECTOR_FILE).unlink()
    with pytest.raises(ValueError, match="anxin rules build"):
        TriageEngine.load(folder)
    assert TriageEngine.load(folder, embed=None, semantic=False).assess("我不想活了").level is Level.EMERGENCY


def test_new_messages_without_training_are_reported(folder: Path) -> None:
    line = {"text": "一句新写的话", "level": "routine", "category": "other", "trick": "plain"}
    with (folder / "messages" / "development.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")
    outcome = CliRunner().invoke(rules_app, ["check", "--folder", str(folder)])
    assert outcome.exit_code == 1
    assert "anxin rules build" in outcome.output


def test_diff_names_what_a_reviewer_must_look_at(folder: Path) -> None:
    path = folder / "cardiology.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("weight: 8", "weight: 9", 1), encoding="utf-8")
    assert differences(load_rulebook(), load_rulebook(folder)) == ["~ rule aortic.tearing: weight"]


def test_commands_report_and_exit_by_what_they_find(folder: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(rules_app, ["check", "--folder", str(folder)]).exit_code == 0
    explained = runner.invoke(rules_app, ["explain", "没有胸痛，就是头晕", "--no-semantic"])
    assert "chest_pain" in explained.output
    assert "[negated]" in explained.output
    (folder / "common.yaml").write_text("kind: triage", encoding="utf-8")
    broken = runner.invoke(rules_app, ["check", "--folder", str(folder)])
    assert broken.exit_code == 1
