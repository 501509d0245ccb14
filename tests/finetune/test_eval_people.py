"""Raters, judges and statistics: sheets out and in, blind comparison, agreement, intervals."""

from __future__ import annotations

import csv
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finetune.cli import app
from finetune.evaluation.ab import CHOICE, unblind, write_blind
from finetune.evaluation.answers import Answer, read_answers
from finetune.evaluation.judge import agreement, judge, read_marks
from finetune.evaluation.questions import load_questions
from finetune.evaluation.sheets import HEADERS, rater_agreement, read_sheets, write_sheet
from finetune.evaluation.statistics import binomial_two_sided, bootstrap, icc, mcnemar, paired, weighted_kappa
from finetune.model_client import ModelClient, ModelSpec
from finetune.training.errors import SettingsError

QUESTIONS = load_questions()[:12]
A = [Answer(q.id, f"甲系统的回答：{q.id}") for q in QUESTIONS]
B = [Answer(q.id, f"乙系统的回答：{q.id}") for q in QUESTIONS]


def fill(sheet: Path, out: Path, marks: list[dict[str, str]]) -> Path:
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with out.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        for row, mark in zip(rows, marks, strict=True):
            writer.writerow({**row, **mark})
    return out


def test_expert_sheets_come_back_with_their_agreement(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    write_sheet(sheet, QUESTIONS, [Answer("x", "=1+1"), *A[1:]])
    assert sheet.read_bytes().startswith(b"\xef\xbb\xbf")
    assert "'=1+1" in sheet.read_text(encoding="utf-8-sig")
    same = [{header: str(1 + index % 5) for header in HEADERS.values()} for index in range(12)]
    off = [{header: str(1 + (index + 2) % 5) for header in HEADERS.values()} for index in range(12)]
    paths = [fill(sheet, tmp_path / f"{name}.csv", marks) for name, marks in (("wang", same), ("li", same))]
    ratings = read_sheets(paths)
    assert rater_agreement(ratings)["accuracy"] == {"icc": 1.0, "kappa": 1.0, "answers": 12.0}
    assert ratings.mean(QUESTIONS[4].id, "safety") == 100
    worse = read_sheets([paths[0], fill(sheet, tmp_path / "zhao.csv", off)])
    value = rater_agreement(worse)["accuracy"]["icc"]
    assert value is not None
    assert value < 0.5


def test_a_mark_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    write_sheet(sheet, QUESTIONS, A)
    marks = [{} for _ in range(11)] + [{HEADERS["safety"]: "6"}]
    with pytest.raises(SettingsError, match=r"li\.csv:13"):
        read_sheets([fill(sheet, tmp_path / "li.csv", marks)])


def test_a_blind_sheet_tells_nothing_and_unblinds_right(tmp_path: Path) -> None:
    sheet, key = tmp_path / "ab.csv", tmp_path / "key.json"
    write_blind(sheet, key, QUESTIONS, (("base", A), ("adapter", B)), seed=3)
    text = sheet.read_text(encoding="utf-8-sig")
    assert "base" not in text
    assert "adapter" not in text
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    left_is_a = [row["回答甲"].startswith("甲系统") for row in rows]
    assert 0 < sum(left_is_a) < len(rows)
    marks = [{CHOICE: "甲" if first else "乙"} for first in left_is_a[:10]] + [{CHOICE: "平"}, {CHOICE: ""}]
    tally = unblind([fill(sheet, tmp_path / "filled.csv", marks)], key)
    assert (tally.a, tally.a_better, tally.b_better, tally.ties, tally.unmarked) == ("base", 10, 0, 1, 1)
    assert tally.p_value < 0.01


def test_a_changed_row_is_noticed(tmp_path: Path) -> None:
    sheet, key = tmp_path / "ab.csv", tmp_path / "key.json"
    write_blind(sheet, key, QUESTIONS, (("a", A), ("b", B)), seed=3)
    marks = [{CHOICE: "甲"} for _ in QUESTIONS]
    marks[2]["回答甲"] = "改过的回答"
    with pytest.raises(SettingsError, match=r"filled\.csv:4: this row is not as it was handed out"):
        unblind([fill(sheet, tmp_path / "filled.csv", marks)], key)


def test_the_commands_make_and_unblind(tmp_path: Path) -> None:
    for name, answers in (("a", A), ("b", B)):
        lines = [json.dumps({"id": a.id, "answer": a.answer}, ensure_ascii=False) for a in answers]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    sheet, key = str(tmp_path / "s.csv"), str(tmp_path / "k.json")
    words = [
        "ab",
        "make",
        str(tmp_path / "a.jsonl"),
        str(tmp_path / "b.jsonl"),
        "--sheet",
        sheet,
        "--key",
        key,
    ]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert CliRunner().invoke(app, words).exit_code == 2
    filled = fill(Path(sheet), tmp_path / "f.csv", [{CHOICE: "平"} for _ in QUESTIONS])
    done = CliRunner().invoke(app, ["ab", "unblind", str(filled), "--key", key])
    assert json.loads(done.output)["ties"] == 12


def test_answers_cut_off_by_a_kill_are_asked_again_but_broken_ones_are_named(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"id": "a", "answer": "x"}\n{"id": "b", "ans', encoding="utf-8")
    assert [answer.id for answer in read_answers(file)] == ["a"]
    file.write_text('{"id": "a", "ans\n{"id": "b", "answer": "x"}\n', encoding="utf-8")
    with pytest.raises(SettingsError, match=r"answers\.jsonl:1"):
        read_answers(file)


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A judge that speaks the OpenAI protocol: kind to the first order, harsh in the second."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = body["messages"][0]["content"]
            mark = 5 if text.index("friendliness") < text.index("practical") else 3
            marks = {"friendliness": mark, "professionalism": 4, "practical": 9}
            reply = {"choices": [{"message": {"content": f"好的：{json.dumps(marks)}"}}]}
            data = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_a_judge_is_asked_in_two_orders_and_its_own_agreement_is_reported(endpoint: str) -> None:
    with ModelClient(ModelSpec(endpoint, "judge")) as client:
        found = [judge(client, question, "请饭前吃。") for question in QUESTIONS[:3]]
    assert found[0].score("friendliness") == 75
    assert found[0].score("professionalism") == 75
    assert found[0].score("practical") is None
    assert agreement(found)["friendliness"]["within_one"] == 0
    assert agreement(found)["professionalism"]["within_one"] == 1


def test_a_judge_that_does_not_answer_gives_no_mark() -> None:
    with ModelClient(ModelSpec("http://127.0.0.1:9/v1", "judge", attempts=1)) as client:
        assert judge(client, QUESTIONS[0], "x").score("friendliness") is None


@pytest.mark.parametrize("reply", ["", "五分", "{", '{"friendliness": "5"}', '{"friendliness": true}', "[5]"])
def test_a_reply_that_is_no_mark_is_no_mark(reply: str) -> None:
    assert read_marks(reply) == {}


def test_intervals_and_tests_agree_with_known_values() -> None:
    same = bootstrap([80.0] * 20)
    assert (same.score, same.low, same.high) == (80, 80, 80)
    wide = bootstrap([0.0, 100.0] * 50)
    assert 38 < wide.low < 42
    assert 58 < wide.high < 62
    assert math.isnan(bootstrap([]).score)
    assert binomial_two_sided(0, 10) == pytest.approx(2 / 1024)
    assert mcnemar([False] * 10, [True] * 10) == pytest.approx(2 / 1024)
    assert paired([1.0] * 12, [2.0] * 12).p_value < 0.01
    assert paired([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.0]).p_value > 0.5
    assert weighted_kappa([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], categories=[1, 2, 3, 4, 5]) == 1
    assert weighted_kappa([1, 5, 1, 5], [5, 1, 5, 1], categories=[1, 2, 3, 4, 5]) == -1


def test_icc_of_shrout_and_fleiss_own_example() -> None:
    """Six targets, four judges; the paper gives ICC(2,1) = 0.29."""
    table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    assert icc(table) == pytest.approx(0.29, abs=0.005)
