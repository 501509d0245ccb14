"""Prompts that do not fit: what goes, what stays."""

from __future__ import annotations

from collections.abc import Callable

from app.chat.prompts import PATIENT, RULES
from app.safety.types import Turn
from tests.llm.conftest import collect, generator, request
from tests.llm.stub_vllm import Act, StubVllm

Servers = Callable[..., StubVllm]
LONG = "休息后胸痛仍不缓解应当拨打急救电话。" * 20


def texts(server: StubVllm) -> tuple[str, str]:
    messages = server.chats[-1]["messages"]
    return messages[0]["content"], messages[-1]["content"]


async def test_evidence_goes_by_rank_and_keeps_its_numbers(servers: Servers) -> None:
    server = servers(max_model_len=2400)
    passages = tuple(f"第{n}段。{LONG}" for n in range(1, 7))
    got = await collect(await generator(server), request(*passages, care=frozenset({5})))
    rules, asked = texts(server)
    assert not got.started[-1].degraded
    assert RULES in rules
    assert PATIENT in rules
    assert "胸痛怎么办" in asked
    assert "[1] 资料1" in asked
    assert "[6] 资料6" in asked, "when to seek care must stay, under its own number"
    assert "[5] 资料5" not in asked


async def test_old_turns_go_before_the_best_evidence(servers: Servers) -> None:
    server = servers(max_model_len=1500)
    history = tuple(Turn("user" if n % 2 == 0 else "assistant", "很久以前的话。" * 50) for n in range(6))
    await collect(await generator(server), request(f"最好的一段。{LONG}", "次好的一段。", history=history))
    rules, asked = texts(server)
    assert RULES in rules
    assert "最好的一段" in asked
    assert len(server.chats[-1]["messages"]) < 8


async def test_single_long_passage_is_cut_at_a_sentence(servers: Servers) -> None:
    server = servers(max_model_len=1300)
    got = await collect(await generator(server), request(LONG * 4))
    _, asked = texts(server)
    assert not got.started[-1].degraded
    evidence = asked.split("</资料>")[0].strip()
    assert evidence.endswith("。")


async def test_rules_that_do_not_fit_are_never_cut(servers: Servers) -> None:
    server = servers(max_model_len=600)
    got = await collect(await generator(server), request(LONG))
    assert not server.chats
    assert got.started[-1].kind == "extractive"


async def test_server_that_counts_otherwise_gets_a_shorter_prompt(servers: Servers) -> None:
    server = servers()
    too_long = Act(status=400, message="prompt too long", param="input_tokens")
    server.acts.extend([too_long, too_long])
    got = await collect(await generator(server), request("甲。" * 10, "乙。" * 10, "丙。" * 10, "丁。" * 10))
    assert not got.started[-1].degraded
    _, asked = texts(server)
    assert "丁" not in asked
    assert "甲" in asked


async def test_counting_is_not_repeated_once_the_ratio_is_known(servers: Servers) -> None:
    server = servers(max_model_len=3000)
    chosen = await generator(server)
    for _ in range(5):
        await collect(chosen, request(LONG, LONG))
    assert server.tokenized == 1


async def test_wrong_request_is_not_repeated_elsewhere(servers: Servers) -> None:
    one, two = servers(), servers()
    one.default = two.default = Act(status=422, message="bad field")
    got = await collect(await generator(one, two), request())
    assert len(one.chats) + len(two.chats) == 1
    assert got.started[0].degraded


async def test_server_that_cannot_count_is_passed_over(servers: Servers) -> None:
    bad, good = servers(max_model_len=3000), servers(max_model_len=3000)
    bad.tokenize_status = 500
    chosen = await generator(bad, good)
    chosen.pool.replicas[1].asked_at = 1
    got = await collect(chosen, request(LONG, LONG))
    assert (bad.tokenized, good.tokenized) == (1, 1)
    assert not got.started[-1].degraded


async def test_evidence_stays_when_nobody_can_count(servers: Servers) -> None:
    server = servers(max_model_len=3000)
    server.tokenize_status = 500
    got = await collect(await generator(server), request(LONG, f"第二段。{LONG}", "第三段。"))
    _, asked = texts(server)
    assert "第二段" in asked
    assert "第三段" in asked
    assert server.tokenized == 1, "a server that cannot count must not be asked again for every passage"
    assert not got.started[-1].degraded
