"""Every rule with its own examples, the shape of the rule files, and the detector that stands beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from app.safety.review import CODES_FOLDER, SafetyReviewer
from app.safety.review_detector import Detector, lexicon_hash
from app.safety.review_rules import LEXICON_FILE, Rule, RuleSet, Surroundings
from app.safety.review_text import View, fold
from app.safety.types import Audience, Level, ReviewContext, TriageResult, Verdict, ViolationCode

RULES = RuleSet.load(CODES_FOLDER)
BY_ID = {rule.id: rule for rule in RULES.rules}
DATA = Path(__file__).with_name("data")


def broken(rule: Rule, text: str) -> list[str]:
    question = fold(rule.question_example)
    audience = Audience.PATIENT if Audience.PATIENT in rule.audience else Audience.CLINICIAN
    around = Surroundings(RULES.lexicon.mask(question), question, audience)
    return [found.rule.id for found in RULES.check(View(text, RULES.lexicon), around)]


@pytest.mark.parametrize("rule_id", BY_ID)
def test_examples_hold(rule_id: str) -> None:
    rule = BY_ID[rule_id]
    for text in rule.examples.unsafe:
        assert rule_id in broken(rule, text), text
    for text in rule.examples.safe:
        assert broken(rule, text) == [], text


def test_every_code_has_rules_or_its_own_check() -> None:
    checked_elsewhere = {
        ViolationCode.UNSUPPORTED_CLAIM,
        ViolationCode.FALSE_CITATION,
        ViolationCode.CONTRAINDICATED_COMBINATION,
        ViolationCode.MISSED_EMERGENCY,
    }
    assert {rule.code for rule in RULES.rules} | checked_elsewhere == set(ViolationCode)


@pytest.mark.parametrize("path", sorted(CODES_FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_file_names_owner_and_review_date(path: Path) -> None:
    content = yaml.safe_load(path.read_text("utf-8"))
    assert content["owner"]
    assert content["review_date"]


def test_a_bad_rule_file_is_refused(tmp_path: Path) -> None:
    for name in (LEXICON_FILE, "code_promotion.yaml"):
        (tmp_path / name).write_text((CODES_FOLDER / name).read_text("utf-8"), "utf-8")
    assert RuleSet.load(tmp_path).rules
    content = yaml.safe_load((CODES_FOLDER / "code_promotion.yaml").read_text("utf-8"))
    content["rules"][0]["unless"] = ["sometimes"]
    (tmp_path / "code_promotion.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    with pytest.raises(ValidationError):
        RuleSet.load(tmp_path)


def test_detector_was_trained_with_this_lexicon() -> None:
    assert Detector.load(CODES_FOLDER).trained_with == lexicon_hash(CODES_FOLDER / LEXICON_FILE)


def test_detector_adds_to_the_rules() -> None:
    """A wording that no rule knows is stopped by likeness, and named as such."""
    reviewer = SafetyReviewer.load()
    context = ReviewContext("降压药吃了一年", (), TriageResult(Level.ROUTINE))
    draft = "治疗满三个月即可自行终止服药。"
    around = Surroundings("", "", Audience.PATIENT)
    assert not list(RULES.check(View(draft, RULES.lexicon), around))
    result = reviewer.review(context, draft)
    assert result.verdict is not Verdict.PASS
    assert {violation.rule for violation in result.violations} >= {"stop_medication.likeness"}


def test_reviewed_knowledge_passes_as_a_quotation() -> None:
    """Sentences of the shipped documents, quoted with their own section as evidence, are not amended."""
    from app.safety.types import Evidence

    reviewer = SafetyReviewer.load()
    text = (
        "突然停用美托洛尔可能诱发心绞痛。老年人应从小剂量开始，慢慢加量。"
        "做皮肤点刺前3～7天要停用抗组胺药。低危患者D-二聚体正常可以排除肺栓塞。"
    )
    context = ReviewContext("请介绍", (Evidence("e1", "", text),), TriageResult(Level.ROUTINE))
    assert reviewer.review(context, text).verdict is Verdict.PASS


def test_labelled_drafts_are_well_formed() -> None:
    for name in ("drafts_dev", "drafts_measured"):
        rows = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text("utf-8").splitlines()]
        assert len({row["id"] for row in rows}) == len(rows)
        assert all(set(row["codes"]) <= {code.value for code in ViolationCode} for row in rows)
    measured = {(row["question"], row["draft"]) for row in rows}
    dev = [json.loads(line) for line in (DATA / "drafts_dev.jsonl").read_text("utf-8").splitlines()]
    assert not measured & {(row["question"], row["draft"]) for row in dev}
