"""Handing an adapter over: the card, the refusals, and the one request to the service."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from finetune.export import export, to_gguf
from finetune.publish import publish, registration
from finetune.training.errors import MissingPackage, PublishRefused, SettingsError


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "out" / "adapter"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 16, "peft_type": "LORA"}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    metadata = {
        "base": "Qwen/Qwen2.5-7B-Instruct",
        "base_fingerprint": "abc",
        "department": "cardiology",
        "audience": "patient",
        "objective": "sft",
        "method": "qlora",
        "rank": 16,
        "demo": True,
        "refusals": [],
        "data": {"train.jsonl": "00ff"},
        "code": "1234",
    }
    (folder / "anxin.json").write_text(json.dumps(metadata))
    return folder


def test_the_demo_mark_travels_with_the_export_and_into_the_registration(
    adapter: Path, tmp_path: Path
) -> None:
    out = export(adapter, tmp_path / "cardiology-v1", version="cardiology-v1")
    card = (out / "README.md").read_text()
    assert "development only" in card
    assert "00ff" in card
    assert "Not evaluated" in card
    body = registration(out, "cardiology-v1", "/models/cardiology-v1")
    assert body["demo"] is True
    assert (body["department"], body["path"], body["rank"]) == ("cardiology", "/models/cardiology-v1", 16)


def test_a_published_version_is_never_written_again(adapter: Path, tmp_path: Path) -> None:
    export(adapter, tmp_path / "v", version="cardiology-v1")
    with pytest.raises(SettingsError, match="never written again"):
        export(adapter, tmp_path / "v", version="cardiology-v1")


@pytest.mark.parametrize(
    "name", ["cardiology", "cardiology-v0", "heart-v1", "../cardiology-v1", "cardiology-v1 "]
)
def test_only_version_names_are_published(adapter: Path, name: str) -> None:
    with pytest.raises(PublishRefused, match="version name"):
        registration(adapter, name)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"use_dora": True, "r": 8}, "DoRA"),
        ({"r": 128}, "rank 128"),
        ({"r": 8, "modules_to_save": ["score"]}, "whole modules"),
    ],
)
def test_what_vllm_cannot_load_is_refused_whatever_its_metadata_says(
    adapter: Path, config: dict[str, object], said: str
) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(PublishRefused, match=said):
        registration(adapter, "cardiology-v2")


def answering(status: int, body: object) -> httpx.Client:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/v1/admin/adapters"
        return httpx.Response(status, json=body)

    return httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))


def test_the_service_registers_or_its_reason_is_told(adapter: Path) -> None:
    body = registration(adapter, "cardiology-v1")
    assert (
        publish(answering(201, {"name": "cardiology-v1", "state": "registered"}), body)["state"]
        == "registered"
    )
    refusal = {"error": {"code": "base_mismatch", "message": "底座不同", "request_id": "r"}}
    with pytest.raises(PublishRefused, match="base_mismatch: 底座不同"):
        publish(answering(409, refusal), body)
    with pytest.raises(PublishRefused, match="no adapter registry"):
        publish(answering(404, {}), body)


def test_no_service_is_a_clear_message(adapter: Path) -> None:
    with (
        httpx.Client(base_url="http://127.0.0.1:9", trust_env=False) as client,
        pytest.raises(PublishRefused, match="no service answers"),
    ):
        publish(client, registration(adapter, "cardiology-v1"))


def test_gguf_without_the_converter_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPackage, match=r"llama\.cpp"):
        to_gguf(tmp_path, tmp_path / "out.gguf")
