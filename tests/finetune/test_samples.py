"""The sample data that is shipped: it passes the checks an engineer's data must pass, and there is enough of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finetune.cli import app

SAMPLES = Path(__file__).parents[2] / "finetune" / "samples"
DEPARTMENTS = ("allergy", "cardiology", "general", "stroke_rehab")
LEAST = {"alpaca": 150, "dialogues": 40, "reasoning": 60}
FILES = sorted(SAMPLES.glob("*/*.jsonl"))


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_every_department_has_its_files() -> None:
    wanted = {f"{department}/{kind}" for department in DEPARTMENTS for kind in ("alpaca", "dialogues")}
    assert {name_of(path) for path in FILES} == wanted | {"general/reasoning"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_samples_pass_the_checks_and_carry_the_mark(path: Path) -> None:
    outcome = CliRunner().invoke(app, ["data", "check", str(path), "--json"])
    found = json.loads(outcome.stdout)
    assert found["errors"] == []
    assert outcome.exit_code == 0
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= LEAST[path.stem]
    assert {row["review"]["status"] for row in rows} == {"demo"}
