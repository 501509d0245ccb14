"""The OpenAPI description: complete for a client developer, and true (schemathesis)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
)

from app.users.roles import Role
from tests.conftest import Service, make_settings, running


async def description(service: Service) -> dict[str, Any]:
    answer = await service.http.get(str(service.http.base_url).removesuffix("/api/v1/") + "/openapi.json")
    schema: dict[str, Any] = answer.json()
    return schema


async def test_every_operation_is_described(service: Service) -> None:
    schema = await description(service)
    tags = [tag["name"] for tag in schema["tags"]]
    seen: list[str] = []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation.get("summary"), where
            assert operation.get("description"), where
            assert any(int(code) >= 400 for code in operation["responses"]), where
            assert operation["tags"][0] in tags, where
            seen.append(operation["tags"][0])
    order = list(dict.fromkeys(seen))
    assert order == [tag for tag in tags if tag in order]


async def test_docs_pages_load_nothing_from_elsewhere(service: Service) -> None:
    root = str(service.http.base_url).removesuffix("/api/v1/")
    for page in ("/docs", "/redoc"):
        answer = await service.http.get(root + page)
        assert answer.status_code == 200
        assert "https://" not in answer.text
        assert "default-src 'self'" in answer.headers["content-security-policy"]


async def test_patient_text_never_reaches_the_logs(
    tmp_path: Path, small_index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from app.db.migrate import migrate

    configured = make_settings(tmp_path, small_index, log_level="DEBUG")
    await asyncio.to_thread(migrate, configured.database_url)
    async with running(configured) as service:
        guest = await service.guest()
        secret = "我叫欧阳锋我的阿司匹林漏服了"
        await service.ask(guest, secret)
        await service.ask(guest, secret, conversation_id="01ARZ3NDEKTSV4RRFFQ69G5FAV")
        await service.http.get("/knowledge/search", params={"q": secret})
    printed = capsys.readouterr()
    assert "request" in printed.out + printed.err
    assert "欧阳锋" not in printed.out + printed.err


async def test_metrics_count_what_operators_watch(service: Service) -> None:
    guest = await service.guest()
    await service.ask(guest, "阿司匹林饭前吃吗")
    root = str(service.http.base_url).removesuffix("/api/v1/")
    text = (await service.http.get(root + "/metrics")).text
    for name in (
        "requests_total",
        "ttft_seconds",
        "step_seconds",
        "triage_total",
        "verdicts_total",
        "degraded_answers_total",
        "evidence_none_total",
    ):
        assert f"anxin_{name}" in text


async def test_the_service_keeps_its_description(service: Service) -> None:
    """Schemathesis: generated requests never make a server error or an undocumented answer."""
    raw = await description(service)
    token = await service.guest()
    staff = await service.staff(Role.OPERATOR)
    base = str(service.http.base_url).removesuffix("/api/v1/")

    def explore() -> None:
        schema = schemathesis.openapi.from_dict(raw)
        for result in schema.get_all_operations():
            operation = result.ok()
            if operation.path.endswith(("/chat/{message_id}/events", "/staff")) or "index" in operation.path:
                continue
            headers = staff if operation.path.startswith(("/api/v1/admin", "/api/v1/safety")) else token

            @settings(
                max_examples=6,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                derandomize=True,
            )
            @given(case=operation.as_strategy())
            def probe(case: Any) -> None:
                case.call_and_validate(
                    base_url=base,
                    headers=headers,
                    timeout=30,
                    excluded_checks=[negative_data_rejection, positive_data_acceptance, unsupported_method],
                )

            probe()

    await asyncio.to_thread(explore)


async def test_unknown_paths_and_methods_have_the_house_shape(service: Service) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("PUT", "/chat", 405)):
        answer = await service.http.request(method, path)
        assert answer.status_code == status
        assert set(answer.json()["error"]) >= {"code", "message", "request_id"}


async def test_given_request_id_is_kept_and_a_bad_one_replaced(service: Service) -> None:
    kept = await service.http.get("/health/live", headers={"X-Request-ID": "abcdefgh-1234"})
    assert kept.headers["x-request-id"] == "abcdefgh-1234"
    replaced = await service.http.get("/health/live", headers={"X-Request-ID": "a b"})
    assert replaced.headers["x-request-id"] != "a b"
    assert isinstance(kept, httpx.Response)
