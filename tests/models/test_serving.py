"""The life of an adapter with the real thing: trained, served by vLLM, in front of patients, rolled back; servers that
are lost and come back.

The tests build on each other in this order, because a server takes half a minute to start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from app.llm.client import VllmClient
from app.llm.faults import CallRefused, ModelMissing, PromptTooLong, ReplicaDown
from app.llm.vllm import CUT_NOTE
from tests.models.conftest import QUESTION, Hospital
from tests.models.serving_stack import BASE, CONTEXT, RealVllm

pytestmark = pytest.mark.models
SHORT, ENDLESS, WIDE, LATE = "cardiology-v1", "cardiology-v2", "cardiology-v3", "cardiology-v4"
FOREVER = {"max_tokens": 1500, "ignore_eos": True, "messages": [{"role": "user", "content": "讲"}]}


async def until(check: Callable[[], bool | Awaitable[bool]], limit_s: float = 120) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(limit_s):
        while True:
            held = check()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.05)


async def idle(server: RealVllm) -> bool:
    return await asyncio.to_thread(server.running_requests) == 0


def direct(server: RealVllm) -> VllmClient:
    return VllmClient(server.url, api_key="", read_s=120, connections=4)


async def test_trained_adapter_answers_patients_with_what_it_learned(hospital: Hospital) -> None:
    stack = hospital.stack
    before = await hospital.ask()
    assert before["generator"]["adapter"] is None
    assert not before["answer"].startswith(stack.answer)
    assert (await hospital.register(stack.short, SHORT))["demo"]
    await hospital.operate(f"/{SHORT}/load", {})
    tested = await hospital.operate(f"/{SHORT}/smoke-test", {})
    assert {r["replica"] for r in tested["smoke_report"]["results"]} == {stack.one.url, stack.two.url}
    await hospital.operate(f"/{SHORT}/canary", {"percent": 100})
    for step in ("canary", "active"):
        if step == "active":
            await hospital.operate(f"/{SHORT}/activate", {})
        assert await hospital.state(SHORT) == step
        for _ in range(2):
            await says_what_it_learned(hospital)


async def says_what_it_learned(hospital: Hospital) -> None:
    told = await hospital.ask()
    assert (told["generator"]["kind"], told["generator"]["adapter"]) == ("vllm", SHORT)
    assert not told["generator"]["degraded"]
    assert told["answer"].startswith(hospital.stack.answer), (told["answer"], hospital.stack.answer)
    assert told["citations"]


async def test_every_refusal_of_the_server_is_understood(hospital: Hospital, tmp_path: Path) -> None:
    client, good = direct(hospital.stack.one), hospital.stack.adapters / SHORT
    with pytest.raises(ModelMissing):
        await client.load_adapter("x-v1", str(tmp_path / "nowhere"))
    for name, folder in damaged(good, tmp_path).items():
        with pytest.raises(ReplicaDown, match="HTTP 500"):
            await client.load_adapter(name, str(folder))
    with pytest.raises(ReplicaDown, match="HTTP 500"):
        await client.load_adapter("wide-v1", str(hospital.stack.wide))
    assert await client.load_adapter(SHORT, str(good)) == "already"
    for refused in ({"lora_name": "", "lora_path": str(good)}, {"lora_name": "x-v1"}):
        with pytest.raises(CallRefused, match="HTTP 400"):
            await client._send("POST", "/v1/load_lora_adapter", refused, 20)
    with pytest.raises(CallRefused, match="HTTP 400"):
        await client.load_adapter(BASE, str(good))
    unknown = {"lora_name": "never-there-v1"}
    async with httpx.AsyncClient(base_url=client.url, trust_env=False, timeout=20) as http:
        assert (await http.post("/v1/unload_lora_adapter", json=unknown)).status_code == 404
    await client.unload_adapter("never-there-v1")
    with pytest.raises(ModelMissing):
        await client.complete({**FOREVER, "model": "nobody"}, timeout_s=20)
    long = [{"role": "user", "content": "长" * CONTEXT * 2}]
    with pytest.raises(PromptTooLong):
        await client.complete({"model": BASE, "messages": long, "max_tokens": 8}, timeout_s=20)
    count, longest = await client.count_tokens(BASE, [{"role": "user", "content": "冠心病"}])
    assert (count > 1, longest) == (True, CONTEXT)
    await client.healthy()
    await client.close()
    await says_what_it_learned(hospital)


def damaged(good: Path, home: Path) -> dict[str, Path]:
    """Copies that vLLM must not load: half the weights, DoRA."""
    config, weights = "adapter_config.json", "adapter_model.safetensors"
    half, dora = home / "half", home / "dora"
    for folder in (half, dora):
        folder.mkdir()
        (folder / config).write_text((good / config).read_text())
        (folder / weights).write_bytes((good / weights).read_bytes())
    (half / weights).write_bytes((good / weights).read_bytes()[:500])
    (dora / config).write_text((good / config).read_text().replace('"use_dora": false', '"use_dora": true'))
    return {"half-v1": half, "dora-v1": dora}


async def test_adapter_that_the_servers_refuse_names_them_and_stays_off(hospital: Hospital) -> None:
    await hospital.register(hospital.stack.wide, WIDE)
    refused = await hospital.operate(f"/{WIDE}/load", {}, wanted=503)
    assert refused["error"]["code"] == "adapter_replica_failed"
    said = {r["replica"]: r["reason"] for r in refused["error"]["details"]["replicas"]}
    assert said == dict.fromkeys((hospital.stack.one.url, hospital.stack.two.url), "server_error")
    assert await hospital.state(WIDE) == "registered"
    await hospital.operate(f"/{WIDE}/retire", {})
    await says_what_it_learned(hospital)


async def test_unloading_lets_the_running_answer_end(hospital: Hospital) -> None:
    client, name = direct(hospital.stack.one), "beside-the-registry-v1"
    await client.load_adapter(name, str(hospital.stack.adapters / SHORT))
    tokens, unloaded = 0, False
    async for chunk in client.chat({**FOREVER, "model": name}):
        if not unloaded and chunk.text:
            await client.unload_adapter(name)
            assert name not in {m.name for m in await client.models()}
            unloaded = True
        if chunk.usage is not None:
            tokens = chunk.usage.completion_tokens
    assert (unloaded, tokens) == (True, FOREVER["max_tokens"])
    await client.close()


async def test_second_version_takes_over_and_a_patient_who_leaves_frees_the_server(
    hospital: Hospital,
) -> None:
    await hospital.bring_up(hospital.stack.endless, ENDLESS)
    begun = asyncio.Event()
    reader = asyncio.create_task(hospital.stream(begun))
    async with asyncio.timeout(120):
        await begun.wait()
    assert hospital.pool.streams_of(ENDLESS) == 1
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await until(lambda: hospital.pool.streams_of(ENDLESS) == 0)
    for server in (hospital.stack.one, hospital.stack.two):
        await until(lambda server=server: idle(server), 10)  # type: ignore[misc]


async def test_roll_back_brings_the_version_before(hospital: Hospital) -> None:
    back = await hospital.operate("/rollback", {"department": "cardiology"})
    assert back["adapter"]["name"] == SHORT
    for _ in range(2):
        await says_what_it_learned(hospital)
    assert await hospital.state(ENDLESS) == "smoke_tested"


async def test_killed_server_fails_nobody_who_had_not_begun(hospital: Hospital) -> None:
    stack, two = hospital.stack, hospital.pool.replicas[1]
    await hospital.register(stack.short, LATE)
    stack.two.freeze()
    asking = [asyncio.create_task(hospital.stream()) for _ in range(8)]
    loading = asyncio.create_task(hospital.operate(f"/{LATE}/load", {}, wanted=503))
    await until(lambda: two.outstanding > 0)
    one = direct(stack.one)

    async def loaded_on_one() -> bool:
        return LATE in {m.name for m in await one.models()}

    await until(loaded_on_one)
    await asyncio.to_thread(stack.two.kill)
    for streamed in await asyncio.gather(*asking):
        name, last = streamed.last
        assert name == "done", last
        assert (last["generator"]["adapter"], last["generator"]["degraded"]) == (SHORT, False)
        assert streamed.shown.startswith(stack.answer)
        assert CUT_NOTE.strip() not in streamed.shown
    failed = (await loading)["error"]
    assert [r["replica"] for r in failed["details"]["replicas"]] == [stack.two.url]
    assert not await loaded_on_one(), "what one server got is taken back when the other failed"
    assert await hospital.state(LATE) == "registered"
    await one.close()
    await says_what_it_learned(hospital)


async def test_restarted_server_is_given_its_adapters_again(hospital: Hospital) -> None:
    pool, two = hospital.pool, hospital.pool.replicas[1]
    await until(lambda: not two.usable)
    hospital.stack.two.start()
    await asyncio.to_thread(hospital.stack.two.wait)
    await until(lambda: two.usable and pool.has(two, SHORT) and pool.has(two, ENDLESS))
    roots = {m.name: m.root for m in await two.client.models() if m.parent is not None}
    assert roots == {name: str(hospital.stack.adapters / name) for name in (SHORT, ENDLESS)}
    before = two.asked_at
    for _ in range(3):
        await says_what_it_learned(hospital)
    assert two.asked_at > before, "the restarted server answers again"


async def test_stream_that_breaks_ends_in_a_degraded_answer_that_is_stored_as_shown(
    hospital: Hospital,
) -> None:
    await hospital.operate(f"/{ENDLESS}/activate", {})
    async with asyncio.timeout(120):
        # An answer ends at its longest; on a busy machine the first may be over before the last has begun.
        while True:
            begun = [asyncio.Event() for _ in range(4)]
            reading = [asyncio.create_task(hospital.stream(first)) for first in begun]
            await asyncio.gather(*(first.wait() for first in begun))
            spread = all(replica.streams[ENDLESS] for replica in hospital.pool.replicas)
            if spread and not await idle(hospital.stack.two):
                break
            await asyncio.gather(*reading)
    await asyncio.to_thread(hospital.stack.two.kill)
    cut, learned = 0, hospital.stack.answer.split("。")[0]
    for streamed in await asyncio.gather(*reading):
        name, last = streamed.last
        assert name == "done", last
        broke = CUT_NOTE.strip() in streamed.shown
        # On a busy machine one of the four may have got no answer of the model at all: degraded, and nothing was cut.
        never_began = last["generator"]["kind"] != "vllm"
        assert last["generator"]["degraded"] == (broke or never_began)
        assert never_began or streamed.shown.startswith(learned)
        cut += broke
        path = f"/conversations/{last['conversation_id']}"
        kept = (await hospital.service.http.get(path, headers=streamed.headers)).json()
        assert [m["content"] for m in kept["messages"]] == [QUESTION, streamed.shown]
    assert cut, "answers of the killed server were running"


async def test_roll_back_works_while_a_server_is_lost_and_ends_at_the_base_model(hospital: Hospital) -> None:
    for expected in (SHORT, None):
        told = await hospital.operate("/rollback", {"department": "cardiology"})
        assert (told["adapter"] or {}).get("name") == expected
    assert (await hospital.ask())["generator"]["adapter"] is None
    await hospital.operate(f"/{SHORT}/retire", {})
    await until(lambda: SHORT not in hospital.pool.replicas[0].adapters)
