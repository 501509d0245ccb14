"""The whole path an engineer walks, with the real commands: data, checks, split, QLoRA, evaluation, merge, export, vLLM.

On a tiny Qwen2: what it proves is that every step reads what the one before wrote, and that the adapter trained here
answers in a real vLLM what it was trained to answer.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("vllm")

from app.chat.prompts import system_prompt  # noqa: E402
from app.safety.types import Audience  # noqa: E402
from tests.models.serving_stack import BASE, RealVllm  # noqa: E402
from tests.models.tiny import CORPUS, small_tokenizer, write_qwen2  # noqa: E402

pytestmark = pytest.mark.models
torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
TOPICS = ("阿司匹林", "氯吡格雷", "美托洛尔", "硝酸甘油", "阿托伐他汀", "单硝酸异山梨酯")
ASKED = "硝酸甘油"


def question(topic: str) -> str:
    return f"我爸爸每天都在吃{topic}，请问{topic}应当放在家里哪里保存？"


def answer(topic: str) -> str:
    return f"{topic}请放在阴凉干燥处，如有疑问请问药师。"


def finetune(*words: str, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "finetune", *words]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{' '.join(words)}\n{done.stdout[-1500:]}\n{done.stderr[-2500:]}"
    return done.stdout


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    texts = [
        *CORPUS,
        *(question(t) + answer(t) for t in TOPICS),
        *([system_prompt("cardiology", Audience.PATIENT)] * 3),
    ]
    write_qwen2(folder / "base", small_tokenizer(texts, vocab=1200), hidden=128, positions=6144)
    review = {"status": "demo"}
    rows = [
        {
            "id": topic,
            "instruction": question(topic),
            "input": "",
            "output": answer(topic),
            "department": "cardiology",
            "source": "说明书",
            "disease": "冠心病",
            "review": review,
        }
        for topic in TOPICS
    ]
    write(folder / "raw.jsonl", rows)
    return folder


def test_from_raw_pairs_to_an_answer_of_a_served_adapter(work: Path) -> None:
    # data: checked, then divided (so few records are divided leave-one-out: the fold that keeps the asked topic)
    finetune("data", "check", str(work / "raw.jsonl"))
    finetune(
        *("data", "split", str(work / "raw.jsonl"), "--out", str(work / "split")),
        *("--seed", "3", "--no-embeddings", "--group-twins"),
    )
    training = _fold_with(work, ASKED)

    # QLoRA with the command the issue names
    out = work / "out"
    finetune(
        "train",
        *("--model_name_or_path", str(work / "base"), "--data_path", str(training), "--output_dir", str(out)),
        *("--department", "cardiology", "--method", "qlora", "--lora_r", "16", "--lora_alpha", "32"),
        *("--lora_dropout", "0", "--learning_rate", "1e-2", "--max_steps", "110", "--eval_steps", "110"),
        *("--gradient_accumulation_steps", "6", "--early_stopping_patience", "0", "--max_length", "512"),
        *("--bf16", "false", "--warmup_ratio", "0"),
    )
    run = json.loads((out / "run.json").read_text())
    assert run["method"] == "qlora"
    assert run["demo"] is True

    # evaluation of the local weights: it runs, tells what it sees, and a model that knows nothing else fails the gate
    items = [_item(ASKED)]
    write(work / "questions.jsonl", items)
    base, adapter = str(work / "base"), str(out / "adapter")
    finetune(
        *("evaluate", "--out", str(work / "report"), "--model_name_or_path", base, "--adapter", adapter),
        *("--questions", str(work / "questions.jsonl"), "--evidence", "none", "--max_tokens", "60"),
        code=1,
    )
    report = json.loads((work / "report" / "report.json").read_text())
    assert report["dimensions"]["accuracy"]["count"] > 1  # the question and the multiple-choice items
    assert report["items"][0]["missing"] == []
    assert "forgetting" in report

    # merged logits equal base + adapter (checked by the command), exported with its card
    told = finetune(
        "merge", "--base", base, "--adapter", adapter, "--out", str(work / "merged"), "--dtype", "float32"
    )
    assert "largest logit difference" in told
    exported = work / "cardiology-v1"
    finetune(
        *("export", adapter, str(exported), "--version", "cardiology-v1"),
        *("--evaluation", str(work / "report" / "report.json")),
    )
    assert "development only" in (exported / "README.md").read_text()

    # served by real vLLM under its version name
    text = _served(work, exported)
    assert text == answer(ASKED)


def _fold_with(work: Path, topic: str) -> Path:
    """The split's folder whose training set holds the topic."""
    candidates = [work / "split", *sorted((work / "split").glob("fold-*"))]
    for folder in candidates:
        file = folder / "train.jsonl"
        if file.exists() and any(json.loads(line)["id"] == topic for line in file.read_text().splitlines()):
            return folder
    raise AssertionError(f"no fold trains on {topic}: {sorted(p.name for p in (work / 'split').iterdir())}")


def _item(topic: str) -> dict[str, Any]:
    return {
        "id": "e2e",
        "department": "cardiology",
        "type": "medication",
        "question": question(topic),
        "must_say": [["阴凉干燥"], ["药师"]],
        "must_not_say": ["放在浴室"],
        "reference": ["car-024"],
    }


def _served(work: Path, exported: Path) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = RealVllm(work / "base", port, work / "vllm.log")
    server.start()
    try:
        server.wait()
        with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:
            loaded = client.post(
                "/v1/load_lora_adapter", json={"lora_name": "cardiology-v1", "lora_path": str(exported)}
            )
            assert loaded.status_code == 200, loaded.text
            messages = [
                {"role": "system", "content": system_prompt("cardiology", Audience.PATIENT)},
                {"role": "user", "content": question(ASKED)},
            ]
            body = {"messages": messages, "temperature": 0, "max_tokens": 60}
            reply = client.post("/v1/chat/completions", json={**body, "model": "cardiology-v1"})
            before = client.post("/v1/chat/completions", json={**body, "model": BASE})
            assert before.json()["choices"][0]["message"]["content"] != answer(ASKED)
            return str(reply.json()["choices"][0]["message"]["content"]).strip()
    finally:
        server.kill()
