"""The evaluation report: JSON for machines, one HTML page with tables and charts that opens offline.

Owns the drawing. Charts are inline SVG; nothing is fetched.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.evaluation.scoring import MIN_ACCURACY, MIN_SAFETY, MIN_TOTAL, WEIGHTS
from finetune.training.report import page, table

_WIDTH, _ROW = 420, 26


def _x(value: float) -> float:
    """Where a score of 0-100 lies on the drawing."""
    return 150 + _WIDTH * max(0.0, min(100.0, value)) / 100


def bars(rows: Sequence[tuple[str, float, float, float]], bounds: Mapping[str, float] | None = None) -> str:
    """Horizontal bars 0-100 with interval whiskers; `bounds` draws the release bound of a row."""
    marks = bounds if bounds is not None else {}
    parts = []
    for index, (name, score, low, high) in enumerate(rows):
        top = index * _ROW + 4
        colour = "#1b6e3c" if score >= marks.get(name, 0.0) else "#b3261e"
        parts.append(f'<text x="144" y="{top + 14}" text-anchor="end">{html.escape(name)}</text>')
        parts.append(
            f'<rect x="150" y="{top}" width="{_x(score) - 150:.1f}" height="18" fill="{colour}" opacity=".75"/>'
        )
        parts.append(
            f'<line x1="{_x(low):.1f}" x2="{_x(high):.1f}" y1="{top + 9}" y2="{top + 9}" stroke="#1d2733"/>'
        )
        if name in marks:
            at = _x(marks[name])
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top - 2}" y2="{top + 20}" stroke="#1d2733" stroke-dasharray="3 2"/>'
            )
        parts.append(f'<text x="{160 + _WIDTH}" y="{top + 14}">{score:.1f}</text>')
    height = len(rows) * _ROW + 8
    return f'<svg viewBox="0 0 {_WIDTH + 230} {height}" role="img" font-size="13">{"".join(parts)}</svg>'


def write_reports(folder: Path, report: Mapping[str, Any]) -> Path:
    """`report.json` and `report.html` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
    path = folder / "report.html"
    path.write_text(page("Evaluation report", _body(report)), encoding="utf-8")
    return path


def _body(report: Mapping[str, Any]) -> str:
    gate = report["gate"]
    verdict = (
        "Release gate passed" if gate["passed"] else "Release gate not passed: " + "; ".join(gate["reasons"])
    )
    body = f'<p class="{"good" if gate["passed"] else "bad"}"><strong>{html.escape(verdict)}</strong></p>'
    body += f'<p class="note">Answers from {html.escape(str(report["answers_from"]))}, {report["questions"]} questions.</p>'
    body += _dimension_part(report) + _group_part(report) + _comparison_part(report) + _agreement_part(report)
    body += "<h2>Latency and length</h2>" + table([(k, v) for k, v in report["latency_and_length"].items()])
    return body + _failures_part(report)


def _dimension_part(report: Mapping[str, Any]) -> str:
    bounds = {"accuracy": MIN_ACCURACY, "safety": MIN_SAFETY, "total": MIN_TOTAL}
    values = {**report["dimensions"], "total": report["total"]}
    rows = [(name, value["score"], value["low"], value["high"]) for name, value in values.items()]
    text = "<h2>Dimensions</h2>" + bars(rows, bounds)
    cells = [
        (name, WEIGHTS.get(name, ""), f"{s:.2f}", f"{low:.2f} to {high:.2f}") for name, s, low, high in rows
    ]
    text += table(cells, ("dimension", "weight", "score", "95 % interval"))
    if report.get("choices"):
        text += "<h2>Multiple choice</h2>" + table(list(report["choices"].items()))
    return text


def _group_part(report: Mapping[str, Any]) -> str:
    text = ""
    for title, groups in (
        ("By department", report["by_department"]),
        ("By question type", report["by_type"]),
    ):
        rows = [
            (name, g["total"]["score"], g["total"]["low"], g["total"]["high"]) for name, g in groups.items()
        ]
        text += f"<h2>{title}</h2>" + bars(rows)
        header = ("group", "questions", "total", "accuracy", "safety")
        text += table(
            [
                (n, g["count"], g["total"]["score"], g["accuracy"]["score"], g["safety"]["score"])
                for n, g in groups.items()
            ],
            header,
        )
    return text


def _comparison_part(report: Mapping[str, Any]) -> str:
    comparison = report.get("comparison")
    if not comparison:
        return ""
    rows = [
        (name, f"{c['difference']:+.2f}", f"{c['low']:+.2f} to {c['high']:+.2f}", f"{c['p_value']:.4f}")
        for name, c in comparison.items()
    ]
    return "<h2>Against the baseline, same questions</h2>" + table(
        rows, ("", "difference", "95 % interval", "p")
    )


def _agreement_part(report: Mapping[str, Any]) -> str:
    text = ""
    for title, key in (("Judge: agreement of its two orders", "judge"), ("Experts: agreement", "experts")):
        found = report.get(key)
        if found:
            text += f"<h2>{title}</h2>" + table(
                [(name, *values.values()) for name, values in found.items()],
                ("dimension", *next(iter(found.values()))),
            )
    return text


def _failures_part(report: Mapping[str, Any]) -> str:
    rows = []
    for item in report["items"]:
        unsafe = list(item["violations"]) + [f"missing: {gap}" for gap in item["unchecked"]]
        wrong = [f"missing: {gap}" for gap in item["missing"]] + [
            f"forbidden: {bad}" for bad in item["forbidden"]
        ]
        wrong += [f"unsupported: {bad}" for bad in item["unsupported"]]
        if unsafe or wrong:
            rows.append((item["id"], item["total"], "; ".join(unsafe), "; ".join(wrong)))
    return "<h2>Every question that lost points</h2>" + table(
        rows, ("question", "total", "safety", "accuracy")
    )
