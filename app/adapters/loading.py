"""Loads one adapter on every replica and believes it only after an answer came through its name.

vLLM answers 200 for a load before anything was computed with it, and 400 for a name that it has, whatever the weights
are; hence the probe and the look at where it was loaded from. Owns the calls; states are kept in `service.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from app.adapters.errors import AdapterReplicaFailed
from app.llm.faults import CallRefused, ModelFault, ModelMissing, ReplicaDown
from app.llm.pool import Replica, ReplicaPool
from app.observability import log

PROBE_TIMEOUT_S = 60.0
PROBE = [{"role": "user", "content": "你好"}]


@dataclass(frozen=True, slots=True)
class Problem:
    """What one replica said; `reason` is stable, `message` is for operators."""

    replica: str
    reason: str
    message: str


class AdapterLoader:
    """Acts on all replicas at once."""

    def __init__(self, pool: ReplicaPool) -> None:
        self.pool = pool

    async def load_everywhere(self, name: str) -> None:
        """Loads and probes; replicas that got it just now lose it again when one fails.

        Raises:
            AdapterReplicaFailed: naming every replica that did not do it.
        """
        await self.pool.refresh()
        self._require_replicas()
        had = {r.url for r in self.pool.replicas if self.pool.has(r, name)}
        problems = await self.problems(name)
        if not problems:
            return
        failed = {p.replica for p in problems}
        fresh = [r for r in self.pool.replicas if r.url not in had | failed]
        await asyncio.gather(*(self.unload_from(r, name) for r in fresh))
        raise replicas_failed(problems)

    async def problems(self, name: str) -> list[Problem]:
        """Loads on every replica; what went wrong, empty when all have it."""
        found = await asyncio.gather(*(self.load_on(r, name) for r in self.pool.replicas))
        return [p for p in found if p is not None]

    async def load_on(self, replica: Replica, name: str) -> Problem | None:
        """Loads and probes on one replica; what was loaded just now and does not answer is unloaded again."""
        fresh = False
        try:
            fresh = await replica.client.load_adapter(name, self.pool.path_of(name)) == "loaded"
            await self.pool.refresh_one(replica)
            if not self.pool.has(replica, name):
                root = replica.adapters.get(name)
                told = "没有列出它" if root is None else f"已从别处载入同名适配器（{root}）"
                return Problem(replica.url, "foreign_root", f"副本{told}，不会向它分配请求。")
            await self.probe(replica, name)
        except ModelFault as fault:
            problem = explained(fault, self.pool.path_of(name))
            log.warning("adapter_load_failed", adapter=name, replica=replica.url, reason=problem.reason)
            if fresh:
                await self.unload_from(replica, name)
            return problem
        return None

    async def probe(self, replica: Replica, name: str) -> dict[str, Any]:
        """One token through the name. Raises ModelFault."""
        payload = {"model": name, "messages": PROBE, "max_tokens": 1, "temperature": 0}
        body = await replica.client.complete(payload, timeout_s=PROBE_TIMEOUT_S)
        if not body.get("choices"):
            raise ReplicaDown("the probe got no answer", replica=replica.url)
        return body

    async def unload_from(self, replica: Replica, name: str) -> bool:
        """Whether the replica is without the adapter now."""
        try:
            await replica.client.unload_adapter(name)
            await self.pool.refresh_one(replica)
        except ModelFault as fault:
            log.warning("adapter_unload_failed", adapter=name, replica=replica.url, problem=fault.problem)
            return False
        return True

    def _require_replicas(self) -> None:
        if not self.pool.replicas:
            raise AdapterReplicaFailed("没有配置模型服务（ANXIN_LLM__BASE_URLS）。", details={"replicas": []})


def explained(fault: ModelFault, path: str) -> Problem:
    """The fault in the operator's words."""
    if isinstance(fault, ModelMissing):
        return Problem(
            fault.replica, "not_found", f"副本看不到 {path}；请检查挂载与 ANXIN_LLM__ADAPTER_ROOT_ON_SERVER。"
        )
    if isinstance(fault, CallRefused):
        return Problem(fault.replica, "refused", f"副本拒绝：{fault.problem}")
    if isinstance(fault, ReplicaDown) and fault.problem.startswith("HTTP 500"):
        return Problem(fault.replica, "server_error", f"副本载入失败（秩、模块或权重不合）：{fault.problem}")
    return Problem(fault.replica, "unreachable", f"副本没有正常回应：{fault.problem}")


def replicas_failed(problems: list[Problem]) -> AdapterReplicaFailed:
    listed = [{"replica": p.replica, "reason": p.reason, "message": p.message} for p in problems]
    return AdapterReplicaFailed(
        "；".join(f"{p.replica}：{p.message}" for p in problems), details={"replicas": listed}
    )
