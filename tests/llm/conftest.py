"""Servers and generators for the tests of the model client."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from app.llm.admission import Admission
from app.llm.base import Finished, GenerationRequest, Part, Reasoning, Started, Text
from app.llm.client import VllmClient
from app.llm.extractive import ExtractiveGenerator
from app.llm.pool import ReplicaPool
from app.llm.vllm import Limits, VllmGenerator
from app.safety.types import Audience, Level, TriageResult
from retrieval.types import Chunk, Hit
from tests.llm.stub_vllm import BASE, StubVllm


@pytest.fixture
def servers() -> Iterator[Callable[..., StubVllm]]:
    """Starts servers; all are stopped at the end."""
    started: list[StubVllm] = []

    def start(**options: int) -> StubVllm:
        server = StubVllm(**options)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


def hit(n: int, text: str, *, score: float = 1.0, section: str = "概述") -> Hit:
    sentences = tuple(s + "。" for s in text.split("。") if s)
    chunk = Chunk(
        f"c{n}", f"d{n}", f"资料{n}", section, text, "cardiology", "guide", "all", "某指南", "2023", sentences
    )
    return Hit(chunk, score)


def request(
    *passages: str, audience: Audience = Audience.PATIENT, adapter: str | None = None, **more: object
) -> GenerationRequest:
    texts = passages or ("胸痛发作时应立即停止活动并休息。休息后仍不缓解应拨打120。",)
    return GenerationRequest(
        question="胸痛怎么办",
        audience=audience,
        department="cardiology",
        passages=tuple(hit(n, text, score=1 / n) for n, text in enumerate(texts, start=1)),
        triage=TriageResult(Level.ROUTINE),
        adapter=adapter,
        **more,  # type: ignore[arg-type]
    )


FIRST_CHECKS = 5
"""On a busy machine one failed check says nothing about a server that is well."""


async def generator(
    *servers: StubVllm | str,
    first_token_s: float = 5.0,
    deadline_s: float = 20.0,
    concurrency: int = 8,
    queue: int = 0,
    queue_timeout_s: float = 0.1,
    context_tokens: int = 8192,
    max_output_tokens: int = 100,
    refresh: bool = True,
) -> VllmGenerator:
    """The real generator in front of these servers; addresses count as healthy without being asked."""
    urls = [s if isinstance(s, str) else s.url for s in servers]
    clients = [
        VllmClient(url, api_key="k", read_s=first_token_s, connections=concurrency + 4) for url in urls
    ]
    pool = ReplicaPool(clients, model=BASE, adapter_root="/adapters")
    for _ in range(FIRST_CHECKS if refresh else 0):
        await pool.refresh()
        usable = zip(pool.replicas, servers, strict=True)
        if all(replica.healthy for replica, server in usable if not isinstance(server, str) and server.well):
            break
    for replica, server in zip(pool.replicas, servers, strict=True):
        if isinstance(server, str):
            replica.healthy = True
    return VllmGenerator(
        pool,
        fallback=ExtractiveGenerator(),
        admission=Admission(concurrency=concurrency, queue=queue, queue_timeout_s=queue_timeout_s),
        limits=Limits(deadline_s, first_token_s, context_tokens, max_output_tokens, 0.2),
    )


class Collected:
    """All parts of a stream, by kind."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self.started = [p for p in parts if isinstance(p, Started)]
        self.text = "".join(p.text for p in parts if isinstance(p, Text))
        self.reasoning = "".join(p.text for p in parts if isinstance(p, Reasoning))
        self.finished = [p for p in parts if isinstance(p, Finished)]


async def collect(chosen: VllmGenerator, asked: GenerationRequest) -> Collected:
    return Collected([part async for part in chosen.stream(asked)])
