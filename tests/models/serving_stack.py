"""Real vLLM servers on the CPU with a tiny Qwen2, and the adapters the serving tests use.

The model environment's Python is `ANXIN_MODELS_PYTHON`, by default the one that runs the tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
from safetensors.numpy import save_file

from app.settings import ROOT

PYTHON = os.environ.get("ANXIN_MODELS_PYTHON", sys.executable)
BASE = "tiny-qwen2"
CONTEXT = 6144
MAX_RANK = 16
START_S = 600
STEPS = 400


def run_in_models(*words: str) -> str:
    """Runs a module of the tests in the models environment; its output."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [PYTHON, "-m", *words], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def write_base(folder: Path, texts: Path) -> Path:
    """A tiny Qwen2 whose tokenizer was made from `texts` (a file), so that Chinese needs about a token a character."""
    code = (
        "from pathlib import Path; from tests.models.tiny import small_tokenizer, write_qwen2; "
        f"lines = Path({str(texts)!r}).read_text().splitlines(); "
        f"write_qwen2(Path({str(folder)!r}), small_tokenizer(lines, vocab=3000), positions={CONTEXT})"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [PYTHON, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def train(
    base: Path, messages: list[dict[str, str]], answer: str, out: Path, *, ends: bool = True, rank: int = 8
) -> str:
    """An adapter that answers `messages` with `answer`; without an end the model goes on in the same way."""
    conversation = out.parent / f"{out.name}.json"
    conversation.write_text(json.dumps({"messages": messages, "answer": answer, "ends": ends}))
    told = run_in_models(
        "tests.models.train_sentence", str(base), str(conversation), str(out), str(rank), str(STEPS)
    )
    config = json.loads((out / "adapter_config.json").read_text())
    (out / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": BASE}))
    return told


def write_wide(base: Path, out: Path, *, rank: int) -> None:
    """An adapter of the right shape whose rank is above the servers' maximum."""
    hidden = json.loads((base / "config.json").read_text())["hidden_size"]
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    weights = {"A": np.ones((rank, hidden), np.float32), "B": np.ones((hidden, rank), np.float32)}
    out.mkdir()
    save_file({f"{key}{side}.weight": w for side, w in weights.items()}, out / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": ["q_proj"],
        "bias": "none",
    }
    (out / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": BASE}))


@dataclass
class RealVllm:
    """One vLLM process. `start` returns at once; `wait` until it answers."""

    base: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        env = {
            **os.environ,
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
        }
        command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.base)]
        options = {
            "served-model-name": BASE,
            "host": "127.0.0.1",
            "port": self.port,
            "dtype": "float32",
            "max-model-len": CONTEXT,
            "max-lora-rank": MAX_RANK,
            "max-loras": 2,
            "max-cpu-loras": 4,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *words, "--enable-lora"], env=env, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                if httpx.get(f"{self.url}/health", timeout=2, trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(1)
        raise AssertionError(f"vLLM did not start: {self.log.read_text()[-3000:]}")

    def freeze(self) -> None:
        """Stops the processes that compute; the HTTP server goes on taking requests and saying that it is well."""
        assert self.process is not None
        engine = psutil.Process(self.process.pid).children(recursive=True)
        assert engine, "vLLM computes in processes of its own"
        for process in engine:
            process.suspend()

    def kill(self) -> None:
        """Ends the server and its engine at once, as a lost machine would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)

    def running_requests(self) -> float:
        """vLLM's own count of requests that it is computing."""
        text = httpx.get(f"{self.url}/metrics", timeout=10, trust_env=False).text
        lines = [line for line in text.splitlines() if line.startswith("vllm:num_requests_running")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
