"""The replicas of the model server: which are well, which adapters each has, how busy each is, whom to ask next.

Health and adapters come from `refresh` (a background task calls it every few seconds) and from what requests run
into. Owns routing only: restoring adapters is the reconciler's work, answers are put together in `vllm.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.llm.breaker import Breaker, Circuit
from app.llm.client import ServedModel, VllmClient
from app.llm.faults import (
    CallRefused,
    ModelFault,
    ModelMissing,
    PromptTooLong,
    ReplicaBusy,
    ReplicaDown,
    TooSlow,
)
from app.llm.instruments import adapter_loaded, replica_faults, replica_outstanding, replica_up
from app.observability import log

SLOW_CHECKS_TO_LOSE = 2


@dataclass(slots=True)
class Replica:
    """One server. `adapters` maps a name to the folder it was loaded from."""

    client: VllmClient
    breaker: Breaker
    healthy: bool = False
    checked: bool = False
    adapters: dict[str, str] = field(default_factory=dict)
    base_root: str = ""
    context_tokens: int | None = None
    outstanding: int = 0
    streams: Counter[str] = field(default_factory=Counter)
    asked_at: int = 0
    slow_checks: int = 0

    @property
    def url(self) -> str:
        return self.client.url

    @property
    def usable(self) -> bool:
        return self.healthy and self.breaker.allows


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """What operators see of a replica."""

    url: str
    healthy: bool
    circuit: Circuit
    outstanding: int
    adapters: tuple[str, ...]


class ReplicaPool:
    """All replicas; they serve the same base model under the name `model`.

    An adapter counts as served only where it was loaded from its own folder under `adapter_root` (the path as the
    servers see it): the same name from elsewhere would be other weights.
    """

    def __init__(
        self,
        clients: Collection[VllmClient],
        *,
        model: str,
        adapter_root: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self._adapter_root = adapter_root.rstrip("/")
        self.replicas = [Replica(client, Breaker(clock=clock)) for client in clients]
        self.changed = asyncio.Event()
        self._asked = 0

    @property
    def context_tokens(self) -> int | None:
        """The shortest context among the replicas, None before any has said."""
        return min((r.context_tokens for r in self.replicas if r.context_tokens is not None), default=None)

    def path_of(self, adapter: str) -> str:
        """The adapter's folder as the servers see it."""
        return f"{self._adapter_root}/{adapter}"

    def has(self, replica: Replica, adapter: str) -> bool:
        """Whether the replica serves this adapter's own weights."""
        return replica.adapters.get(adapter) == self.path_of(adapter)

    def serves(self, adapter: str) -> bool:
        """Whether any usable replica has the adapter."""
        return any(r.usable and self.has(r, adapter) for r in self.replicas)

    def streams_of(self, adapter: str) -> int:
        """How many answers of this process run through the adapter now."""
        return sum(r.streams[adapter] for r in self.replicas)

    def pick(self, adapter: str | None, tried: Collection[str] = ()) -> Replica | None:
        """The usable replica with the fewest requests that has the adapter; the one longest unasked among equals."""
        able = [
            r
            for r in self.replicas
            if r.usable and r.url not in tried and (adapter is None or self.has(r, adapter))
        ]
        return min(able, key=lambda r: (r.outstanding, r.asked_at), default=None)

    @contextmanager
    def call(self, replica: Replica, adapter: str | None) -> Iterator[None]:
        """Counts a request at a replica and learns from how it ends."""
        self._asked += 1
        replica.asked_at = self._asked
        replica.outstanding += 1
        replica.streams[adapter if adapter is not None else self.model] += 1
        replica.breaker.begin()
        try:
            yield
        except ModelFault as fault:
            self.learn(replica, fault, adapter)
            raise
        except BaseException:
            replica.breaker.abandoned()
            raise
        else:
            replica.breaker.succeeded()
        finally:
            replica.outstanding -= 1
            replica.streams[adapter if adapter is not None else self.model] -= 1
            replica_outstanding.labels(replica.url).set(replica.outstanding)

    def learn(self, replica: Replica, fault: ModelFault, adapter: str | None = None) -> None:
        """What a failed call says about the replica."""
        replica_faults.labels(replica.url, type(fault).__name__).inc()
        log.warning("replica_fault", replica=replica.url, fault=type(fault).__name__, problem=fault.problem)
        if isinstance(fault, ReplicaDown):
            replica.breaker.failed()
            if fault.problem in ("ConnectError", "ConnectTimeout"):
                self._set_health(replica, False)
        elif isinstance(fault, ModelMissing):
            replica.breaker.succeeded()
            if adapter is not None:
                self._forget(replica, adapter)
        elif isinstance(fault, ReplicaBusy | PromptTooLong | CallRefused):
            replica.breaker.succeeded()

    async def refresh(self) -> None:
        """Asks every replica how it is and what it serves; never raises."""
        await asyncio.gather(*(self.refresh_one(replica) for replica in self.replicas))

    async def refresh_one(self, replica: Replica) -> None:
        try:
            await replica.client.healthy()
            served = await replica.client.models()
        except ModelFault as fault:
            replica.slow_checks += isinstance(fault, TooSlow)
            if isinstance(fault, TooSlow) and replica.healthy and replica.slow_checks < SLOW_CHECKS_TO_LOSE:
                return
            if replica.healthy or not replica.checked:
                event = "replica_lost" if replica.healthy else "replica_not_ready"
                log.warning(event, replica=replica.url, fault=type(fault).__name__, problem=fault.problem)
            replica.checked = True
            self._set_health(replica, False)
            return
        replica.slow_checks, replica.checked = 0, True
        self._note_models(replica, served)
        if not replica.healthy:
            log.info("replica_found", replica=replica.url)
            self.changed.set()
        self._set_health(replica, True)

    def _note_models(self, replica: Replica, served: tuple[ServedModel, ...]) -> None:
        now = {m.name: m.root.rstrip("/") for m in served if m.parent is not None}
        for name in replica.adapters.keys() - now.keys():
            self._forget(replica, name)
        replica.adapters = now
        for name in now:
            adapter_loaded.labels(replica.url, name).set(self.has(replica, name))
        base = next((m for m in served if m.name == self.model), None)
        replica.base_root = "" if base is None else base.root
        replica.context_tokens = None if base is None else base.max_model_len

    def _forget(self, replica: Replica, adapter: str) -> None:
        replica.adapters.pop(adapter, None)
        adapter_loaded.labels(replica.url, adapter).set(0)
        self.changed.set()

    def _set_health(self, replica: Replica, healthy: bool) -> None:
        replica.healthy = healthy
        replica_up.labels(replica.url).set(healthy)
        if not healthy:
            replica.adapters.clear()

    def states(self) -> list[ReplicaState]:
        return [
            ReplicaState(
                r.url,
                r.healthy,
                r.breaker.state,
                r.outstanding,
                tuple(sorted(name for name in r.adapters if self.has(r, name))),
            )
            for r in self.replicas
        ]

    async def close(self) -> None:
        await asyncio.gather(*(replica.client.close() for replica in self.replicas))
