"""The same prompts straight to vLLM and through Anxin, in one run: output tokens per second, first token, CPU.

    python -m benchmarks.serving client --url http://127.0.0.1:8000 --models qwen            # Anxin's model client
    python -m benchmarks.serving client --url … --models a0,a1,a2,a3 --adapter-root /tmp/adapters
    python -m benchmarks.serving client --url … --models a0,a1 --streams 64 --load a4=/tmp/adapters/a4
    python -m benchmarks.serving record --prompts P.json                                     # the service's own prompt
    python -m benchmarks.serving api --url … --base qwen --api http://127.0.0.1:8001 --api-pids 4711 --prompts P.json

`client` compares a bare HTTP client with the generator that the service uses (routing, token budget, deadlines,
sentence buffer) on prompts of the service's own form. `api` sends a question to a running service and the prompt that
it made of it (`--prompts`, a JSON list of message lists) straight to its model server; its answers must pass the
review, so the model is one of `benchmarks.spoken_model`. First times there are those of the first whole sentence, for
that is what a reader gets; the service's own time for rewriting, search and reranking is taken off.

Each way runs twice, in the order straight, Anxin, Anxin, straight, so that neither profits from what the other left
behind. `client` uses no prompt twice and begins each with words of its own; `cached` is the share of prompt tokens
that vLLM found in its prefix cache (the rules, which all prompts share), to be seen equal for both. Tokens are vLLM's
own count (`vllm:generation_tokens_total`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from collections.abc import Callable
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
from benchmarks.serving_passes import SEEDS, Bench, Call, Sample, plain_http
from retrieval.types import Chunk, Hit

QUESTION = "冠心病患者可以运动吗？"
WORDS = "冠心病患者可以适度运动。服药期间注意出血。血压应定期复查。胸痛不缓解拨打急救电话。饮食清淡少盐。"
STREAMS = (1, 16, 64)


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
            Chunk(
                f"c{n}",
                f"d{n}",
                f"{seed}号资料{n}",
                "概述",
                text(),
                "cardiology",
                "guide",
                "all",
                "指南",
                "2023",
            ),
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
    url: str,
    http: httpx.AsyncClient,
    prompt: Callable[[int], list[dict[str, str]]],
    tokens: int,
    *,
    to_the_end: bool,
) -> Call:
    """A bare streaming client; `to_the_end`: answers of exactly `tokens`, else as the model ends them, and the first
    time is that of the first whole sentence."""

    async def call(seed: int, model: str) -> Sample:
        body = {
            "model": model,
            "messages": prompt(seed),
            "max_tokens": tokens,
            "temperature": 0.2,
            "stream": True,
            "ignore_eos": to_the_end,
        }
        begun, first, text = time.perf_counter(), 0.0, ""
        async with http.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            if response.status_code != 200:
                return Sample(0, 0, failed=True)
            async for line in response.aiter_lines():
                if not first and line.startswith("data: {"):
                    choices = json.loads(line[6:])["choices"]
                    text += (choices[0]["delta"].get("content") or "") if choices else ""
                    if text and (to_the_end or "。" in text):
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


def through_api(apis: list[str], http: httpx.AsyncClient, question: str, department: str) -> Call:
    """The whole service over server-sent events, each question by a guest of its own, its processes in turn; its first
    time is that of its first reviewed sentence, less the service's own rewriting, search and reranking."""

    async def call(seed: int, _: str) -> Sample:
        api = apis[seed % len(apis)]
        admitted = (await http.post(f"{api}/api/v1/auth/guest")).json()
        headers = {"Authorization": f"Bearer {admitted['access_token']}"}
        body = {"message": question, "stream": True, "department": department}
        begun, first, event, done = time.perf_counter(), 0.0, "", {}
        async with http.stream("POST", f"{api}/api/v1/chat", json=body, headers=headers) as response:
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: ") and event == "delta" and not first:
                    first = time.perf_counter() - begun
                elif line.startswith("data: ") and event == "done":
                    done = json.loads(line[6:])
        timings = done.get("timings_ms", {})
        found = sum(timings.get(step, 0.0) for step in ("rewrite", "retrieve", "rerank")) / 1000
        own = not done or done["generator"]["degraded"] or done["generator"]["kind"] != "vllm"
        return Sample(first - found, time.perf_counter() - begun, failed=own)

    return call


async def compare_client(args: argparse.Namespace) -> None:
    models, url, own = args.models.split(","), args.url, [os.getpid()]
    pool = ReplicaPool(
        [VllmClient(url, api_key="", read_s=120, connections=600)],
        model=args.base,
        adapter_root=args.adapter_root,
    )
    await pool.refresh()
    limits = Limits(600, 300, args.context, args.tokens, 0.2)
    admission = Admission(concurrency=512, queue=512, queue_timeout_s=60)
    generator = FullLength(pool, fallback=ExtractiveGenerator(), admission=admission, limits=limits)
    async with plain_http() as http:
        straight = direct(
            url,
            http,
            lambda seed: messages_of(request(seed, None, args.passages, args.chars)),
            args.tokens,
            to_the_end=True,
        )
        anxin = through_client(generator, args.base, args.passages, args.chars)
        for model in models:
            await straight(next(SEEDS), model)
            await anxin(next(SEEDS), model)
        bench = Bench(url, http, models, args.rounds, args.ramp, {"direct": own, "anxin": own})
        for streams in args.streams:
            await bench.compare(straight, anxin, streams, args.load)
    await pool.close()


async def compare_api(args: argparse.Namespace) -> None:
    prompts = json.loads(Path(args.prompts).read_text(encoding="utf-8"))
    async with plain_http() as http:
        straight = direct(
            args.url, http, lambda seed: prompts[seed % len(prompts)], args.tokens, to_the_end=False
        )
        anxin = through_api(args.api.split(","), http, args.question, args.department)
        for _ in range(8):
            await straight(next(SEEDS), args.base)
            await anxin(next(SEEDS), args.base)
        bench = Bench(
            args.url,
            http,
            [args.base],
            args.rounds,
            args.ramp,
            {"direct": [os.getpid()], "anxin": args.api_pids},
        )
        for streams in args.streams:
            await bench.compare(straight, anxin, streams, [])


async def record(args: argparse.Namespace) -> None:
    """Stands in for the model server until it is asked once, and keeps the prompt."""
    from tests.llm.stub_vllm import BASE, StubVllm

    stub = StubVllm(max_model_len=8192)
    stub.start()
    print(f"ask a service with ANXIN_LLM__BASE_URLS='[\"{stub.url}\"]' ANXIN_LLM__MODEL={BASE}", flush=True)
    while not stub.chats:  # noqa: ASYNC110 (the stub runs in a thread of its own)
        await asyncio.sleep(0.2)
    messages = [stub.chats[0]["messages"]]
    Path(args.prompts).write_text(json.dumps(messages, ensure_ascii=False), encoding="utf-8")
    stub.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = parser.add_subparsers(required=True)
    client = ways.add_parser("client")
    client.set_defaults(run=compare_client)
    client.add_argument("--models", default="qwen")
    client.add_argument("--adapter-root", default="/adapters")
    client.add_argument("--passages", type=int, default=6)
    client.add_argument("--chars", type=int, default=200)
    client.add_argument("--context", type=int, default=8192)
    client.add_argument("--load", nargs="*", default=[], help="NAME=PATH to hot-load under the streams")
    api = ways.add_parser("api")
    api.set_defaults(run=compare_api)
    api.add_argument("--api", required=True, help="one address, or several separated by commas")
    api.add_argument("--api-pids", type=int, nargs="+", required=True)
    api.add_argument("--prompts", required=True)
    api.add_argument("--question", default=QUESTION)
    api.add_argument("--department", default="cardiology")
    kept = ways.add_parser("record")
    kept.set_defaults(run=record)
    kept.add_argument("--prompts", required=True)
    for way in (client, api):
        way.add_argument("--url", required=True)
        way.add_argument("--base", default="qwen", help="the base model's name at the server")
        way.add_argument("--tokens", type=int, default=200)
        way.add_argument("--rounds", type=int, default=2)
        way.add_argument("--ramp", type=float, default=0.0, help="seconds over which the streams begin")
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
