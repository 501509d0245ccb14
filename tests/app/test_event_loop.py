"""Embedding and other heavy work never blocks the event loop."""

from __future__ import annotations

import asyncio
import time

from blockbuster import blockbuster_ctx

from tests.app.test_chat import EMERGENCY, TOGETHER
from tests.conftest import Service

LONGEST_PAUSE_S = 0.25


async def test_no_blocking_call_while_answering(service: Service) -> None:
    """BlockBuster raises inside the service when it reads files, sleeps or waits for a lock on the loop."""
    guest = await service.guest()
    await service.ask(guest, TOGETHER)
    with blockbuster_ctx("app"):
        answers = [
            await service.ask(guest, text) for text in (TOGETHER, EMERGENCY, "最近有什么好看的电影推荐吗")
        ]
        searched = await service.http.get("/knowledge/search", params={"q": "荨麻疹"})
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert searched.status_code == 200


async def test_the_loop_keeps_ticking_while_many_ask(service: Service) -> None:
    guests = [await service.guest() for _ in range(8)]
    pauses: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            pauses.append(time.perf_counter() - before)

    ticking = asyncio.create_task(tick())
    answers = await asyncio.gather(*(service.ask(guest, TOGETHER) for guest in guests))
    ticking.cancel()
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(pauses)[int(len(pauses) * 0.95)] < LONGEST_PAUSE_S
