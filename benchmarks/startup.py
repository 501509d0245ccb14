"""First and second start: from the command to ready, and to the first answer.

    python benchmarks/startup.py

The first start migrates and builds the index in an empty folder (installation is not counted here; `make serve` on a fresh
clone adds it). Last line: one JSON object with seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent))
from latency import wait_until_ready

QUESTION = "阿司匹林和氯吡格雷可以一起吃吗？"


def start(var_dir: str, port: int) -> dict[str, float]:
    environment = {**os.environ, "ANXIN_VAR_DIR": var_dir, "ANXIN_LOG_LEVEL": "ERROR"}
    begun = time.perf_counter()
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process)
        ready = time.perf_counter() - begun
        answer = httpx.post(f"{url}/api/v1/chat", json={"message": QUESTION}, timeout=60, trust_env=False)
        answer.raise_for_status()
        return {"ready_s": round(ready, 2), "first_answer_s": round(time.perf_counter() - begun, 2)}
    finally:
        process.terminate()
        process.wait(20)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        figures = {"first": start(folder, 8766), "second": start(folder, 8767)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
