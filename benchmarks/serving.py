"""The same prompts straight to vLLM and through Anxin, in one run: output tokens per second, first token, CPU.

    python -m benchmarks.serving client --url http://127.0.0.1:8000 --models qwen            # Anxin's model client
    python -m benchmarks.serving client --url … --models a0,a1,a2,a3 --adapter-root /tmp/adapters
    python -m benchmarks.serving client --url … --models a0,a1 --streams 64 --load a4=/tmp/adapters/a4
    python -m benchmarks.serving api --url … --model tiny-qwen2 --api http://127.0.0.1:8001 --api-pid 4711

`client` compares a bare HTTP client with the generator that the service uses (routing, token budget, deadlines,
sentence buffer) on prompts of the service's own form. `api` sends questions to a running service and the prompts that
it made of them (`--prompts`, a JSON list of message lists) straight to its model server. Tokens are vLLM's own count
(`vllm:generation_tokens_total`), so both ways are measured alike.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.chat.prompts import chat_messages
from app.llm.admission import Admission
from app.llm.base import GenerationRequest, Started
from app.llm.budget import first_draft
from app.llm.client import VllmClient
from app.llm.extractive import ExtractiveGenerator
from app.llm.faults import ModelFault
from app.llm.pool import ReplicaPool
from app.llm.vllm import Limits, VllmGenerator
from app.observability import configure_logging
from app.safety.types import Audience, Level, TriageResult
from retrieval.types import Chunk, Hit

WORDS = "冠心病患者可以适度运动。服药期间注意出血。血压应定期复查。胸痛不缓解拨打急救电话。饮食清淡少盐。"
STREAMS = (1, 16, 64)
SEEDS = itertools.count(1000)  # no prompt is used twice: the second way would find it in vLLM's prefix cache


@dataclass(frozen=True)
class Sample:
    """One answer: seconds to its first token and in all; `failed` when it did not come from the model."""

    first_s: float
    total_s: float
    failed: bool = False


Call = Callable[[int, str], Awaitable[Sample]]


def request(seed: int, model: str | None, passages: int, chars: int) -> GenerationRequest:
    """A question with passages of its own, as long as real ones."""
    draw = random.Random(seed)
    sentences = [s + "。" for s in WORDS.split("。") if s]

    def text() -> str:
        out = ""
        while len(out) < chars:
            out += draw.choice(sentences)
        return out

    hits = tuple(
        Hit(
            Chunk(f"c{n}", f"d{n}", f"资料{n}", "概述", text(), "cardiology", "guide", "all", "指南", "2023"),
            1 / (n + 1),
        )
        for n in range(passages)
    )
    question = f"第{seed}号病人问：支架术后怎么安排运动和复查？"
    return GenerationRequest(
        question, Audience.PATIENT, "cardiology", hits, TriageResult(Level.ROUTINE), adapter=model
    )


def messages_of(asked: GenerationRequest) -> list[dict[str, str]]:
    draft = first_draft(asked)
    made = chat_messages(asked.question, draft.passages, department=asked.department, audience=asked.audience)
    return [dict(message) for message in made]  # type: ignore[arg-type]


def direct(
    url: str, http: httpx.AsyncClient, prompt: Callable[[int], list[dict[str, str]]], tokens: int
) -> Call:
    """A bare streaming client."""

    async def call(seed: int, model: str) -> Sample:
        body = {
            "model": model,
            "messages": prompt(seed),
            "max_tokens": tokens,
            "temperature": 0.2,
            "stream": True,
        }
        begun, first = time.perf_counter(), 0.0
        async with http.stream(
            "POST", f"{url}/v1/chat/completions", json={**body, "ignore_eos": True}
        ) as response:
            if response.status_code != 200:
                return Sample(0, 0, failed=True)
            async for line in response.aiter_lines():
                if not first and line.startswith("data: {"):
                    choices = json.loads(line[6:])["choices"]
                    if choices and choices[0]["delta"].get("content"):
                        first = time.perf_counter() - begun
        return Sample(first, time.perf_counter() - begun, failed=not first)

    return call


class FullLength(VllmGenerator):
    """The service's generator asking for answers of a fixed length, so that both ways do the same work."""

    def _payload(self, draft, progress):  # type: ignore[no-untyped-def]
        return {**super()._payload(draft, progress), "ignore_eos": True}


def through_client(generator: VllmGenerator, base: str, passages: int, chars: int) -> Call:
    """The service's generator; the first part of its stream comes with the first token."""

    async def call(seed: int, model: str) -> Sample:
        asked = request(seed, None if model == base else model, passages, chars)
        begun, first, by_model = time.perf_counter(), 0.0, False
        async for part in generator.stream(asked):
            if isinstance(part, Started) and not first:
                first, by_model = (
                    time.perf_counter() - begun,
                    part.kind == "vllm" and part.adapter == asked.adapter,
                )
        return Sample(first, time.perf_counter() - begun, failed=not by_model)

    return call


def through_api(api: str, http: httpx.AsyncClient, questions: list[str], token: str) -> Call:
    """The whole service over server-sent events; the first token is its first reviewed sentence."""

    async def call(seed: int, _: str) -> Sample:
        body = {"message": questions[seed % len(questions)], "stream": True}
        begun, first, done = time.perf_counter(), 0.0, {}
        headers = {"Authorization": f"Bearer {token}"}
        async with http.stream("POST", f"{api}/api/v1/chat", json=body, headers=headers) as response:
            event = ""
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: ") and event == "delta" and not first:
                    first = time.perf_counter() - begun
                elif line.startswith("data: ") and event == "done":
                    done = json.loads(line[6:])
        timings = done.get("timings_ms", {})
        found = sum(timings.get(step, 0.0) for step in ("rewrite", "retrieve", "rerank")) / 1000
        degraded = not done or done["generator"]["degraded"]
        return Sample(first - found, time.perf_counter() - begun, failed=degraded)

    return call


async def generated(url: str, http: httpx.AsyncClient) -> float:
    text = (await http.get(f"{url}/metrics")).text
    lines = [x for x in text.splitlines() if x.startswith("vllm:generation_tokens_total")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(
    name: str,
    call: Call,
    models: list[str],
    streams: int,
    rounds: int,
    url: str,
    http: httpx.AsyncClient,
    pid: int,
) -> float:
    """One line of figures; returns output tokens per second."""
    total, gate = max(streams * rounds, 8), asyncio.Semaphore(streams)

    async def one(n: int) -> Sample:
        async with gate:
            return await call(next(SEEDS), models[n % len(models)])

    before, cpu, begun = await generated(url, http), cpu_seconds(pid), time.perf_counter()
    samples = await asyncio.gather(*(one(n) for n in range(total)))
    spent = time.perf_counter() - begun
    rate = (await generated(url, http) - before) / spent
    firsts = sorted(s.first_s for s in samples if not s.failed) or [0.0]

    def at(share: float) -> float:
        return firsts[min(len(firsts) - 1, int(share * len(firsts)))] * 1000

    failed = sum(s.failed for s in samples)
    print(
        f"{name:8} models={len(models)} streams={streams:3} answers={total:3} failed={failed} out_tok/s={rate:8.1f} "
        f"first_ms p50={at(0.5):7.1f} p95={at(0.95):7.1f} cpu_s={cpu_seconds(pid) - cpu:.2f} wall_s={spent:.1f}",
        flush=True,
    )
    return rate


async def load_later(url: str, wanted: list[str], http: httpx.AsyncClient) -> None:
    """Hot-loads adapters while the streams run."""
    for pair in wanted:
        await asyncio.sleep(2)
        name, path = pair.split("=")
        begun = time.perf_counter()
        answer = await http.post(f"{url}/v1/load_lora_adapter", json={"lora_name": name, "lora_path": path})
        print(
            f"hot load {name}: HTTP {answer.status_code} in {(time.perf_counter() - begun) * 1000:.0f} ms",
            flush=True,
        )


async def compare_client(args: argparse.Namespace) -> None:
    models, url = args.models.split(","), args.url
    pool = ReplicaPool(
        [VllmClient(url, api_key="", read_s=120, connections=600)],
        model=args.base,
        adapter_root=args.adapter_root,
    )
    await pool.refresh()
    limits = Limits(600, 300, args.context, args.tokens, 0.2)
    admission = Admission(concurrency=512, queue=512, queue_timeout_s=60)
    generator = FullLength(pool, fallback=ExtractiveGenerator(), admission=admission, limits=limits)
    async with httpx.AsyncClient(
        timeout=600, limits=httpx.Limits(max_connections=600), trust_env=False
    ) as http:
        straight = direct(
            url, http, lambda seed: messages_of(request(seed, None, args.passages, args.chars)), args.tokens
        )
        anxin = through_client(generator, args.base, args.passages, args.chars)
        for model in models:
            await straight(1, model)
        await anxin(2, models[0])
        for streams in args.streams:
            later = asyncio.create_task(load_later(url, args.load, http))
            bare = await measure("direct", straight, models, streams, args.rounds, url, http, os.getpid())
            own = await measure("anxin", anxin, models, streams, args.rounds, url, http, os.getpid())
            await later
            print(f"         ratio of output tokens per second: {own / bare:.3f}", flush=True)
    await pool.close()


async def compare_api(args: argparse.Namespace) -> None:
    prompts, questions = json.loads(Path(args.prompts).read_text()), args.question
    async with httpx.AsyncClient(
        timeout=600, limits=httpx.Limits(max_connections=600), trust_env=False
    ) as http:
        token = (await http.post(f"{args.api}/api/v1/auth/guest")).json()["access_token"]
        straight = direct(args.url, http, lambda seed: prompts[seed % len(prompts)], args.tokens)
        anxin = through_api(args.api, http, questions, token)
        await straight(1, args.model)
        await anxin(1, args.model)
        for streams in args.streams:
            bare = await measure(
                "direct", straight, [args.model], streams, args.rounds, args.url, http, os.getpid()
            )
            own = await measure(
                "anxin", anxin, [args.model], streams, args.rounds, args.url, http, args.api_pid
            )
            print(f"         ratio of output tokens per second: {own / bare:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = parser.add_subparsers(required=True)
    client = ways.add_parser("client")
    client.set_defaults(run=compare_client)
    client.add_argument("--models", default="qwen")
    client.add_argument("--base", default="qwen")
    client.add_argument("--adapter-root", default="/adapters")
    client.add_argument("--passages", type=int, default=6)
    client.add_argument("--chars", type=int, default=200)
    client.add_argument("--context", type=int, default=8192)
    client.add_argument("--load", nargs="*", default=[], help="NAME=PATH to hot-load under the streams")
    api = ways.add_parser("api")
    api.set_defaults(run=compare_api)
    api.add_argument("--api", required=True)
    api.add_argument("--api-pid", type=int, required=True)
    api.add_argument("--model", required=True)
    api.add_argument("--prompts", required=True)
    api.add_argument("--question", nargs="+", required=True)
    for way in (client, api):
        way.add_argument("--url", required=True)
        way.add_argument("--tokens", type=int, default=200)
        way.add_argument("--rounds", type=int, default=2)
        way.add_argument(
            "--streams", type=lambda text: [int(n) for n in text.split(",")], default=list(STREAMS)
        )
    args = parser.parse_args()
    configure_logging("ERROR", json_lines=False)
    try:
        asyncio.run(args.run(args))
    except ModelFault as fault:
        raise SystemExit(f"the model server failed: {fault}") from fault


if __name__ == "__main__":
    main()
