"""`finetune publish`: registers an exported adapter with the running service.

Owns what is checked before and the one request. Loading, probing, canary and activation are the service's registry.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx

from finetune.outputs import sha256_of
from finetune.training.config import VLLM_MAX_RANK
from finetune.training.errors import PublishRefused
from finetune.training.model import read_metadata

NAME = re.compile(r"(cardiology|allergy|stroke_rehab|general)-v[1-9]\d{0,4}")
ENDPOINT = "/api/v1/admin/adapters"


def registration(adapter: Path, name: str, served_path: str | None = None) -> dict[str, Any]:
    """The body of the request; `served_path` is the folder as vLLM's host sees it, when that differs.

    Raises:
        PublishRefused: a wrong name, no finished adapter, or one that vLLM cannot load.
    """
    if NAME.fullmatch(name) is None:
        raise PublishRefused(f"{name!r} is no version name; it is <department>-v<N>, such as cardiology-v3")
    weights = adapter / "adapter_model.safetensors"
    if not weights.is_file() or not (adapter / "adapter_config.json").is_file():
        raise PublishRefused(f"{adapter} is no finished adapter")
    metadata = read_metadata(adapter)
    reasons = list(metadata.get("refusals", [])) + _refusals(adapter)
    if reasons:
        raise PublishRefused("the server cannot load it: " + "; ".join(dict.fromkeys(reasons)))
    return {
        "name": name,
        "department": name.rpartition("-v")[0],
        "path": served_path if served_path is not None else str(adapter.resolve()),
        "base_model": metadata.get("base"),
        "base_fingerprint": metadata.get("base_fingerprint"),
        "rank": metadata.get("rank"),
        "demo": bool(metadata.get("demo")),
        "sha256": sha256_of(weights),
        "metrics": metadata.get("evaluation"),
    }


def _refusals(adapter: Path) -> list[str]:
    """The same limits read from the adapter itself, whatever its metadata says."""
    import json

    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    reasons = []
    if config.get("use_dora"):
        reasons.append("vLLM cannot load DoRA adapters")
    if int(config.get("r", 0)) > VLLM_MAX_RANK:
        reasons.append(f"rank {config['r']} is above the server's largest ({VLLM_MAX_RANK})")
    if config.get("modules_to_save"):
        reasons.append("vLLM cannot load whole modules saved beside the adapter (modules_to_save)")
    return reasons


def publish(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    """Register with the service; `client` carries the address and the operator's bearer token.

    Raises:
        PublishRefused: no service there, one without an adapter registry, or one that says no.
    """
    try:
        reply = client.post(ENDPOINT, json=body)
    except httpx.HTTPError as error:
        raise PublishRefused(f"no service answers at {client.base_url} ({type(error).__name__})") from error
    if reply.status_code in (404, 405):
        raise PublishRefused(f"the service at {client.base_url} has no adapter registry ({ENDPOINT})")
    if reply.status_code >= 400:
        raise PublishRefused(f"the service refused ({reply.status_code}): {_reason(reply)}")
    return dict(reply.json())


def _reason(reply: httpx.Response) -> str:
    try:
        error = reply.json()["error"]
        return f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return reply.text[:200]
