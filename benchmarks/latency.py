"""Latency of the whole line and of each step on the embedded default, for 1 and 16 users at once.

    python benchmarks/latency.py [--questions 60] [--users 1 16] [--url http://127.0.0.1:8000]

Without `--url` it starts the service itself in a folder of its own (`var/bench`). Prints a table and, as its last line,
one JSON object: milliseconds at the median and at the 95th percentile; `ttft` is the time to the first `delta` event.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

QUESTIONS = (
    "阿司匹林和氯吡格雷可以一起吃吗？",
    "波立维饭前吃还是饭后吃",
    "他汀会不会伤肝",
    "支架术后多久可以运动",
    "过敏性鼻炎喷雾怎么用",
    "荨麻疹反复发作怎么办",
    "偏瘫病人睡觉怎么摆姿势",
    "高血压能不能停药",
    "硝酸甘油怎么保存",
    "低密度脂蛋白多少算正常",
    "尘螨过敏家里怎么打扫",
    "西替利嗪吃了犯困吗",
    "脑梗后血压控制到多少",
    "吞咽困难怎么喂饭",
    "二甲双胍什么时候吃",
    "心脏支架能做磁共振吗",
    "替格瑞洛气喘怎么办",
    "华法林吃菠菜可以吗",
    "儿童鼻炎能用激素喷鼻吗",
    "房颤为什么会中风",
)
STEPS = ("triage", "rewrite", "retrieve", "rerank", "generate", "review", "store", "total")


@contextmanager
def service(port: int) -> Iterator[str]:
    """A service of the benchmark's own, in a process of its own."""
    var_dir = Path("var/bench")
    environment = {
        **os.environ,
        "ANXIN_VAR_DIR": str(var_dir),
        "ANXIN_LOG_LEVEL": "ERROR",
        "ANXIN_LIMITS__ADDRESS_RATE": "1000000/minute",
        "ANXIN_LIMITS__GUEST_RATE": "1000000/minute",
        "ANXIN_LIMITS__GUEST_TOKEN_RATE": "1000000/minute",
    }
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], limit_s: float = 600) -> float:
    """Seconds until the service is ready. Raises RuntimeError when it stops or takes too long."""
    started = time.perf_counter()
    while time.perf_counter() - started < limit_s:
        if process.poll() is not None:
            raise RuntimeError("the service stopped")
        try:
            if httpx.get(f"{url}/api/v1/health/ready", timeout=2, trust_env=False).status_code == 200:
                return time.perf_counter() - started
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise RuntimeError("the service did not become ready")


async def user(url: str, number: int, count: int, out: list[dict[str, float]]) -> None:
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=60, trust_env=False) as client:
        token = (await client.post("/auth/guest")).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        for i in range(count):
            body = {"message": QUESTIONS[(number * 7 + i) % len(QUESTIONS)], "stream": True}
            started = time.perf_counter()
            first, done = 0.0, {}
            async with client.stream("POST", "/chat", json=body, headers=headers) as response:
                event = ""
                async for line in response.aiter_lines():
                    if line.startswith("event: "):
                        event = line[7:]
                        if event == "delta" and not first:
                            first = (time.perf_counter() - started) * 1000
                    elif line.startswith("data: ") and event == "done":
                        done = json.loads(line[6:])
            whole = (time.perf_counter() - started) * 1000
            out.append({**done["timings_ms"], "ttft": first, "whole": whole})


def percentile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


async def measure(url: str, users: int, questions: int) -> dict[str, dict[str, float]]:
    out: list[dict[str, float]] = []
    each = max(2, questions // users)
    started = time.perf_counter()
    await asyncio.gather(*(user(url, number, each, out) for number in range(users)))
    spent = time.perf_counter() - started
    table: dict[str, dict[str, float]] = {}
    for name in (*STEPS, "ttft", "whole"):
        values = [row.get(name, 0.0) for row in out]
        table[name] = {"p50": round(percentile(values, 0.5), 1), "p95": round(percentile(values, 0.95), 1)}
    table["throughput"] = {"answers_per_s": round(len(out) / spent, 2), "answers": len(out)}
    return table


async def run(url: str, users: list[int], questions: int) -> dict[str, dict[str, dict[str, float]]]:
    await measure(url, 1, 10)
    return {str(count): await measure(url, count, questions) for count in users}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--url")
    parser.add_argument("--port", type=int, default=8765)
    chosen = parser.parse_args()
    if chosen.url:
        results = asyncio.run(run(chosen.url, chosen.users, chosen.questions))
    else:
        with service(chosen.port) as url:
            results = asyncio.run(run(url, chosen.users, chosen.questions))
    for users, table in results.items():
        print(f"users: {users}")
        for name, figures in table.items():
            print(f"  {name:12} " + "  ".join(f"{key} {value}" for key, value in figures.items()))
    print(json.dumps({"users": results}))


if __name__ == "__main__":
    main()
