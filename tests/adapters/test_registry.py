"""What operators do and what comes of it: states, servers, two at once, audit, roll back."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.adapters.errors import AdapterNotReady, AdapterReplicaFailed, DemoAdapter
from app.adapters.states import TRANSITIONS, State
from app.errors import AdapterNotFound, AnxinError, StateConflict
from app.safety.types import ReviewResult, Verdict, Violation, ViolationCode
from app.settings import Environment
from tests.llm.stub_vllm import Act, StubVllm

Make = Callable[..., Any]
Servers = Callable[..., StubVllm]


async def test_whole_life_is_audited(bench: Make, servers: Servers) -> None:
    one, two = servers(), servers()
    made = await bench(one, two)
    name = await made.ready("cardiology-v1")
    assert one.adapters == two.adapters == {name: str(made.root / name)}
    assert (await made.service.canary("op", name, 10)).canary_percent == 10
    assert (await made.service.activate("op", name)).state == "active"
    second = await made.ready("cardiology-v2")
    await made.service.activate("op", second)
    assert await made.state(name) == "smoke_tested"
    assert (await made.service.rollback("op", "cardiology")).name == name
    await made.service.retire("op", second)
    assert one.adapters.keys() == two.adapters.keys() == {name}, "nothing ran through it, so it is unloaded"
    assert await made.actions() == [
        ("adapter.registered", name),
        ("adapter.loaded", name),
        ("adapter.smoke_tested", name),
        ("adapter.canary", name),
        ("adapter.activated", name),
        ("adapter.registered", second),
        ("adapter.loaded", second),
        ("adapter.smoke_tested", second),
        ("adapter.activated", second),
        ("adapter.rolled_back", name),
        ("adapter.retired", second),
    ]


async def test_roll_back_without_a_version_before_goes_to_the_base_model(
    bench: Make, servers: Servers
) -> None:
    made = await bench(servers())
    with pytest.raises(AdapterNotFound):
        await made.service.rollback("op", "cardiology")
    await made.service.activate("op", await made.ready("cardiology-v1"))
    assert await made.service.rollback("op", "cardiology") is None
    assert await made.state("cardiology-v1") == "smoke_tested"


async def test_roll_back_skips_what_was_retired_and_does_not_swing_back(
    bench: Make, servers: Servers
) -> None:
    made = await bench(servers())
    for number in (1, 2, 3):
        await made.service.activate("op", await made.ready(f"cardiology-v{number}"))
    await made.service.retire("op", "cardiology-v2")
    assert (await made.service.rollback("op", "cardiology")).name == "cardiology-v1"
    assert await made.service.rollback("op", "cardiology") is None, "v3 was rolled back and must not return"


async def test_roll_back_needs_one_server_only(bench: Make, servers: Servers) -> None:
    one, two = servers(), servers()
    made = await bench(one, two)
    for name in ("cardiology-v1", "cardiology-v2"):
        await made.service.activate("op", await made.ready(name))
    two.well = False
    assert (await made.service.rollback("op", "cardiology")).name == "cardiology-v1"
    two.well = True
    await made.service.activate("op", "cardiology-v2")
    one.well = two.well = False
    with pytest.raises(AdapterReplicaFailed) as failed:
        await made.service.rollback("op", "cardiology")
    assert {r["replica"] for r in failed.value.details["replicas"]} == {one.url, two.url}
    assert await made.state("cardiology-v2") == "active"


async def test_skipped_steps_are_refused(bench: Make, servers: Servers) -> None:
    made = await bench(servers())
    await made.register("cardiology-v1")
    for step in (
        made.service.activate("op", "cardiology-v1"),
        made.service.canary("op", "cardiology-v1", 5),
        made.service.smoke_test("op", "cardiology-v1"),
    ):
        with pytest.raises(StateConflict):
            await step
    await made.service.activate("op", await made.ready("cardiology-v2"))
    with pytest.raises(StateConflict):
        await made.service.retire("op", "cardiology-v2")
    await made.service.retire("op", "cardiology-v1")
    with pytest.raises(StateConflict):
        await made.service.load("op", "cardiology-v1")
    with pytest.raises(AdapterNotFound):
        await made.service.load("op", "cardiology-v99")


async def test_loaded_adapter_is_smoke_tested_before_it_gets_traffic(bench: Make, servers: Servers) -> None:
    server = servers()
    made = await bench(server)
    await made.register("cardiology-v1")
    await made.service.load("op", "cardiology-v1")
    server.answers["cardiology-v1"] = ("再观察几天看看[1]。",)
    with pytest.raises(AdapterNotReady):
        await made.service.activate("op", "cardiology-v1")
    assert await made.state("cardiology-v1") == "loaded"
    del server.answers["cardiology-v1"]
    assert (await made.service.activate("op", "cardiology-v1")).state == "active"


@pytest.mark.parametrize("racing", ["activate", "canary"])
async def test_two_operators_at_once_leave_exactly_one(bench: Make, servers: Servers, racing: str) -> None:
    made = await bench(servers())
    names = [await made.ready(f"cardiology-v{n}") for n in (1, 2, 3)]
    extra = (50,) if racing == "canary" else ()
    outcomes = await asyncio.gather(
        *(getattr(made.service, racing)("op", name, *extra) for name in names), return_exceptions=True
    )
    wanted = "active" if racing == "activate" else "canary"
    states = [await made.state(name) for name in names]
    assert states.count(wanted) == 1
    assert all(isinstance(o, AnxinError) for o in outcomes if isinstance(o, BaseException))
    assert any(not isinstance(o, BaseException) for o in outcomes)


async def test_same_change_twice_at_once_happens_once(bench: Make, servers: Servers) -> None:
    made = await bench(servers())
    name = await made.ready("cardiology-v1")
    outcomes = await asyncio.gather(
        *(made.service.activate("op", name) for _ in range(4)), return_exceptions=True
    )
    assert sum(not isinstance(o, BaseException) for o in outcomes) == 1
    assert all(isinstance(o, StateConflict) for o in outcomes if isinstance(o, BaseException))
    assert (await made.actions()).count(("adapter.activated", name)) == 1


async def test_change_based_on_an_old_look_is_refused(bench: Make, servers: Servers) -> None:
    made = await bench(servers())
    name = await made.ready("cardiology-v1")
    seen = (await made.service.find(name)).version
    await made.service.canary("op", name, 5)
    with pytest.raises(StateConflict):
        await made.service.canary("other", name, 90, seen)
    assert (await made.service.find(name)).canary_percent == 5


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "not_found"), (500, "server_error"), (400, "refused"), (429, "unreachable")]
)
async def test_replica_that_cannot_load_is_named_and_nothing_stays(
    bench: Make, servers: Servers, status: int, reason: str
) -> None:
    good, bad = servers(), servers()
    made = await bench(good, bad)
    await made.register("cardiology-v1")
    bad.load_status["cardiology-v1"] = status
    with pytest.raises(AdapterReplicaFailed) as failed:
        await made.service.load("op", "cardiology-v1")
    assert [(r["replica"], r["reason"]) for r in failed.value.details["replicas"]] == [(bad.url, reason)]
    assert good.adapters == {}
    assert await made.state("cardiology-v1") == "registered"


async def test_load_that_is_accepted_but_does_not_answer_does_not_count(
    bench: Make, servers: Servers
) -> None:
    server = servers()
    made = await bench(server)
    await made.register("cardiology-v1")
    server.default = Act(status=500)
    with pytest.raises(AdapterReplicaFailed):
        await made.service.load("op", "cardiology-v1")
    assert await made.state("cardiology-v1") == "registered"
    assert server.adapters == {}


async def test_name_taken_by_other_weights_is_an_error(bench: Make, servers: Servers) -> None:
    server = servers()
    made = await bench(server)
    await made.register("cardiology-v1")
    server.adapters["cardiology-v1"] = "/elsewhere/cardiology-v1"
    with pytest.raises(AdapterReplicaFailed) as failed:
        await made.service.load("op", "cardiology-v1")
    assert failed.value.details["replicas"][0]["reason"] == "foreign_root"


async def test_dead_replica_blocks_load_and_activation(bench: Make, servers: Servers) -> None:
    one, two = servers(), servers()
    made = await bench(one, two)
    name = await made.ready("cardiology-v1")
    two.well = False
    with pytest.raises(AdapterReplicaFailed) as failed:
        await made.service.activate("op", name)
    assert [r["replica"] for r in failed.value.details["replicas"]] == [two.url]


async def test_server_that_answers_garbage_is_named_and_nothing_changes(
    bench: Make, servers: Servers
) -> None:
    good, strange = servers(), servers()
    made = await bench(good, strange)
    await made.register("cardiology-v1")
    strange.garbage_models = True
    with pytest.raises(AdapterReplicaFailed) as failed:
        await made.service.load("op", "cardiology-v1")
    assert [r["replica"] for r in failed.value.details["replicas"]] == [strange.url]
    assert good.adapters == {}
    assert await made.state("cardiology-v1") == "registered"
    strange.garbage_models = False
    assert (await made.service.load("op", "cardiology-v1")).state == "loaded"


async def test_clock_that_goes_back_stops_no_step(bench: Make, servers: Servers) -> None:
    made = await bench(servers())
    now = [datetime(2026, 11, 1, tzinfo=UTC)]

    def earlier() -> datetime:
        now[0] -= timedelta(hours=1)
        return now[0]

    made.service._clock = earlier
    for name in ("cardiology-v1", "cardiology-v2"):
        await made.ready(name)
        assert (await made.service.canary("op", name, 10)).state == "canary"
        assert (await made.service.activate("op", name)).state == "active"
    assert (await made.service.rollback("op", "cardiology")).name == "cardiology-v1"
    await made.service.retire("op", "cardiology-v2")
    actions = await made.actions()
    assert actions[-2:] == [("adapter.rolled_back", "cardiology-v1"), ("adapter.retired", "cardiology-v2")]


async def test_without_servers_nothing_can_be_loaded(bench: Make) -> None:
    made = await bench()
    await made.register("cardiology-v1")
    with pytest.raises(AdapterReplicaFailed):
        await made.service.load("op", "cardiology-v1")


async def test_files_changed_on_disk_stop_every_step(bench: Make, servers: Servers) -> None:
    made = await bench(servers())
    name = await made.ready("cardiology-v1")
    weights = made.root / name / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(AdapterNotReady):
        await made.service.activate("op", name)
    (made.root / name).chmod(0o755)
    shutil.rmtree(made.root / name)
    with pytest.raises(AdapterNotReady):
        await made.service.load("op", name)
    assert await made.state(name) == "smoke_tested"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (("不用担心[1]。",), "does not say 120"),
        (("请拨打120。",), "cites nothing"),
        (("请拨打120[1][7]。",), "cites passages that were not given"),
        (("<think>120[1]</think>请休息[1]。",), "does not say 120"),
    ],
)
async def test_smoke_test_sees_bad_answers(
    bench: Make, servers: Servers, answer: tuple[str, ...], problem: str
) -> None:
    good, bad = servers(), servers()
    made = await bench(good, bad)
    name = await made.register("cardiology-v1")
    await made.service.load("op", name)
    bad.answers[name] = answer
    with pytest.raises(AdapterNotReady) as failed:
        await made.service.smoke_test("op", name)
    results = failed.value.details["report"]["results"]
    assert {r["replica"] for r in results if r["problem"]} == {bad.url}
    assert any(r["problem"] == problem for r in results)
    assert (await made.service.find(name)).smoke_report["passed"] is False
    assert await made.state(name) == "loaded"


async def test_smoke_test_asks_the_services_own_review(bench: Make, servers: Servers) -> None:
    def blocks(_: object, text: str) -> ReviewResult:
        return ReviewResult(Verdict.BLOCKED, text, (Violation(ViolationCode.DISCOURAGE_CARE, "x", "r"),))

    made = await bench(servers(), judge=blocks)
    await made.register("cardiology-v1")
    await made.service.load("op", "cardiology-v1")
    with pytest.raises(AdapterNotReady, match="discourage_care"):
        await made.service.smoke_test("op", "cardiology-v1")


async def test_adapter_that_answers_like_the_base_model_is_refused(bench: Make, servers: Servers) -> None:
    server = servers()
    server.alike = True
    made = await bench(server)
    await made.register("cardiology-v1")
    await made.service.load("op", "cardiology-v1")
    with pytest.raises(AdapterNotReady, match="exactly like the base model"):
        await made.service.smoke_test("op", "cardiology-v1")


async def test_demo_adapter_stays_in_development(bench: Make, servers: Servers) -> None:
    made = await bench(servers())
    folder = made.root / "incoming" / "demo"
    from tests.adapters.conftest import write_adapter

    write_adapter(folder)
    (folder / "anxin.json").write_text('{"demo": true}')
    await made.service.register("op", "incoming/demo", name="cardiology-v1")
    await made.service.load("op", "cardiology-v1")
    assert (await made.service.activate("op", "cardiology-v1")).state == "active"
    strict = await bench(servers(), environment=Environment.STAGING)
    for step in (
        strict.service.activate("op", "cardiology-v1"),
        strict.service.canary("op", "cardiology-v1", 5),
    ):
        with pytest.raises(DemoAdapter):
            await step


def test_every_state_has_its_moves_and_retired_is_final() -> None:
    assert set(TRANSITIONS) == set(State)
    assert TRANSITIONS[State.RETIRED] == frozenset()
    reachable = {State.REGISTERED}
    for _ in State:
        reachable |= {to for state in reachable for to in TRANSITIONS[state]}
    assert reachable == set(State)
