"""Servers that forget, come back, hold foreign weights; files that vanish."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from typing import Any

from app.adapters.reconciler import Reconciler
from app.observability import metrics
from tests.llm.conftest import generator, request
from tests.llm.stub_vllm import Act, StubVllm

Make = Callable[..., Any]
Servers = Callable[..., StubVllm]


def alarm(name: str, kind: str) -> float | None:
    return metrics.registry.get_sample_value("anxin_adapter_alarm", {"adapter": name, "kind": kind})


async def test_restarted_server_gets_its_adapters_back(bench: Make, servers: Servers) -> None:
    one, two = servers(), servers()
    made = await bench(one, two)
    name = await made.ready("cardiology-v1")
    await made.service.activate("op", name)
    await asyncio.to_thread(one.restart)
    await made.parts.pool.refresh()
    assert not made.parts.pool.has(made.parts.pool.replicas[0], name), "no traffic before it is back"
    await made.reconciler.pass_once()
    assert one.adapters == two.adapters
    assert made.parts.pool.has(made.parts.pool.replicas[0], name)


async def test_background_task_notices_by_itself(bench: Make, servers: Servers) -> None:
    server = servers()
    made = await bench(server)
    name = await made.ready("cardiology-v1")
    task = asyncio.create_task(made.reconciler.run())
    server.adapters.clear()
    async with asyncio.timeout(5):
        while name not in server.adapters:
            await asyncio.sleep(0.01)
    task.cancel()


async def test_failed_restore_backs_off(bench: Make, servers: Servers) -> None:
    server = servers()
    made = await bench(server)
    name = await made.ready("cardiology-v1")
    now = [0.0]
    parts = made.parts
    reconciler = Reconciler(
        made.database, made.service._storage, made.service._loader, every_s=1, drain_s=1, clock=lambda: now[0]
    )
    server.adapters.clear()
    server.loads.clear()
    server.default = Act(status=500)
    attempts = []
    for now[0] in (0.0, 1.0, 2.0, 3.0, 5.0, 6.0, 14.0):
        await reconciler.pass_once()
        attempts.append(len(server.loads))
        server.adapters.clear()
    assert attempts == [1, 1, 2, 2, 2, 3, 4], "after 2, then 4, then 8 seconds"
    assert not parts.pool.serves(name)


async def test_same_name_from_another_folder_is_an_alarm_without_traffic(
    bench: Make, servers: Servers
) -> None:
    server = servers()
    made = await bench(server)
    name = await made.ready("cardiology-v1")
    server.adapters[name] = "/elsewhere/weights"
    await made.reconciler.pass_once()
    assert alarm(name, "foreign_root") == 1
    assert not made.parts.pool.serves(name)
    assert server.adapters[name] == "/elsewhere/weights", "somebody put it there; a person decides"
    server.adapters[name] = str(made.root / name)
    await made.reconciler.pass_once()
    assert alarm(name, "foreign_root") == 0


async def test_files_gone_while_active_is_an_alarm_and_the_running_servers_go_on(
    bench: Make, servers: Servers
) -> None:
    one, two = servers(), servers()
    made = await bench(one, two)
    name = await made.ready("cardiology-v1")
    await made.service.activate("op", name)
    (made.root / name).chmod(0o755)
    shutil.rmtree(made.root / name)
    await asyncio.to_thread(one.restart)
    await made.reconciler.pass_once()
    assert alarm(name, "files_missing") == 1
    assert one.loads == [name], "files that are not the registered ones are never loaded"
    assert made.parts.pool.pick(name).url == two.url
    assert await made.state(name) == "active"


async def test_retired_canary_is_unloaded_after_its_streams(bench: Make, servers: Servers) -> None:
    server = servers()
    made = await bench(server)
    name = await made.ready("cardiology-v1")
    await made.service.canary("op", name, 50)
    now = [0.0]
    reconciler = Reconciler(
        made.database,
        made.service._storage,
        made.service._loader,
        every_s=1,
        drain_s=70,
        clock=lambda: now[0],
    )
    await made.service.retire("op", name)
    await reconciler.pass_once()
    assert name in server.adapters, "answers of another process may still run through it"
    now[0] = 71.0
    made.parts.pool.replicas[0].streams[name] += 1
    await reconciler.pass_once()
    assert name in server.adapters, "an answer of this process runs through it"
    made.parts.pool.replicas[0].streams[name] -= 1
    await reconciler.pass_once()
    assert name not in server.adapters


async def test_unloading_lets_a_running_stream_end(servers: Servers) -> None:
    server = servers()
    server.adapters["cardiology-v1"] = "/adapters/cardiology-v1"
    server.default = Act(tokens=("一句[1]。",) * 20, gap_s=0.02)
    chosen = await generator(server)
    parts = chosen.stream(request(adapter="cardiology-v1"))
    await anext(parts)
    await chosen.pool.replicas[0].client.unload_adapter("cardiology-v1")
    texts = [getattr(p, "text", "") async for p in parts]
    assert "".join(texts) == "一句[1]。" * 20
