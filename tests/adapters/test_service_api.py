"""The registry and the model client as users and operators meet them: through the running service."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from app.cli_adapters import adapters_app
from app.db.migrate import migrate
from app.settings import LlmSettings
from app.users.roles import Role
from tests.adapters.conftest import GOOD_ANSWER, write_adapter
from tests.conftest import Service, events_of, make_settings, running
from tests.llm.stub_vllm import BASE, Act, StubVllm

Servers = Callable[..., StubVllm]
QUESTION = "冠心病患者为什么要长期吃阿托伐他汀？"


@pytest.fixture
async def served(
    tmp_path: Path, small_index: Path, servers: Servers
) -> AsyncIterator[tuple[Service, StubVllm]]:
    server = servers(max_model_len=8192)
    server.default = Act(tokens=GOOD_ANSWER)
    llm = LlmSettings(
        kind="vllm",
        base_urls=[server.url],
        model=BASE,
        adapter_root=tmp_path / "adapters",
        monitor_s=0.2,
        first_token_s=2,
        concurrency=2,
        queue=0,
    )
    settings = make_settings(tmp_path / "var", small_index, llm=llm)
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as service:
        yield service, server


async def test_operator_brings_an_adapter_to_patients(
    served: tuple[Service, StubVllm], tmp_path: Path
) -> None:
    service, server = served
    operator, guest = await service.staff(Role.OPERATOR), await service.guest()
    write_adapter(tmp_path / "adapters" / "incoming" / "a")
    made = await service.http.post(
        "/admin/adapters", json={"path": "incoming/a", "department": "cardiology"}, headers=operator
    )
    assert made.status_code == 201
    name = made.json()["name"]
    for step, body in (("load", {}), ("smoke-test", {}), ("canary", {"percent": 100}), ("activate", {})):
        answer = await service.http.post(f"/admin/adapters/{name}/{step}", json=body, headers=operator)
        assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "active"
    server.answers[name] = ("适度运动对多数冠心病患者有益[1]。",)
    told = (await service.ask(guest, QUESTION, department="cardiology")).json()
    assert (told["generator"]["kind"], told["generator"]["adapter"]) == ("vllm", name)
    assert server.chats[-1]["model"] == name
    other = (await service.ask(guest, "过敏性鼻炎平时要注意什么？", department="allergy")).json()
    assert other["generator"]["adapter"] is None
    listed = (await service.http.get("/admin/adapters", headers=operator)).json()
    assert [item["name"] for item in listed["items"]] == [name]
    assert listed["replicas"][0]["adapters"] == [name]
    back = await service.http.post(
        "/admin/adapters/rollback", json={"department": "cardiology"}, headers=operator
    )
    assert back.json() == {"department": "cardiology", "adapter": None}
    again = (await service.ask(guest, QUESTION, conversation_id=told["conversation_id"])).json()
    assert again["generator"]["adapter"] is None, (
        "a running conversation leaves a version that was rolled back"
    )


async def test_what_training_announces_is_compared_with_the_files(
    served: tuple[Service, StubVllm], tmp_path: Path
) -> None:
    service, _ = served
    operator = await service.staff(Role.OPERATOR)
    folder = write_adapter(tmp_path / "adapters" / "incoming" / "a")
    weights = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    body = {
        "name": "cardiology-v1",
        "department": "cardiology",
        "path": str(folder),
        "base_model": BASE,
        "base_fingerprint": "f",
        "rank": 4,
        "demo": True,
        "sha256": weights,
        "metrics": {"total": 91.5},
    }
    for lie in ({"sha256": "0" * 64}, {"rank": 8}, {"base_model": "Other"}):
        refused = await service.http.post("/admin/adapters", json={**body, **lie}, headers=operator)
        assert refused.json()["error"]["details"] == {"reason": "not_as_claimed"}
    kept = (await service.http.post("/admin/adapters", json=body, headers=operator)).json()
    assert (kept["demo"], kept["evaluation"], kept["state"]) == (True, {"total": 91.5}, "registered")


async def test_only_operators_change_and_patients_see_nothing(served: tuple[Service, StubVllm]) -> None:
    service, _ = served
    guest, clinician = await service.guest(), await service.staff(Role.CLINICIAN)
    assert (await service.http.get("/admin/adapters", headers=guest)).status_code == 403
    assert (await service.http.get("/admin/adapters", headers=clinician)).status_code == 200
    for path, body in (
        ("", {"path": "x"}),
        ("/rollback", {"department": "cardiology"}),
        ("/cardiology-v1/load", {}),
    ):
        assert (
            await service.http.post(f"/admin/adapters{path}", json=body, headers=clinician)
        ).status_code == 403


async def test_errors_have_the_house_shape(served: tuple[Service, StubVllm], tmp_path: Path) -> None:
    service, _ = served
    operator = await service.staff(Role.OPERATOR)

    async def post(path: str, body: dict[str, object]) -> tuple[int, str]:
        answer = await service.http.post(f"/admin/adapters{path}", json=body, headers=operator)
        return answer.status_code, answer.json()["error"]["code"]

    write_adapter(tmp_path / "adapters" / "incoming" / "bad", r=1000)
    assert await post("", {"path": "incoming/bad", "name": "cardiology-v1"}) == (400, "adapter_rejected")
    assert await post("", {"path": "/etc", "name": "cardiology-v1"}) == (400, "adapter_rejected")
    assert await post("", {"path": "x\0y", "name": "cardiology-v1"}) == (400, "adapter_rejected")
    assert await post("", {"path": "x"}) == (422, "invalid_payload")
    assert await post("/cardiology-v1/load", {}) == (404, "adapter_not_found")
    assert await post("/cardiology-v1/canary", {"percent": 101}) == (422, "invalid_payload")
    assert await post("/rollback", {"department": "cardiology"}) == (404, "adapter_not_found")


async def test_busy_is_503_with_retry_after(served: tuple[Service, StubVllm]) -> None:
    service, server = served
    server.default = Act(first_delay_s=1.5)
    guests = [await service.guest() for _ in range(3)]
    running_answers = [asyncio.create_task(service.ask(g, QUESTION)) for g in guests[:2]]
    async with asyncio.timeout(10):
        while server.running < 2:
            await asyncio.sleep(0.02)
    turned_away = await service.ask(guests[2], QUESTION)
    assert turned_away.status_code == 503
    assert turned_away.json()["error"]["code"] == "service_busy"
    assert int(turned_away.headers["retry-after"]) > 0
    for answer in await asyncio.gather(*running_answers):
        assert answer.status_code == 200


async def test_broken_stream_ends_in_a_degraded_answer_that_is_stored_as_shown(
    served: tuple[Service, StubVllm],
) -> None:
    service, server = served
    guest = await service.guest()
    server.default = Act(tokens=("适度运动对多数冠心病患者有益[1]。", "但是", "如果"), break_after=2)
    answer = await service.ask(guest, QUESTION, stream=True)
    events = [(name, json.loads(data)) for _, name, data in events_of(answer.text)]
    shown = "".join(data["text"] for name, data in events if name == "delta")
    assert events[-1][0] == "done"
    assert events[-1][1]["generator"]["degraded"] is True
    assert "回答在这里中断了" in shown
    assert "但是" not in shown.split("（回答在这里中断了")[0]
    kept = (
        await service.http.get(f"/conversations/{events[-1][1]['conversation_id']}", headers=guest)
    ).json()
    assert kept["messages"][-1]["content"] == shown


async def test_reader_who_leaves_stops_the_model(served: tuple[Service, StubVllm]) -> None:
    service, server = served
    server.default = Act(tokens=("适度运动有益[1]。",) * 400, gap_s=0.05)
    guest = await service.guest()
    body = {"message": QUESTION, "stream": True}
    async with service.http.stream("POST", "/chat", json=body, headers=guest) as response:
        async for _ in response.aiter_bytes():
            if server.running:
                break
    async with asyncio.timeout(10):
        while server.running:
            await asyncio.sleep(0.05)
    assert server.cancelled == 1


async def test_service_without_its_model_server_still_answers(served: tuple[Service, StubVllm]) -> None:
    service, server = served
    await asyncio.to_thread(server.stop)
    guest = await service.guest()
    answer = (await service.ask(guest, QUESTION)).json()
    assert (answer["generator"]["kind"], answer["generator"]["degraded"]) == ("extractive", True)
    ready = await service.http.get("/health/ready")
    assert ready.status_code == 200
    assert {"name": "generator", "state": "degraded"}.items() <= next(
        p for p in ready.json()["parts"] if p["name"] == "generator"
    ).items()
    metrics = await httpx.AsyncClient(trust_env=False).get(
        str(service.http.base_url).replace("/api/v1/", "/metrics")
    )
    assert f'anxin_llm_replica_up{{replica="{server.url}"}} 0.0' in metrics.text
    server.start()


def test_command_line_does_the_same(
    tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    server = servers()
    server.default = Act(tokens=GOOD_ANSWER)
    folder = write_adapter(tmp_path / "trained")
    (folder / "anxin.json").write_text('{"demo": true}')
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "LLM__KIND": "vllm",
        "LLM__BASE_URLS": json.dumps([server.url]),
        "LLM__MODEL": BASE,
        "LLM__ADAPTER_ROOT": str(tmp_path / "adapters"),
        "VAR_DIR": str(tmp_path / "var"),
        "DATABASE__URL": f"sqlite+aiosqlite:///{tmp_path}/a.db",
    }.items():
        monkeypatch.setenv(f"ANXIN_{name}", value)
    migrate(f"sqlite+aiosqlite:///{tmp_path}/a.db")
    run = CliRunner().invoke

    def says(*words: str) -> str:
        result = run(adapters_app, list(words))
        assert result.exit_code == 0, result.output
        return result.output

    assert "registered" in says("register", str(folder), "--department", "cardiology")
    assert "loaded" in says("load", "cardiology-v1")
    assert "differs_from_base" in says("smoke-test", "cardiology-v1")
    assert "canary" in says("canary", "cardiology-v1", "--percent", "5")
    assert "active" in says("activate", "cardiology-v1")
    assert "cardiology-v1" in says("list")
    assert "base model" in says("rollback", "cardiology")
    assert "retired" in says("retire", "cardiology-v1")
    refused = run(adapters_app, ["load", "cardiology-v1"])
    assert refused.exit_code == 1
    assert "state_conflict" in refused.output
