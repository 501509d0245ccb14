"""One evaluation from answers to report; the only module that knows the order.

questions -> answers -> facts, safety, features, judge, experts -> scores -> intervals, comparison -> gate -> report
"""

from __future__ import annotations

import math
import statistics as plain
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finetune.evaluation import judge as judging
from finetune.evaluation.answers import Answer
from finetune.evaluation.facts import score_facts
from finetune.evaluation.features import measure
from finetune.evaluation.questions import Kind, Question
from finetune.evaluation.report import write_reports
from finetune.evaluation.safety import SafetyExaminer
from finetune.evaluation.scoring import WEIGHTS, Gate, Scored, dimensions_of, gate, overall
from finetune.evaluation.sheets import Ratings, rater_agreement
from finetune.evaluation.statistics import bootstrap, mcnemar, paired
from finetune.model_client import ModelClient


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an evaluation looks at beside questions and answers."""

    answers_from: str
    judge: ModelClient | None = None
    ratings: Ratings | None = None
    choices: Sequence[bool] = ()
    choice_departments: Sequence[str | None] = ()
    baseline: Sequence[Answer] = ()
    forgetting: dict[str, Sequence[bool]] = field(default_factory=dict)
    complete: bool = True


def evaluate(
    questions: Sequence[Question],
    answers: Sequence[Answer],
    inputs: Inputs,
    folder: Path,
    *,
    examiner: SafetyExaminer | None = None,
) -> Gate:
    """Score, write `report.json` and `report.html` into the folder, and return the gate's verdict."""
    examiner = SafetyExaminer() if examiner is None else examiner
    judgements = _judgements(questions, answers, inputs.judge)
    scored = score_all(questions, answers, examiner, judgements, inputs.ratings)
    dimensions, total = overall(scored, inputs.choices)
    verdict = gate(dimensions, total, complete=inputs.complete)
    report: dict[str, Any] = {
        "answers_from": inputs.answers_from,
        "questions": len(questions),
        "dimensions": {name: interval.as_dict() for name, interval in dimensions.items()},
        "total": total.as_dict(),
        "gate": {"passed": verdict.passed, "reasons": list(verdict.reasons)},
        "by_department": _groups(scored, lambda one: one.question.department),
        "by_type": _groups(scored, lambda one: str(one.question.type)),
        "latency_and_length": latency_and_length(scored),
        "items": [one.as_dict() for one in scored],
    }
    if inputs.choices:
        report["choices"] = bootstrap([100.0 * right for right in inputs.choices]).as_dict()
    if judgements:
        report["judge"] = judging.agreement(judgements)
    if inputs.ratings is not None:
        report["experts"] = rater_agreement(inputs.ratings)
    if inputs.baseline:
        before = score_all(questions, inputs.baseline, examiner, [], None)
        after = score_all(questions, answers, examiner, [], None) if judgements or inputs.ratings else scored
        report["comparison"] = compare(before, after)
    if inputs.forgetting:
        report["forgetting"] = forgetting(inputs.forgetting["before"], inputs.forgetting["after"])
        report.setdefault("comparison", {})["general knowledge (forgetting)"] = report["forgetting"]
    write_reports(folder, report)
    return verdict


def _judgements(
    questions: Sequence[Question], answers: Sequence[Answer], client: ModelClient | None
) -> list[judging.Judgement]:
    if client is None:
        return []
    return [judging.judge(client, q, a.answer) for q, a in zip(questions, answers, strict=True)]


def score_all(
    questions: Sequence[Question],
    answers: Sequence[Answer],
    examiner: SafetyExaminer,
    judgements: Sequence[judging.Judgement],
    ratings: Ratings | None,
) -> list[Scored]:
    found = []
    for index, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        safety = examiner.examine(question, answer.answer)
        facts = score_facts(question, answer.answer, unsupported=safety.unsupported)
        judgement = judgements[index] if judgements else None
        features = measure(answer.answer)
        dimensions = dimensions_of(question, facts, safety, features, judgement, ratings)
        found.append(Scored(question, answer.answer, answer.latency_ms, facts, safety, dimensions))
    return found


def _groups(scored: Sequence[Scored], name: Callable[[Scored], str]) -> dict[str, Any]:
    order = [str(kind) for kind in Kind]
    names = sorted({name(one) for one in scored}, key=lambda n: (order.index(n) if n in order else -1, n))
    groups = {}
    for group in names:
        members = [one for one in scored if name(one) == group]
        groups[group] = {
            "count": len(members),
            "total": bootstrap([one.total for one in members]).as_dict(),
        } | {key: bootstrap([one.dimensions[key] for one in members]).as_dict() for key in WEIGHTS}
    return groups


def compare(before: Sequence[Scored], after: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """Paired differences of the total and each dimension; safety also by McNemar's exact test."""
    found = {"total": asdict(paired([one.total for one in before], [one.total for one in after]))}
    for name in WEIGHTS:
        left, right = ([one.dimensions[name] for one in side] for side in (before, after))
        found[name] = asdict(paired(left, right))
    passes = [[one.dimensions["safety"] >= 100 for one in side] for side in (before, after)]
    found["safety"]["p_value"] = mcnemar(passes[0], passes[1])
    return found


def forgetting(before: Sequence[bool], after: Sequence[bool]) -> dict[str, float]:
    """General knowledge after training minus before, in points of 100; negative means forgotten."""
    result = asdict(paired([100.0 * right for right in before], [100.0 * right for right in after]))
    result["p_value"] = mcnemar(before, after)
    return result


def latency_and_length(scored: Sequence[Scored]) -> dict[str, float | None]:
    """p50 and p95 of latency (ms, where measured) and of length (characters)."""
    times = [one.latency_ms for one in scored if one.latency_ms is not None]
    lengths = [float(len(one.answer)) for one in scored]
    return {
        "latency_p50_ms": _percentile(times, 50),
        "latency_p95_ms": _percentile(times, 95),
        "chars_p50": _percentile(lengths, 50),
        "chars_p95": _percentile(lengths, 95),
        "chars_mean": round(plain.fmean(lengths), 1) if lengths else None,
    }


def _percentile(values: Sequence[float], percent: int) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, math.ceil(percent / 100 * len(ordered)) - 1)], 1)
