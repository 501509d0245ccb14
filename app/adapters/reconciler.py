"""Keeps what the replicas serve equal to what the registry says: vLLM forgets hot-loaded adapters when it restarts.

One pass: ask every replica, load what is missing (with back-off per replica and adapter), unload what was retired
once nothing runs through it, raise an alarm for what a person must look at. Never changes the registry.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from app.adapters import repository
from app.adapters.loading import AdapterLoader
from app.adapters.states import ON_SERVERS, State
from app.adapters.storage import AdapterStorage
from app.db.session import Database
from app.db.tables_adapters import AdapterRow
from app.errors import StorageUnavailable
from app.llm.instruments import adapter_alarm, adapter_restores, reconciles
from app.llm.pool import Replica
from app.observability import log

FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Retry:
    failures: int
    not_before: float


class Reconciler:
    """`drain_s` is how long after a retirement other processes may still stream through the adapter."""

    def __init__(
        self,
        database: Database,
        storage: AdapterStorage,
        loader: AdapterLoader,
        *,
        every_s: float,
        drain_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._storage = storage
        self._loader = loader
        self._every_s = every_s
        self._drain_s = drain_s
        self._clock = clock
        self._retries: dict[tuple[str, str], Retry] = {}
        self._retired_since: dict[str, float] = {}

    async def run(self) -> None:
        """Passes for ever, at once when the pool noticed a change; a failed pass is logged, never the end."""
        pool = self._loader.pool
        while True:
            pool.changed.clear()
            try:
                await self.pass_once()
            except Exception as error:
                reconciles.labels("failed").inc()
                log.error("reconcile_failed", error=type(error).__name__, exc_info=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await pool.changed.wait()

    async def pass_once(self) -> None:
        """One look at every replica and what follows from it."""
        await self._loader.pool.refresh()
        try:
            async with self._database.begin() as session:
                rows = await repository.every(session)
        except StorageUnavailable:
            reconciles.labels("no_database").inc()
            return
        wanted = [row for row in rows if State(row.state) in ON_SERVERS]
        for row in wanted:
            await self._check_files(row)
        replicas = [r for r in self._loader.pool.replicas if r.healthy]
        await asyncio.gather(*(self._restore(replica, wanted) for replica in replicas))
        await self._unload([row for row in rows if State(row.state) is State.RETIRED])
        reconciles.labels("done").inc()

    async def _check_files(self, row: AdapterRow) -> None:
        gone = await asyncio.to_thread(self._storage.missing, row.name, row.size_bytes)
        adapter_alarm.labels(row.name, "files_missing").set(gone)
        if gone:
            log.error("adapter_files_missing", adapter=row.name, state=row.state)

    async def _restore(self, replica: Replica, wanted: list[AdapterRow]) -> None:
        """One after another: a restarted server has enough to do."""
        pool = self._loader.pool
        for row in wanted:
            foreign = row.name in replica.adapters and not pool.has(replica, row.name)
            adapter_alarm.labels(row.name, "foreign_root").set(
                any(self._foreign(r, row.name) for r in pool.replicas)
            )
            if foreign:
                root = replica.adapters[row.name]
                log.error("adapter_from_elsewhere", adapter=row.name, replica=replica.url, root=root)
            elif row.name not in replica.adapters and self._due(replica, row.name):
                await self._load(replica, row)

    def _foreign(self, replica: Replica, name: str) -> bool:
        return name in replica.adapters and not self._loader.pool.has(replica, name)

    async def _load(self, replica: Replica, row: AdapterRow) -> None:
        key = (replica.url, row.name)
        intact = await asyncio.to_thread(self._storage.intact, row.name, row.sha256)
        problem = await self._loader.load_on(replica, row.name) if intact else None
        if intact and problem is None:
            self._retries.pop(key, None)
            adapter_restores.labels(replica.url, "restored").inc()
            log.info("adapter_restored", adapter=row.name, replica=replica.url)
            return
        failures = self._retries[key].failures + 1 if key in self._retries else 1
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(failures - 1, 10))
        self._retries[key] = Retry(failures, self._clock() + wait_s)
        adapter_restores.labels(replica.url, "failed").inc()
        reason = "files_changed" if problem is None else problem.reason
        log.error(
            "adapter_not_restored", adapter=row.name, replica=replica.url, reason=reason, next_in_s=wait_s
        )

    def _due(self, replica: Replica, name: str) -> bool:
        retry = self._retries.get((replica.url, name))
        return retry is None or self._clock() >= retry.not_before

    async def _unload(self, retired: list[AdapterRow]) -> None:
        for row in retired:
            holders = [r for r in self._loader.pool.replicas if r.healthy and row.name in r.adapters]
            if not holders:
                continue
            since = self._retired_since.setdefault(row.name, self._clock())
            if self._clock() - since < self._drain_s:
                continue
            for replica in holders:
                if not replica.streams[row.name] and await self._loader.unload_from(replica, row.name):
                    log.info("adapter_unloaded", adapter=row.name, replica=replica.url)
