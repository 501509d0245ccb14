"""Tokens: who may do what, and what happens to expired, forged and revoked ones."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from app.db.migrate import migrate
from app.settings import AuthSettings, Environment, Settings
from app.users.roles import Role
from app.users.tokens import TokenIssuer
from tests.conftest import Service, make_settings, running

STAFF_ONLY = [("POST", "/safety/triage", {"text": "胸痛"}), ("GET", "/admin/audit", None)]


@pytest.mark.parametrize(("method", "path", "body"), STAFF_ONLY)
async def test_patients_do_not_reach_staff_endpoints(
    service: Service, method: str, path: str, body: dict[str, str] | None
) -> None:
    refused = await service.http.request(method, path, json=body, headers=await service.guest())
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    for role in (Role.CLINICIAN, Role.EDITOR, Role.OPERATOR):
        allowed = await service.http.request(method, path, json=body, headers=await service.staff(role))
        assert allowed.status_code == 200


async def test_expired_forged_and_foreign_tokens(service: Service) -> None:
    guest = await service.guest()
    claims = jwt.decode(guest["Authorization"][7:], options={"verify_signature": False})
    then = TokenIssuer(service.settings.auth, clock=lambda: datetime.now(UTC) - timedelta(days=400))
    expired = then.issue(claims["sub"], Role.PATIENT, ttl_s=60)
    forged = jwt.encode(
        {**claims, "role": "operator"}, "another secret that is long enough", algorithm="HS256"
    )
    unsigned = jwt.encode({**claims, "role": "operator"}, "", algorithm="none")
    for token, code in (
        (expired, "token_expired"),
        (forged, "token_invalid"),
        (unsigned, "token_invalid"),
        ("x", "token_invalid"),
    ):
        answer = await service.http.get("/conversations", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
        assert answer.headers["www-authenticate"] == "Bearer"
    basic = await service.http.get("/conversations", headers={"Authorization": "Basic eDp5"})
    assert basic.status_code == 401


async def test_staff_log_in_and_are_logged_out_at_once(service: Service) -> None:
    await service.parts.users.add_staff("log-in-test", Role.EDITOR, "a long enough password")
    form = {"username": "log-in-test", "password": "a long enough password"}
    token = (await service.http.post("/auth/staff", data=form)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert (await service.http.get("/admin/audit", headers=headers)).status_code == 200
    wrong = await service.http.post("/auth/staff", data={**form, "password": "not this"})
    unknown = await service.http.post("/auth/staff", data={**form, "username": "nobody"})
    assert wrong.json()["error"]["code"] == unknown.json()["error"]["code"] == "bad_credentials"
    await service.parts.users.revoke_tokens("log-in-test")
    assert (await service.http.get("/admin/audit", headers=headers)).status_code == 401


async def test_development_answers_without_a_token_and_production_does_not(
    tmp_path: Path, small_index: Path
) -> None:
    settings = make_settings(tmp_path, small_index)
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as service:
        assert (await service.http.post("/chat", json={"message": "阿司匹林饭前吃吗"})).status_code == 200
    production = settings.model_copy(
        update={
            "environment": Environment.PRODUCTION,
            "auth": settings.auth.model_copy(update={"guests": False}),
        }
    )
    async with running(production) as service:
        refused = await service.http.post("/chat", json={"message": "阿司匹林饭前吃吗"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthenticated")
        assert (await service.http.post("/auth/guest")).json()["error"]["code"] == "guests_disabled"


@pytest.mark.parametrize("secret", ["", "changeme", "short", "secret"])
def test_production_refuses_placeholder_secrets(secret: str) -> None:
    with pytest.raises(ValueError, match="ANXIN_AUTH__SECRET"):
        Settings(environment=Environment.PRODUCTION, auth=AuthSettings(secret=secret), _env_file=None)  # type: ignore[arg-type,call-arg]


def test_rs256_tokens_verify_with_the_public_key_only() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    settings = AuthSettings(algorithm="RS256", private_key=private, public_key=public)  # type: ignore[arg-type]
    issuer = TokenIssuer(settings)
    identity, version = issuer.verify(issuer.issue("someone", Role.EDITOR, ttl_s=60, version=3))
    assert (identity.user_id, identity.role, version) == ("someone", Role.EDITOR, 3)


async def test_development_secrets_are_private_and_kept(tmp_path: Path) -> None:
    first, second = make_settings(tmp_path / "v", None), make_settings(tmp_path / "v", None)
    assert first.auth.secret == second.auth.secret
    assert len(first.auth.secret.get_secret_value()) >= 32
    assert (tmp_path / "v" / "development-secrets.json").stat().st_mode & 0o077 == 0
