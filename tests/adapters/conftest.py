"""Adapter folders, and the registry over a real database, real files and servers that speak vLLM's API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from app.adapters.assembly import AdapterParts, build_adapters
from app.admin.audit import AuditLog
from app.db.crypto import Vault
from app.db.migrate import migrate
from app.db.session import Database, make_engine
from app.llm.serving import make_pool
from app.safety.types import ReviewContext, ReviewResult, Verdict
from app.settings import LlmSettings, Settings, with_development_secrets
from tests.llm.stub_vllm import BASE, StubVllm

GOOD_ANSWER = ("请立即拨打120[1]。", "家庭自测血压达到135/85提示升高[1]。")


@pytest.fixture
def servers() -> Iterator[Callable[..., StubVllm]]:
    started: list[StubVllm] = []

    def start(**options: int) -> StubVllm:
        server = StubVllm(**options)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


def tensors(rank: int = 4, layers: int = 2, hidden: int = 8, *, fill: float = 0.5) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    for layer in range(layers):
        for module in ("q_proj", "v_proj"):
            key = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            out[f"{key}.lora_A.weight"] = np.full((rank, hidden), fill, dtype=np.float32)
            out[f"{key}.lora_B.weight"] = np.full((hidden, rank), fill, dtype=np.float32)
    return out


def write_adapter(folder: Path, *, weights: dict[str, np.ndarray] | None = None, **config: Any) -> Path:
    """A valid adapter folder, changed as the test says."""
    folder.mkdir(parents=True, exist_ok=True)
    base = {
        "peft_type": "LORA",
        "base_model_name_or_path": f"/somewhere/{BASE}",
        "r": 4,
        "lora_alpha": 8,
        "bias": "none",
        "use_dora": False,
        "target_modules": ["q_proj", "v_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps({**base, **config}))
    save_file(tensors() if weights is None else weights, folder / "adapter_model.safetensors")
    return folder


class Bench:
    """The registry as operators use it."""

    def __init__(self, parts: AdapterParts, database: Database, audit: AuditLog, root: Path) -> None:
        self.parts = parts
        self.service = parts.service
        self.reconciler = parts.reconciler
        self.database = database
        self.audit = audit
        self.root = root

    async def register(self, name: str, **changes: Any) -> str:
        write_adapter(self.root / "incoming" / name, **changes)
        await self.service.register("op", f"incoming/{name}", name=name)
        return name

    async def ready(self, name: str) -> str:
        """Registered, loaded and smoke-tested."""
        await self.register(name)
        await self.service.load("op", name)
        await self.service.smoke_test("op", name)
        return name

    async def state(self, name: str) -> str:
        return (await self.service.find(name)).state

    async def actions(self) -> list[tuple[str, str]]:
        entries, _ = await self.audit.page(None, 100, with_text=False)
        return [(entry.action, entry.target) for entry in reversed(entries)]


def passes(_: ReviewContext, text: str) -> ReviewResult:
    return ReviewResult(Verdict.PASS, text)


def settings_for(tmp_path: Path, urls: list[str], **llm: Any) -> Settings:
    chosen = LlmSettings(
        kind="vllm" if urls else "extractive",
        base_urls=urls,
        model=BASE,
        adapter_root=tmp_path / "adapters",
        max_lora_rank=16,
        monitor_s=0.05,
        **llm,
    )
    return with_development_secrets(Settings(var_dir=tmp_path / "var", llm=chosen, _env_file=None))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Makes a registry in front of these servers."""
    opened: list[tuple[AdapterParts, Database]] = []

    async def make(*served: StubVllm, judge: Any = passes, **changes: Any) -> Bench:
        for server in served:
            server.default = server.default.__class__(tokens=GOOD_ANSWER)
        settings = settings_for(tmp_path, [s.url for s in served]).model_copy(update=changes)
        await asyncio.to_thread(migrate, settings.database_url)
        database = Database(make_engine(settings.database_url))
        keys = {k: v.get_secret_value() for k, v in settings.database.encryption_keys.items()}
        audit = AuditLog(database, Vault(keys, settings.database.primary_key_id))
        parts = build_adapters(settings, database, audit, make_pool(settings.llm), judge)
        opened.append((parts, database))
        return Bench(parts, database, audit, settings.llm.adapter_root)

    yield make
    for parts, database in opened:
        await parts.pool.close()
        await database.close()
