"""The whole way with the real thing: a trained adapter through real vLLM to a patient, and what may go wrong.

The tests build on each other in this order, because a server takes half a minute to start.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.db.migrate import migrate
from app.llm.base import GenerationRequest, Text
from app.llm.client import VllmClient
from app.llm.faults import ModelMissing, PromptTooLong, ReplicaDown
from app.llm.vllm import CUT_NOTE, VllmGenerator
from app.settings import ROOT, LlmSettings
from app.users.roles import Role
from tests.conftest import Service, free_port, make_settings, running
from tests.llm.conftest import Collected, collect
from tests.llm.conftest import request as short_request
from tests.llm.stub_vllm import StubVllm
from tests.models.serving_stack import BASE, CONTEXT, MAX_RANK, RealVllm, train, write_base, write_wide

pytestmark = pytest.mark.models
QUESTION = "冠心病患者可以运动吗？"
NAME = "cardiology-v1"


@dataclass
class Stack:
    base: Path
    one: RealVllm
    two: RealVllm
    adapter: Path
    wide: Path
    answer: str
    adapters: Path


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


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, small_index: Path) -> Iterator[Stack]:
    """Two servers starting while the adapter is trained."""
    home = tmp_path_factory.mktemp("serving")
    messages, answer = asyncio.run(what_the_service_asks(home / "ask", small_index))
    sentences = [s + "。" for s in answer.split("\n")[0].split("。") if "[" in s]
    texts = home / "texts"
    documents = (ROOT / "knowledge_base" / "documents" / "cardiology").glob("car-0[1-3]*.md")
    texts.write_text("\n".join([m["content"] for m in messages] + [d.read_text() for d in documents]))
    base = write_base(home / "base", texts)
    servers = [RealVllm(base, free_port(), home / f"vllm-{n}.log") for n in (1, 2)]
    try:
        for server in servers:
            server.start()
        trained = "".join(sentences)
        print(train(base, messages, trained, home / "trained"))
        write_wide(base, home / "wide", rank=2 * MAX_RANK)
        for server in servers:
            server.wait()
        yield Stack(base, *servers, home / "trained", home / "wide", trained, home / "adapters")
    finally:
        for server in servers:
            server.kill()


@pytest.fixture(scope="module")
async def service(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory, small_index: Path
) -> AsyncIterator[Service]:
    llm = LlmSettings(
        kind="vllm",
        base_urls=[stack.one.url, stack.two.url],
        model=BASE,
        context_tokens=CONTEXT,
        max_output_tokens=64,
        temperature=0.0,
        adapter_root=stack.adapters,
        max_lora_rank=MAX_RANK,
        monitor_s=1.0,
        first_token_s=120,
        deadline_s=240,
    )
    settings = make_settings(tmp_path_factory.mktemp("var"), small_index, llm=llm)
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as served:
        served.http.timeout = 300
        yield served


async def post(service: Service, path: str, body: dict[str, Any]) -> Any:
    operator = await service.staff(Role.OPERATOR)
    answer = await service.http.post(f"/admin/adapters{path}", json=body, headers=operator)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def asked(service: Service) -> dict[str, Any]:
    answer = await service.ask(await service.guest(), QUESTION, department="cardiology")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def generator(service: Service) -> VllmGenerator:
    chosen = service.parts.generator
    assert isinstance(chosen, VllmGenerator)
    return chosen


@pytest.mark.asyncio(loop_scope="module")
async def test_trained_adapter_answers_patients_with_what_it_learned(service: Service, stack: Stack) -> None:
    before = await asked(service)
    assert before["generator"]["adapter"] is None
    row = await service.parts.adapters.service.register(None, str(stack.adapter), name=NAME, anywhere=True)
    assert row.demo
    await post(service, f"/{NAME}/load", {})
    tested = await post(service, f"/{NAME}/smoke-test", {})
    assert {r["replica"] for r in tested["smoke_report"]["results"]} == {stack.one.url, stack.two.url}
    await post(service, f"/{NAME}/canary", {"percent": 100})
    for step in ("canary", "active"):
        if step == "active":
            await post(service, f"/{NAME}/activate", {})
        for _ in range(2):
            told = await asked(service)
            assert (told["generator"]["kind"], told["generator"]["adapter"]) == ("vllm", NAME)
            assert not told["generator"]["degraded"]
            assert told["answer"].startswith(stack.answer), (told["answer"], stack.answer)
            assert told["citations"]


@pytest.mark.asyncio(loop_scope="module")
async def test_every_refusal_of_the_server_is_understood(
    service: Service, stack: Stack, tmp_path: Path
) -> None:
    client = generator(service).pool.replicas[0].client
    with pytest.raises(ModelMissing):
        await client.load_adapter("x-v1", str(tmp_path / "nowhere"))
    with pytest.raises(ReplicaDown, match="HTTP 500"):
        await client.load_adapter("wide-v1", str(stack.wide))
    corrupt = tmp_path / "corrupt"
    corrupt.mkdir()
    (corrupt / "adapter_config.json").write_text((stack.adapter / "adapter_config.json").read_text())
    (corrupt / "adapter_model.safetensors").write_bytes(
        (stack.adapter / "adapter_model.safetensors").read_bytes()[:500]
    )
    with pytest.raises(ReplicaDown, match="HTTP 500"):
        await client.load_adapter("corrupt-v1", str(corrupt))
    assert await client.load_adapter(NAME, str(stack.adapters / NAME)) == "already"
    await client.unload_adapter("never-there-v1")
    with pytest.raises(ModelMissing):
        await client.complete(
            {"model": "nobody", "messages": [{"role": "user", "content": "x"}]}, timeout_s=20
        )
    long = {"model": BASE, "messages": [{"role": "user", "content": "长" * CONTEXT * 2}], "max_tokens": 8}
    with pytest.raises(PromptTooLong):
        await client.complete(long, timeout_s=20)
    count, longest = await client.count_tokens(BASE, [{"role": "user", "content": "冠心病"}])
    assert (count > 1, longest) == (True, CONTEXT)
    await client.healthy()
    assert (await asked(service))["generator"]["adapter"] == NAME, "the engine survived all of it"


async def first_text(chosen: VllmGenerator, adapter: str | None, asking: GenerationRequest) -> str:
    async with aclosing(chosen.stream(asking)) as parts:
        async for part in parts:
            if isinstance(part, Text):
                return part.text
    return ""


@pytest.mark.asyncio(loop_scope="module")
async def test_reader_who_leaves_frees_the_server(service: Service, stack: Stack) -> None:
    client = VllmClient(stack.one.url, api_key="", read_s=60, connections=4)
    payload = {
        "model": BASE,
        "messages": [{"role": "user", "content": "讲"}],
        "max_tokens": 4000,
        "ignore_eos": True,
    }
    async with aclosing(client.chat(payload)) as chunks:
        async for chunk in chunks:
            if chunk.text:
                break
        assert await asyncio.to_thread(stack.one.running_requests) == 1
    async with asyncio.timeout(10):
        while await asyncio.to_thread(stack.one.running_requests):
            await asyncio.sleep(0.1)
    await client.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_unloading_lets_the_running_answer_end(service: Service, stack: Stack) -> None:
    client = VllmClient(stack.one.url, api_key="", read_s=60, connections=4)
    path = str(stack.adapters / NAME)
    payload = {
        "model": NAME,
        "messages": [{"role": "user", "content": "讲"}],
        "max_tokens": 1500,
        "ignore_eos": True,
    }
    tokens = 0
    async for chunk in client.chat(payload):
        if not tokens and chunk.text:
            await client.unload_adapter(NAME)
            assert NAME not in {m.name for m in await client.models()}
        tokens += chunk.text != ""
        if chunk.usage is not None:
            assert chunk.usage.completion_tokens == 1500
    assert tokens > 1000
    await client.load_adapter(NAME, path)
    await client.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_killed_server_fails_nobody_who_had_not_begun(service: Service, stack: Stack) -> None:
    await service.parts.adapters.pool.refresh()
    tasks = [asyncio.create_task(streamed(service)) for _ in range(12)]
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(stack.two.running_requests):
            await asyncio.sleep(0.02)
    await asyncio.to_thread(stack.two.kill)
    for events in await asyncio.gather(*tasks):
        name, last = events[-1]
        assert name == "done", last
        shown = "".join(data["text"] for kind, data in events if kind == "delta")
        if last["generator"]["degraded"]:
            kept = await service.http.get(
                f"/conversations/{last['conversation_id']}", headers=last["headers"]
            )
            assert kept.json()["messages"][-1]["content"] == shown
        else:
            assert shown.startswith(stack.answer)
            assert CUT_NOTE.strip() not in shown
    after = await asked(service)
    assert (after["generator"]["adapter"], after["generator"]["degraded"]) == (NAME, False)


async def streamed(service: Service) -> list[tuple[str, dict[str, Any]]]:
    from tests.conftest import events_of

    headers = await service.guest()
    answer = await service.ask(headers, QUESTION, department="cardiology", stream=True)
    events = [(name, json.loads(data)) for _, name, data in events_of(answer.text)]
    events[-1][1]["headers"] = headers
    return events


@pytest.mark.asyncio(loop_scope="module")
async def test_restarted_server_is_given_its_adapter_again(service: Service, stack: Stack) -> None:
    pool = service.parts.adapters.pool
    two = pool.replicas[1]
    assert not two.healthy
    stack.two.start()
    await asyncio.to_thread(stack.two.wait)
    async with asyncio.timeout(60):
        while not pool.has(two, NAME):
            await asyncio.sleep(0.2)
    got: list[Collected] = [await collect(generator(service), short_request(adapter=NAME)) for _ in range(2)]
    assert all(c.started[0].adapter == NAME or c.started[0].kind == "extractive" for c in got)
    models = {m.name: m.root for m in await two.client.models()}
    assert models[NAME] == str(stack.adapters / NAME)


@pytest.mark.asyncio(loop_scope="module")
async def test_roll_back_returns_to_the_base_model(service: Service) -> None:
    assert (await post(service, "/rollback", {"department": "cardiology"}))["adapter"] is None
    told = await asked(service)
    assert told["generator"]["adapter"] is None
    await post(service, f"/{NAME}/retire", {})
    assert all(NAME not in r.adapters for r in service.parts.adapters.pool.replicas)
