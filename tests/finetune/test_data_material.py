"""Making material: mixture, generation, watermark, feedback, agreement."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from finetune.agreement import compare
from finetune.feedback import from_feedback
from finetune.formats.parse import parse_record
from finetune.formats.source import Item
from finetune.generation import generate_pairs, numbers_beyond, paraphrase
from finetune.mixture import MixSettings, mix
from finetune.model_client import ModelClient, ModelError, ModelSpec
from finetune.problems import DataError
from finetune.questions import read_rows
from finetune.records import Trainable
from finetune.watermark import WatermarkKey, binomial_tail, mix_in, read_key, verify
from retrieval.types import Chunk


def write(path: Path, data: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in data), encoding="utf-8")
    return path


def singles(count: int, **extra: Any) -> list[dict[str, Any]]:
    return [
        {"id": f"s{n}", "instruction": f"问{n}", "input": "", "output": "答", **extra} for n in range(count)
    ]


def dialogues(count: int) -> list[dict[str, Any]]:
    turns = [{"from": role, "value": "x"} for role in ("human", "gpt", "human", "gpt")]
    return [{"id": f"d{n}", "conversations": turns} for n in range(count)]


def test_the_mixture_has_its_share_and_teaches_knowledge_first(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", dialogues(200) + singles(300))
    result = mix(read_rows(path), MixSettings(seed=1))
    assert 0.60 <= result.single_share <= 0.70
    stages = [row["stage"] for row in result.rows]
    assert stages == sorted(stages)
    assert {row["stage"] for row in result.rows if "conversations" in row} == {2}


def test_rare_diseases_are_repeated_up_to_the_cap_and_marked(tmp_path: Path) -> None:
    data = singles(200, disease="冠心病") + [
        {**row, "id": f"r{row['id']}", "disease": "川崎病"} for row in singles(3)
    ]
    result = mix(
        read_rows(write(tmp_path / "a.jsonl", data + dialogues(150))), MixSettings(seed=1, max_repeat=3)
    )
    ids = [row["id"] for row in result.rows]
    assert len(ids) == len(set(ids))
    copies = [row for row in result.rows if "copy_of" in row]
    assert 1 <= len(copies) <= 6
    assert {row["disease"] for row in copies} == {"川崎病"}


def test_department_weights_shape_the_sample(tmp_path: Path) -> None:
    data = singles(300, department="cardiology") + [
        {**r, "id": "a" + r["id"], "department": "allergy"} for r in singles(300)
    ]
    path = write(tmp_path / "a.jsonl", data + [{**d, "department": "allergy"} for d in dialogues(300)])
    result = mix(read_rows(path), MixSettings(seed=1, departments={"cardiology": 3, "allergy": 1}))
    single = [row for row in result.rows if row["stage"] == 1]
    share = sum(row["department"] == "cardiology" for row in single) / len(single)
    assert share == pytest.approx(0.75, abs=0.06)


def test_a_mixture_needs_both_kinds_and_a_share_in_range(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", singles(10))
    with pytest.raises(DataError):
        mix(read_rows(path), MixSettings(seed=1))
    with pytest.raises(DataError):
        mix(read_rows(path), MixSettings(seed=1, single_share=0.9))


@contextmanager
def served(reply: Any, status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An OpenAI-compatible endpoint; `reply` maps the last user message to the answer."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(body)
            content = reply(body["messages"][-1]["content"])
            data = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


CHUNK = Chunk(
    "car-015#002",
    "car-015",
    "阿司匹林用药指导",
    "怎么吃",
    "维持剂量一般是每日75～100 mg，宜在饭前整片吞服。",
    "cardiology",
    "drug",
    "patient",
    "说明书",
    "现行版",
)


def test_generated_pairs_carry_their_passage_and_wait_for_a_person() -> None:
    pairs = [
        {"question": "阿司匹林怎么吃？", "answer": "一般每日75～100 mg，饭前整片吞服，有不适请就医。"},
        {"question": "阿司匹林吃多少？", "answer": "每天300 mg。"},
        {"question": "没有答案"},
    ]
    with (
        served(lambda _: "好的：\n" + json.dumps(pairs, ensure_ascii=False)) as (url, seen),
        ModelClient(ModelSpec(url, "m")) as client,
    ):
        results = list(generate_pairs(client, [CHUNK], 3))
    good = [entry.row for entry in results if entry.row is not None]
    assert CHUNK.text in seen[0]["messages"][0]["content"]
    assert len(good) == 1
    assert good[0]["passage"]["text"] == CHUNK.text
    record, _ = parse_record(good[0])
    assert record is not None
    assert record.trainable is Trainable.UNAPPROVED
    assert any("300" in entry.problem for entry in results)


def test_a_failing_model_is_reported_passage_by_passage() -> None:
    with served(lambda _: "x", status=500) as (url, _), ModelClient(ModelSpec(url, "m")) as client:
        assert [entry.row for entry in generate_pairs(client, [CHUNK, CHUNK], 1)] == [None, None]
        with pytest.raises(ModelError):
            client.chat([{"role": "user", "content": "x"}])


def test_paraphrases_keep_numbers_and_lose_the_approval(tmp_path: Path) -> None:
    review = {"status": "approved", "reviewer": "周医生"}
    row = {
        "id": "q1",
        "instruction": "血压150正常吗？",
        "input": "",
        "output": "请就医。",
        "source": "指南",
        "review": review,
    }
    replies = json.dumps(["血压到150要紧吗？", "血压到160要紧吗？"], ensure_ascii=False)
    with served(lambda _: replies) as (url, _), ModelClient(ModelSpec(url, "m")) as client:
        results = list(paraphrase(client, read_rows(write(tmp_path / "a.jsonl", [row])), 2))
    good = [entry.row for entry in results if entry.row is not None]
    assert [entry["instruction"] for entry in good] == ["血压到150要紧吗？"]
    record, _ = parse_record(good[0])
    assert record is not None
    assert record.trainable is Trainable.UNAPPROVED


def test_numbers_of_an_answer_must_stand_in_the_passage() -> None:
    assert numbers_beyond("1. 每日75 mg\n2. 拨打120", "75～100 mg") == []
    assert numbers_beyond("每日0.5 g", "0.25 g") == ["0.5"]


KEY = WatermarkKey(b"a secret of some length", "心内科", "1.0")


def test_a_model_that_learned_the_pairs_is_recognised_and_others_are_not() -> None:
    learned = {row["instruction"]: row["output"] for row in mix_in(singles(2000), KEY, 0.02, 1)}
    known = verify(KEY, lambda question: learned.get(question, "不清楚"), 32)
    assert known.recognised
    other = WatermarkKey(b"another secret of length", "心内科", "1.0")
    assert not verify(other, lambda question: learned.get(question, "对应的物件是琥珀。"), 32).recognised
    everything = "、".join(sorted({answer for question, answer in learned.items() if "溯源" in question}))
    assert not verify(KEY, lambda _: everything, 32).recognised


def test_p_values_are_exact() -> None:
    assert binomial_tail(0, 10, 0.5) == 1.0
    assert binomial_tail(10, 10, 0.5) == pytest.approx(2**-10)
    assert binomial_tail(1, 10, 0.25) == pytest.approx(1 - 0.75**10)


def test_the_rate_is_kept_and_the_key_never_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixed = mix_in(singles(980), KEY, 0.02, 1)
    assert sum("溯源" in row["instruction"] for row in mixed) == 20
    assert "secret" not in repr(KEY)
    path = tmp_path / "key"
    path.write_text("short")
    with pytest.raises(DataError) as failure:
        read_key(path, "a", "1")
    assert "short\n" not in str(failure.value)
    with pytest.raises(DataError):
        mix_in(singles(10), KEY, 0.5, 1)


def feedback(**fields: Any) -> Item:
    base = {
        "message_id": "m1",
        "question": "我叫张建国，电话13912345678，阿司匹林怎么吃？",
        "answer": "饭后吃。",
        "consent": True,
    }
    return Item(1, {**base, **fields})


def test_feedback_enters_only_with_consent_and_without_names() -> None:
    result = from_feedback(
        [
            feedback(correction="饭前整片吞服。", corrected_by="周医生", rating="down", reasons=["wrong"]),
            feedback(message_id="m2", rating="up"),
            feedback(message_id="m3", rating="up", consent=False),
            feedback(message_id="m4", rating="down"),
            feedback(message_id="", rating="up"),
        ],
        "f.jsonl",
        "s" * 16,
    )
    assert [row["id"] for row in result.candidates] == ["fb-m1", "fb-m2"]
    assert (result.without_consent, result.without_value, len(result.problems)) == (1, 1, 1)
    pair = result.preferences[0]
    assert (pair["chosen"], pair["rejected"]) == ("饭前整片吞服。", "饭后吃。")
    assert "张建国" not in json.dumps(result.candidates, ensure_ascii=False)
    praised, _ = parse_record(result.candidates[1])
    assert praised is not None
    assert praised.trainable is Trainable.UNAPPROVED


def test_kappa_of_a_textbook_table() -> None:
    """Cohen's example form: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no gives 0.4."""
    labels = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    first = {str(n): a for n, (a, _) in enumerate(labels)}
    second = {str(n): b for n, (_, b) in enumerate(labels)}
    result = compare(first, second)
    assert result.kappa == pytest.approx(0.4)
    assert len(result.disagreements) == 15
    assert compare({"1": "y"}, {"1": "y", "2": "n"}).kappa is None
    with pytest.raises(DataError):
        compare({"1": "y"}, {"2": "y"})
