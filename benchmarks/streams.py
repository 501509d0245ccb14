"""Many readers at once: 200 server-sent streams through the model client against a paced stub, on this machine.

    python -m benchmarks.streams [STREAMS] [TOKENS] [GAP_MS]

Prints memory per stream, how much later than the server's pace the tokens came (p95 of the gaps minus the pace), and
how many answers were lost or out of order. The stub runs in a process of its own and numbers its sentences.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection

import psutil

from app.llm.admission import Admission
from app.llm.base import Text
from app.llm.client import VllmClient
from app.llm.extractive import ExtractiveGenerator
from app.llm.pool import ReplicaPool
from app.llm.vllm import Limits, VllmGenerator
from app.observability import configure_logging
from benchmarks.serving import request
from tests.llm.stub_vllm import BASE, Act, StubVllm


def serve(pipe: Connection, tokens: int, gap_s: float) -> None:
    stub = StubVllm(max_model_len=32768)
    stub.default = Act(tokens=tuple(f"第{n}句。" for n in range(tokens)), gap_s=gap_s)
    stub.start()
    pipe.send(stub.url)
    pipe.recv()
    stub.stop()


async def read(generator: VllmGenerator, seed: int) -> tuple[str, list[float]]:
    """The text of one answer and the gaps between its parts in seconds."""
    texts, times = [], []
    async for part in generator.stream(request(seed, None, 6, 200)):
        if isinstance(part, Text):
            texts.append(part.text)
            times.append(time.perf_counter())
    return "".join(texts), [b - a for a, b in itertools.pairwise(times)]


async def run(url: str, streams: int, tokens: int, gap_s: float) -> None:
    client = VllmClient(url, api_key="", read_s=120, connections=streams + 8)
    pool = ReplicaPool([client], model=BASE, adapter_root="/adapters")
    await pool.refresh()
    generator = VllmGenerator(
        pool,
        fallback=ExtractiveGenerator(),
        admission=Admission(concurrency=streams, queue=0, queue_timeout_s=1),
        limits=Limits(600, 120, 32768, 800, 0.2),
    )
    await read(generator, 0)
    process = psutil.Process()
    before = process.memory_info().rss
    tasks = [asyncio.create_task(read(generator, seed)) for seed in range(1, streams + 1)]
    await asyncio.sleep(tokens * gap_s / 2)
    during = process.memory_info().rss
    answers = await asyncio.gather(*tasks)
    wanted = "".join(f"第{n}句。" for n in range(tokens))
    lost = sum(text != wanted for text, _ in answers)
    gaps = sorted(gap for _, own in answers for gap in own)
    late = (gaps[int(0.95 * len(gaps))] - gap_s) * 1000
    print(f"streams={streams} tokens={tokens} pace_ms={gap_s * 1000:.0f}", end=" ")
    print(
        f"memory_per_stream_kb={(during - before) / streams / 1024:.0f} added_gap_p95_ms={late:.1f} lost={lost}"
    )
    await pool.close()


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:]]
    streams, tokens, gap_ms = (*numbers, *(200, 100, 100)[len(numbers) :])
    configure_logging("ERROR", json_lines=False)
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, tokens, gap_ms / 1000))
    server.start()
    try:
        asyncio.run(run(ours.recv(), streams, tokens, gap_ms / 1000))
    finally:
        ours.send("stop")
        server.join(20)


if __name__ == "__main__":
    main()
