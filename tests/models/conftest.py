"""Two real vLLM servers, adapters trained for them, and the service in front, started once for all serving tests."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.db.migrate import migrate
from app.llm.pool import ReplicaPool
from app.llm.vllm import VllmGenerator
from app.settings import ROOT, LlmSettings
from app.users.roles import Role
from tests.conftest import Service, events_of, free_port, make_settings, running
from tests.llm.stub_vllm import StubVllm
from tests.models.serving_stack import BASE, CONTEXT, MAX_RANK, RealVllm, train, write_base, write_wide

QUESTION = "阿司匹林肠溶片什么时候吃最好？"
PATIENCE_S = 300
REPEATS = 8


@dataclass(frozen=True)
class Stack:
    """`short` answers the question with `answer`; `endless` says the first sentence of it for ever; `wide` has too
    high a rank for the servers."""

    one: RealVllm
    two: RealVllm
    short: Path
    endless: Path
    wide: Path
    answer: str
    adapters: Path


@dataclass(frozen=True)
class Hospital:
    """The service in front of the servers, as patients and operators use it."""

    service: Service
    stack: Stack

    @property
    def pool(self) -> ReplicaPool:
        return self.service.parts.adapters.pool

    @property
    def generator(self) -> VllmGenerator:
        chosen = self.service.parts.generator
        assert isinstance(chosen, VllmGenerator)
        return chosen

    async def operate(self, path: str, body: dict[str, Any], *, wanted: int = 200) -> Any:
        """What the registry answers an operator, with this status."""
        operator = await self.service.staff(Role.OPERATOR)
        answer = await self.service.http.post(f"/admin/adapters{path}", json=body, headers=operator)
        assert answer.status_code == wanted, answer.text
        return answer.json()

    async def register(self, folder: Path, name: str) -> Any:
        """Registers a copy of the folder that lies where operators put adapters."""
        incoming = self.stack.adapters / "incoming" / name
        shutil.copytree(folder, incoming)
        return await self.operate("", {"path": f"incoming/{name}", "name": name}, wanted=201)

    async def bring_up(self, folder: Path, name: str) -> None:
        """Registered, loaded, tested and made the department's own."""
        await self.register(folder, name)
        for step in ("load", "smoke-test", "activate"):
            await self.operate(f"/{name}/{step}", {})

    async def state(self, name: str) -> str:
        return (await self.service.parts.adapters.service.find(name)).state

    async def ask(self) -> dict[str, Any]:
        """The whole answer that a new patient gets."""
        answer = await self.service.ask(await self.service.guest(), QUESTION, department="cardiology")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def stream(self, begun: asyncio.Event | None = None) -> Streamed:
        """The events of an answer; `begun` is set with its first text."""
        headers, text = await self.service.guest(), ""
        body = {"message": QUESTION, "department": "cardiology", "stream": True}
        async with self.service.http.stream("POST", "/chat", json=body, headers=headers) as response:
            assert response.status_code == 200
            async for piece in response.aiter_text():
                text += piece
                if begun is not None and "event: delta" in text:
                    begun.set()
        return Streamed([(name, json.loads(data)) for _, name, data in events_of(text)], headers)


@dataclass(frozen=True)
class Streamed:
    events: list[tuple[str, dict[str, Any]]]
    headers: dict[str, str]

    @property
    def last(self) -> tuple[str, dict[str, Any]]:
        return self.events[-1]

    @property
    def shown(self) -> str:
        return "".join(data["text"] for name, data in self.events if name == "delta")


async def what_the_service_asks(var_dir: Path, index: Path) -> tuple[list[dict[str, str]], str]:
    """The prompt of the question, and an answer to it that the review lets pass (the embedded generator's)."""
    stub = StubVllm(max_model_len=CONTEXT)
    stub.start()
    try:
        llm = LlmSettings(
            kind="vllm",
            base_urls=[stub.url],
            model="tiny-base",
            context_tokens=CONTEXT,
            adapter_root=var_dir / "a",
        )
        settings = make_settings(var_dir, index, llm=llm)
        await asyncio.to_thread(migrate, settings.database_url)
        async with running(settings) as service:
            await service.ask(await service.guest(), QUESTION, department="cardiology")
            messages = stub.chats[-1]["messages"]
            stub.well = False
            await service.parts.adapters.pool.refresh()
            embedded = await service.ask(await service.guest(), QUESTION, department="cardiology")
            assert embedded.json()["generator"]["kind"] == "extractive"
            return messages, embedded.json()["answer"]
    finally:
        stub.stop()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, small_index: Path) -> Iterator[Stack]:
    """Two servers starting while the adapters are trained."""
    home = tmp_path_factory.mktemp("serving")
    messages, answer = asyncio.run(what_the_service_asks(home / "ask", small_index))
    sentences = [s + "。" for s in answer.split("\n")[0].split("。") if "[" in s]
    texts = home / "texts"
    documents = (ROOT / "knowledge_base" / "documents" / "cardiology").glob("car-0[1-3]*.md")
    texts.write_text("\n".join([m["content"] for m in messages] + [d.read_text() for d in documents]))
    base = write_base(home / "base", texts)
    one, two = (RealVllm(base, free_port(), home / f"vllm-{n}.log") for n in (1, 2))
    try:
        for server in (one, two):
            server.start()
        trained = "".join(sentences)
        print(train(base, messages, trained, home / "short"))
        print(train(base, messages, sentences[0] * REPEATS, home / "endless", ends=False))
        write_wide(base, home / "wide", rank=2 * MAX_RANK)
        for server in (one, two):
            server.wait()
        yield Stack(one, two, home / "short", home / "endless", home / "wide", trained, home / "adapters")
    finally:
        for server in (one, two):
            server.kill()


@pytest.fixture(scope="session")
async def hospital(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory, small_index: Path
) -> AsyncIterator[Hospital]:
    llm = LlmSettings(
        kind="vllm",
        base_urls=[stack.one.url, stack.two.url],
        model=BASE,
        context_tokens=CONTEXT,
        max_output_tokens=1500,
        temperature=0.0,
        adapter_root=stack.adapters,
        max_lora_rank=2 * MAX_RANK,
        monitor_s=1.0,
        first_token_s=120,
        deadline_s=PATIENCE_S - 60,
    )
    settings = make_settings(tmp_path_factory.mktemp("var"), small_index, llm=llm)
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as served:
        served.http.timeout = PATIENCE_S
        yield Hospital(served, stack)
