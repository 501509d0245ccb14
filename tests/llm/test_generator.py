"""The generator in front of a server that speaks vLLM's API, well and badly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import pytest

from app.errors import ServiceBusy
from app.llm.base import Text
from app.llm.extractive import ExtractiveGenerator
from app.llm.vllm import CUT_NOTE, VllmGenerator
from app.safety.types import Audience, Turn
from tests.llm.conftest import collect, generator, request
from tests.llm.stub_vllm import ANSWER, BASE, Act, StubVllm, half_open

Servers = Callable[..., StubVllm]


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.01)


async def test_answer_arrives_whole_with_usage(servers: Servers) -> None:
    server = servers()
    got = await collect(await generator(server), request())
    assert got.text == "".join(ANSWER)
    assert [(s.kind, s.model, s.adapter, s.degraded) for s in got.started] == [("vllm", BASE, None, False)]
    assert got.finished[0].prompt_tokens == 11
    assert server.chats[0]["messages"][0]["role"] == "system"
    assert server.chats[0]["stream_options"] == {"include_usage": True}


async def test_prompt_begins_the_same_for_every_question(servers: Servers) -> None:
    server = servers()
    chosen = await generator(server)
    await collect(chosen, request("甲。"))
    await collect(chosen, request("乙。", history=(Turn("user", "你好"), Turn("assistant", "您好"))))
    first, second = (chat["messages"][0]["content"] for chat in server.chats)
    assert first == second


@pytest.mark.parametrize(
    "fault",
    [
        Act(status=500),
        Act(status=429),
        Act(status=302),
        Act(garbage=b"<html>gateway</html>"),
        Act(garbage=b"data: {not json}\n\n"),
        Act(garbage=b"data: []\n\n"),
        Act(garbage=b'data: {"choices": [{"delta": {"content": 7}}]}\n\n'),
        Act(garbage=b"data: \xff\xfe\n\n"),
        Act(break_after=0),
        Act(break_after=0, error_in_stream=True),
    ],
    ids=[
        "500",
        "429",
        "302",
        "html",
        "bad-json",
        "wrong-json",
        "wrong-type",
        "not-utf8",
        "broken",
        "error-event",
    ],
)
async def test_fault_before_first_token_goes_to_another_replica(servers: Servers, fault: Act) -> None:
    bad, good = servers(), servers()
    bad.default = fault
    chosen = await generator(bad, good)
    for _ in range(2):
        got = await collect(chosen, request())
        assert got.text == "".join(ANSWER)
        assert not got.started[-1].degraded
    assert bad.chats
    assert len(good.chats) == 2


async def test_fault_after_first_token_is_never_retried(servers: Servers) -> None:
    bad, good = servers(), servers()
    bad.default = good.default = Act(break_after=4)
    got = await collect(await generator(bad, good), request())
    assert len(bad.chats) + len(good.chats) == 1
    shown, rest = got.text.split(CUT_NOTE)
    assert shown == "胸痛时先停下休息[1]。", "the half sentence after it must not be shown"
    assert rest == "".join(
        [p.text async for p in ExtractiveGenerator().stream(request()) if isinstance(p, Text)]
    )
    assert got.started[-1].kind == "vllm"
    assert got.started[-1].degraded


@pytest.mark.parametrize("break_at", [1, 2])
async def test_break_before_a_whole_sentence_shows_only_the_fallback(servers: Servers, break_at: int) -> None:
    server = servers()
    server.default = Act(break_after=break_at)
    got = await collect(await generator(server), request())
    assert CUT_NOTE not in got.text
    assert not got.text.startswith("胸痛时先停下")
    assert got.started[-1].kind == "extractive"
    assert got.started[-1].degraded


async def test_answer_cut_at_the_token_limit_ends_with_a_whole_sentence(servers: Servers) -> None:
    server = servers()
    server.default = Act(tokens=("可以休息[1]。", "可以停药的"), finish_reason="length")
    got = await collect(await generator(server), request())
    assert got.text == "可以休息[1]。"


async def test_all_replicas_down_gives_the_embedded_answer_and_opens_the_circuit(servers: Servers) -> None:
    server = servers()
    server.default = Act(status=500)
    chosen = await generator(server)
    for _ in range(4):
        got = await collect(chosen, request())
        assert got.started[0].kind == "extractive"
        assert got.started[0].degraded
        assert "[1]" in got.text
    assert len(server.chats) == 3, "an open circuit must not be asked"


async def test_silent_server_is_left_after_the_first_token_deadline(servers: Servers) -> None:
    good = servers()
    with half_open() as silent:
        chosen = await generator(silent, good, first_token_s=0.3)
        chosen.pool.replicas[1].asked_at = 1
        got = await collect(chosen, request())
    assert got.text == "".join(ANSWER)
    assert not got.started[-1].degraded


async def test_slow_first_token_and_deadline(servers: Servers) -> None:
    server = servers()
    server.default = Act(first_delay_s=3)
    got = await collect(await generator(server, first_token_s=0.2), request())
    assert got.started[0].kind == "extractive"
    server.default = Act(gap_s=0.3)
    got = await collect(await generator(server, deadline_s=0.8), request())
    assert got.started[-1].degraded
    await until(lambda: server.running == 0)


async def test_closing_the_stream_reaches_the_server(servers: Servers) -> None:
    server = servers()
    server.default = Act(tokens=("一句。",) * 500, gap_s=0.02)
    chosen = await generator(server)
    async with aclosing(chosen.stream(request())) as parts:
        async for part in parts:
            if isinstance(part, Text):
                break
        assert server.running == 1
    await until(lambda: server.running == 0)
    assert server.cancelled == 1
    assert chosen.pool.replicas[0].outstanding == 0


async def test_cancelling_the_task_reaches_the_server(servers: Servers) -> None:
    server = servers()
    server.default = Act(first_delay_s=30)
    chosen = await generator(server, first_token_s=60)
    task = asyncio.create_task(collect(chosen, request()))
    await until(lambda: server.running == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: server.running == 0)
    assert (await collect_now(chosen, server)).text == "".join(ANSWER), "the slot must be free again"


async def collect_now(chosen: VllmGenerator, server: StubVllm):  # type: ignore[no-untyped-def]
    server.default = Act()
    return await collect(chosen, request())


async def test_full_house_answers_busy_with_retry_after(servers: Servers) -> None:
    server = servers()
    server.default = Act(first_delay_s=30)
    chosen = await generator(server, concurrency=2, queue=1, queue_timeout_s=0.2, first_token_s=60)
    running = [asyncio.create_task(collect(chosen, request())) for _ in range(2)]
    await until(lambda: server.running == 2)
    waiting = asyncio.create_task(collect(chosen, request()))
    await asyncio.sleep(0.05)
    with pytest.raises(ServiceBusy) as turned_away:
        await collect(chosen, request())
    assert turned_away.value.retry_after_s
    assert turned_away.value.details["retry_after_s"] == turned_away.value.retry_after_s
    with pytest.raises(ServiceBusy):
        await waiting
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_every_replica_busy_is_said_with_the_servers_own_wait(servers: Servers) -> None:
    server = servers()
    server.default = Act(status=429, headers={"Retry-After": "7"})
    with pytest.raises(ServiceBusy) as error:
        await collect(await generator(server), request())
    assert error.value.retry_after_s == 7


async def test_requests_go_to_the_replica_with_the_fewest(servers: Servers) -> None:
    slow, fast = servers(), servers()
    slow.default = Act(first_delay_s=1.0)
    chosen = await generator(slow, fast)
    first = asyncio.create_task(collect(chosen, request()))
    await until(lambda: slow.running + fast.running == 1 or bool(fast.chats))
    for _ in range(4):
        await collect(chosen, request())
    await first
    assert len(fast.chats) >= 4


async def test_adapter_only_where_it_is_loaded(servers: Servers) -> None:
    without, having = servers(), servers()
    having.adapters["cardiology-v1"] = "/adapters/cardiology-v1"
    chosen = await generator(without, having)
    for _ in range(3):
        got = await collect(chosen, request(adapter="cardiology-v1"))
        assert got.started[0].adapter == "cardiology-v1"
        assert not got.started[0].degraded
    assert not without.chats
    assert {chat["model"] for chat in having.chats} == {"cardiology-v1"}


async def test_adapter_forgotten_by_a_restart_is_noticed_and_the_base_model_answers(servers: Servers) -> None:
    server = servers()
    server.adapters["cardiology-v1"] = "/adapters/cardiology-v1"
    chosen = await generator(server)
    server.adapters.clear()
    got = await collect(chosen, request(adapter="cardiology-v1"))
    assert got.text == "".join(ANSWER)
    assert (got.started[0].adapter, got.started[0].degraded) == (None, True)
    assert not chosen.pool.serves("cardiology-v1")
    assert chosen.pool.changed.is_set()


async def test_thinking_is_for_clinicians_only(servers: Servers) -> None:
    server = servers()
    server.default = Act(
        tokens=("<thi", "nk>先想", "一想</", "think>", "结论[1]。"), reasoning=("预先思考。",)
    )
    chosen = await generator(server)
    clinician = await collect(chosen, request(audience=Audience.CLINICIAN))
    patient = await collect(chosen, request())
    assert clinician.text == patient.text == "结论[1]。"
    assert clinician.reasoning == "预先思考。先想一想"
    assert patient.reasoning == ""


async def test_answer_of_thinking_alone_falls_back(servers: Servers) -> None:
    server = servers()
    server.default = Act(tokens=("<think>只有思考。",))
    got = await collect(await generator(server), request())
    assert got.started[-1].kind == "extractive"


async def test_killed_replica_under_load_fails_nothing_that_had_not_started(servers: Servers) -> None:
    dying, living = servers(), servers()
    dying.default = Act(tokens=("一句[1]。",) * 40, gap_s=0.01, first_delay_s=0.05)
    living.default = dying.default
    chosen = await generator(dying, living, concurrency=64)
    tasks = [asyncio.create_task(collect(chosen, request())) for _ in range(24)]
    await until(lambda: dying.running >= 6)
    await asyncio.to_thread(dying.stop)
    late = [asyncio.create_task(collect(chosen, request())) for _ in range(8)]
    for got in await asyncio.gather(*tasks):
        complete = got.text == "一句[1]。" * 40 and not got.started[-1].degraded
        assert complete or got.started[-1].degraded
    for got in await asyncio.gather(*late):
        assert got.text == "一句[1]。" * 40
        assert not got.started[-1].degraded
    dying.start()
