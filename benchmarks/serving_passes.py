"""Passes of a serving benchmark: the streams, vLLM's own counters, CPU, and the comparison of two ways.

Owns how is measured; what is asked and by which way is in `serving.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

# No prompt is used twice, in another run at the same server neither: it would be found in the prefix cache.
SEEDS = itertools.count(int(time.time()) % 1_000_000 * 1000)
COUNTED = {
    "tokens": "vllm:generation_tokens_total",
    "prompt": "vllm:prompt_tokens_total",
    "asked": "vllm:prefix_cache_queries_total",
    "cached": "vllm:prefix_cache_hits_total",
}
LOAD_AFTER_S = 2.0


@dataclass(frozen=True)
class Sample:
    """One answer: seconds to its first token and in all; `failed` when it did not come from the model."""

    first_s: float
    total_s: float
    failed: bool = False


Call = Callable[[int, str], Awaitable[Sample]]


@dataclass(frozen=True)
class Measured:
    """What one pass, or several of one way together, came to. `counted` are vLLM's own counters over it."""

    samples: tuple[Sample, ...]
    seconds: float
    cpu_s: float
    counted: dict[str, float]

    @property
    def rate(self) -> float:
        """Output tokens per second."""
        return self.counted["tokens"] / self.seconds

    @property
    def failed(self) -> int:
        return sum(sample.failed for sample in self.samples)

    def first_ms(self, share: float) -> float:
        firsts = sorted(s.first_s for s in self.samples if not s.failed)
        return firsts[min(len(firsts) - 1, int(share * len(firsts)))] * 1000 if firsts else 0.0

    def __add__(self, other: Measured) -> Measured:
        counted = {name: value + other.counted[name] for name, value in self.counted.items()}
        return Measured(
            self.samples + other.samples, self.seconds + other.seconds, self.cpu_s + other.cpu_s, counted
        )


async def counters(url: str, http: httpx.AsyncClient) -> dict[str, float]:
    lines = (await http.get(f"{url}/metrics")).text.splitlines()
    return {
        name: sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(metric))
        for name, metric in COUNTED.items()
    }


def cpu_seconds(pids: list[int]) -> float:
    return sum(cpu_seconds_of(pid) for pid in pids)


def cpu_seconds_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Bench:
    """Where and how much; the streams begin one after another over `ramp_s` seconds; `pids` are the processes whose CPU counts."""

    url: str
    http: httpx.AsyncClient
    models: list[str]
    rounds: int
    ramp_s: float
    pids: dict[str, list[int]]

    async def one_pass(self, name: str, call: Call, streams: int) -> Measured:
        total, gate = max(streams * self.rounds, 8), asyncio.Semaphore(streams)

        async def one(n: int) -> Sample:
            await asyncio.sleep(min(n, streams) * self.ramp_s / streams)
            async with gate:
                return await call(next(SEEDS), self.models[n % len(self.models)])

        pids = self.pids[name]
        before, cpu, begun = await counters(self.url, self.http), cpu_seconds(pids), time.perf_counter()
        samples = await asyncio.gather(*(one(n) for n in range(total)))
        seconds, spent = time.perf_counter() - begun, cpu_seconds(pids) - cpu
        after = await counters(self.url, self.http)
        return Measured(tuple(samples), seconds, spent, {key: after[key] - before[key] for key in COUNTED})

    async def compare(self, straight: Call, anxin: Call, streams: int, load: list[str]) -> None:
        """Both ways twice, turned round the second time; one adapter of `load` in each pass while there are any."""
        ways = {"direct": straight, "anxin": anxin}
        found: dict[str, list[Measured]] = {name: [] for name in ways}
        for name in ("direct", "anxin", "anxin", "direct"):
            later = asyncio.create_task(load_later(self.url, load.pop(0) if load else None, self.http))
            measured = await self.one_pass(name, ways[name], streams)
            await later
            self._print(name, measured, streams)
            found[name].append(measured)
        bare, own = (first + second for first, second in found.values())
        added = [own.first_ms(share) - bare.first_ms(share) for share in (0.5, 0.95)]
        print(
            f"  = models={len(self.models)} streams={streams}: ratio of output tokens/s {own.rate / bare.rate:.3f}; "
            f"added first ms p50 {added[0]:.1f} p95 {added[1]:.1f}; CPU ms per output token "
            f"{1000 * bare.cpu_s / bare.counted['tokens']:.3f} -> {1000 * own.cpu_s / own.counted['tokens']:.3f}; "
            f"failed {bare.failed} + {own.failed} of {len(bare.samples)} + {len(own.samples)}",
            flush=True,
        )

    def _print(self, name: str, m: Measured, streams: int) -> None:
        print(
            f"{name:6} models={len(self.models)} streams={streams:3} answers={len(m.samples):3} failed={m.failed} "
            f"out_tok/s={m.rate:7.1f} first_ms p50={m.first_ms(0.5):7.1f} p95={m.first_ms(0.95):7.1f} "
            f"cpu_s={m.cpu_s:.2f} wall_s={m.seconds:.1f} prompt={m.counted['prompt'] / len(m.samples):.0f} "
            f"cached={m.counted['cached'] / max(1.0, m.counted['asked']):.3f}",
            flush=True,
        )


async def load_later(url: str, wanted: str | None, http: httpx.AsyncClient) -> None:
    """Hot-loads an adapter while the streams run, and asks it."""
    if wanted is None:
        return
    await asyncio.sleep(LOAD_AFTER_S)
    name, path = wanted.split("=")
    begun = time.perf_counter()
    answer = await http.post(f"{url}/v1/load_lora_adapter", json={"lora_name": name, "lora_path": path})
    spent = (time.perf_counter() - begun) * 1000
    asked = await http.post(
        f"{url}/v1/chat/completions",
        json={"model": name, "messages": [{"role": "user", "content": "你好"}], "max_tokens": 4},
    )
    print(
        f"hot load {name}: HTTP {answer.status_code} in {spent:.0f} ms; it answers {asked.status_code}",
        flush=True,
    )


def plain_http() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=600), trust_env=False)
