"""What operators do with adapters: register, load, smoke-test, canary, activate, roll back, retire.

Each change is one transaction with its audit entry and a compare-and-set; calls to replicas happen before it, never
inside. Owns the order of the steps; SQL is in `repository.py`, files in `storage.py`, servers in `loading.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters import repository
from app.adapters.checks import Claims, check_claims, inspect
from app.adapters.choice import AdapterChooser
from app.adapters.errors import AdapterExists, AdapterNotReady, AdapterReplicaFailed, DemoAdapter
from app.adapters.loading import AdapterLoader, Problem, replicas_failed
from app.adapters.smoke import SmokeTest
from app.adapters.states import TAKES_TRAFFIC, State, parse_name, require_transition
from app.adapters.storage import AdapterStorage, Copied, digest
from app.admin.audit import AuditLog
from app.chat.prompts import DEPARTMENTS
from app.db.session import Database
from app.db.tables_adapters import AdapterRow
from app.errors import AdapterNotFound, InvalidPayload, StateConflict
from app.identity import Clock, utc_now

NO_CLAIMS = Claims()


@dataclass(frozen=True, slots=True)
class Policy:
    """What this installation serves. `demo_allowed` is true in development only."""

    base_models: tuple[str, ...]
    max_rank: int
    demo_allowed: bool


class AdapterService:
    """`actor` is the user id of the operator, None for the command line."""

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        storage: AdapterStorage,
        loader: AdapterLoader,
        smoke: SmokeTest,
        chooser: AdapterChooser,
        policy: Policy,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._audit = audit
        self._storage = storage
        self._loader = loader
        self._smoke = smoke
        self._chooser = chooser
        self._policy = policy
        self._clock = clock

    async def every(self) -> list[AdapterRow]:
        async with self._database.begin() as session:
            return await repository.every(session)

    async def find(self, name: str) -> AdapterRow:
        """Raises AdapterNotFound."""
        async with self._database.begin() as session:
            return await repository.find(session, name)

    async def register(
        self,
        actor: str | None,
        path: str,
        *,
        name: str | None = None,
        department: str | None = None,
        note: str | None = None,
        claims: Claims = NO_CLAIMS,
        anywhere: bool = False,
    ) -> AdapterRow:
        """Checks a folder and keeps a copy of it for ever under its name (the next number when none is given).

        Raises:
            AdapterRejected, AdapterExists, AdapterStorageFull; InvalidPayload: neither name nor known department.
        """
        chosen = await self._name(name, department)
        source = await asyncio.to_thread(self._storage.source, path, anywhere=anywhere)
        copying = self._storage.staged(source)
        copied = await asyncio.to_thread(copying.__enter__)
        try:
            return await self._keep(actor, chosen, copied, note, claims)
        finally:
            await asyncio.shield(asyncio.to_thread(copying.__exit__, None, None, None))

    async def load(self, actor: str | None, name: str, version: int | None = None) -> AdapterRow:
        """Loads on every replica; repeating it repairs a replica and changes no state.

        Raises:
            AdapterReplicaFailed, AdapterNotReady (files changed), StateConflict.
        """
        row = await self._read(name, version)
        if State(row.state) is State.RETIRED:
            require_transition(name, State.RETIRED, State.LOADED)
        await self._require_intact(row)
        await self._loader.load_everywhere(name)
        to = State.LOADED if State(row.state) is State.REGISTERED else None
        return await self._change(actor, "adapter.loaded", row, to)

    async def smoke_test(self, actor: str | None, name: str, version: int | None = None) -> AdapterRow:
        """Runs the probes and keeps the report, passed or not.

        Raises:
            AdapterNotReady: a probe failed; `details.report` says which, where and why.
        """
        row = await self._read(name, version)
        state = State(row.state)
        if state in (State.REGISTERED, State.RETIRED):
            require_transition(name, state, State.SMOKE_TESTED)
        report = await self._smoke.run(name, demo=row.demo and self._policy.demo_allowed)
        to = State.SMOKE_TESTED if report.passed and state is State.LOADED else None
        detail = {"passed": report.passed}
        row = await self._change(
            actor, "adapter.smoke_tested", row, to, detail, smoke_report=report.as_json()
        )
        if not report.passed:
            first = next((r for r in report.results if r.problem), None)
            told = "没有副本可测" if first is None else f"{first.replica} {first.probe}：{first.problem}"
            raise AdapterNotReady(f"冒烟测试未通过：{told}", details={"report": report.as_json()})
        return row

    async def canary(
        self, actor: str | None, name: str, percent: int, version: int | None = None
    ) -> AdapterRow:
        """Gives the adapter a share of the conversations that begin from now on; 0 ends it."""
        row = await self._tested(actor, name, version)
        state = State(row.state)
        if percent == 0:
            return await self._change(
                actor, "adapter.canary_ended", row, State.SMOKE_TESTED, canary_percent=None, canary_since=None
            )
        if state is State.CANARY:
            return await self._change(
                actor, "adapter.canary", row, None, {"percent": percent}, canary_percent=percent
            )
        require_transition(name, state, State.CANARY)
        await self._require_ready(row)
        async with self._change_of(row.department) as session:
            other = await repository.in_state(session, row.department, State.CANARY)
            if other is not None:
                raise StateConflict(
                    f"{other.name} 正在灰度中，请先结束它。", details={"name": name, "canary": other.name}
                )
            now = self._clock()
            row = await repository.change(
                session, row, State.CANARY, now, canary_percent=percent, canary_since=now
            )
            self._audit.add(session, actor, "adapter.canary", name, {"percent": percent})
        return row

    async def activate(self, actor: str | None, name: str, version: int | None = None) -> AdapterRow:
        """Makes the adapter the department's own; the one before stays loaded for a roll back."""
        row = await self._tested(actor, name, version)
        require_transition(name, State(row.state), State.ACTIVE)
        await self._require_ready(row)
        async with self._change_of(row.department) as session:
            row = await self._switch(session, actor, row, "adapter.activated")
        return row

    async def rollback(self, actor: str | None, department: str) -> AdapterRow | None:
        """Activates what was active before, the base model (None) when there was nothing.

        A lost replica does not keep a department on answers that somebody wants to be rid of: one replica that serves
        the version before is enough, the others are given it by the reconciler and get no traffic for it until then.

        Raises:
            AdapterNotFound: the department has no active adapter.
            AdapterReplicaFailed, AdapterNotReady: no replica serves the version before, or its files changed.
        """
        async with self._database.begin() as session:
            active = await repository.in_state(session, department, State.ACTIVE)
            if active is None:
                raise AdapterNotFound("这个科室没有正在使用的适配器。")
            target = await self._before(session, active)
        if target is not None:
            await self._require_ready(target, everywhere=False)
        async with self._change_of(department) as session:
            if target is None:
                await repository.change(session, active, State.SMOKE_TESTED, self._clock())
                self._audit.add(session, actor, "adapter.rolled_back", active.name, {"to": None})
                return None
            return await self._switch(session, actor, target, "adapter.rolled_back", replaced=target.replaced)

    async def retire(self, actor: str | None, name: str, version: int | None = None) -> AdapterRow:
        """Ends an adapter for ever. It is unloaded once no answer runs through it (the reconciler sees to it)."""
        row = await self._read(name, version)
        served = State(row.state) in TAKES_TRAFFIC
        row = await self._change(
            actor, "adapter.retired", row, State.RETIRED, canary_percent=None, canary_since=None
        )
        if not served:
            idle = [
                r
                for r in self._loader.pool.replicas
                if r.healthy and not r.streams[name] and name in r.adapters
            ]
            await asyncio.gather(*(self._loader.unload_from(r, name) for r in idle))
        return row

    async def _name(self, name: str | None, department: str | None) -> str:
        if name is not None:
            of_department, _ = parse_name(name)
            if department not in (None, of_department):
                raise InvalidPayload("名称与科室不一致。")
            return name
        if department not in DEPARTMENTS:
            raise InvalidPayload("请给出名称或已知的科室。")
        assert department is not None
        async with self._database.begin() as session:
            return f"{department}-v{await repository.next_number(session, department)}"

    async def _keep(
        self, actor: str | None, name: str, copied: Copied, note: str | None, claims: Claims
    ) -> AdapterRow:
        facts = await asyncio.to_thread(
            inspect, copied.folder, base_models=self._policy.base_models, max_rank=self._policy.max_rank
        )
        await asyncio.to_thread(check_claims, claims, facts, copied.folder)
        sha256 = await asyncio.to_thread(digest, copied.folder)
        department, number = parse_name(name)
        demo = facts.demo or claims.demo
        now = self._clock()
        row = AdapterRow(
            name=name,
            department=department,
            number=number,
            state=State.REGISTERED.value,
            version=1,
            base_model=facts.base_model,
            rank=facts.rank,
            target_modules=list(facts.target_modules),
            sha256=sha256,
            size_bytes=copied.size_bytes,
            demo=demo,
            note=note,
            evaluation=None if claims.evaluation is None else dict(claims.evaluation),
            created_at=now,
            updated_at=now,
        )
        kept = False
        try:
            async with self._database.begin() as session:
                session.add(row)
                detail = {
                    "sha256": sha256,
                    "base_model": facts.base_model,
                    "rank": facts.rank,
                    "demo": demo,
                }
                self._audit.add(session, actor, "adapter.registered", name, detail)
                await session.flush()
                await asyncio.to_thread(self._storage.keep, copied, name)
                kept = True
        except BaseException as error:
            if kept:
                await asyncio.shield(asyncio.to_thread(self._storage.discard, name))
            if isinstance(error, IntegrityError):
                raise AdapterExists(details={"name": name}) from error
            raise
        return row

    async def _read(self, name: str, version: int | None) -> AdapterRow:
        row = await self.find(name)
        if version is not None and version != row.version:
            raise StateConflict(
                f"适配器 {name} 已被修改，请刷新后再试。", details={"name": name, "version": row.version}
            )
        return row

    async def _tested(self, actor: str | None, name: str, version: int | None) -> AdapterRow:
        """The adapter after its smoke test, which is run now when it has only been loaded."""
        row = await self._read(name, version)
        if row.demo and not self._policy.demo_allowed:
            raise DemoAdapter
        return await self.smoke_test(actor, name) if State(row.state) is State.LOADED else row

    async def _require_ready(self, row: AdapterRow, *, everywhere: bool = True) -> None:
        """Files as registered, and every replica (at least one unless `everywhere`) has the adapter now."""
        await self._require_intact(row)
        await self._loader.pool.refresh()
        replicas = self._loader.pool.replicas
        without = [r for r in replicas if not self._loader.pool.has(r, row.name)]
        if not replicas:
            raise AdapterReplicaFailed("没有配置模型服务（ANXIN_LLM__BASE_URLS）。", details={"replicas": []})
        if without and (everywhere or len(without) == len(replicas)):
            raise replicas_failed(
                [Problem(r.url, "not_loaded", "副本上没有这个适配器，请先载入。") for r in without]
            )

    async def _require_intact(self, row: AdapterRow) -> None:
        if not await asyncio.to_thread(self._storage.intact, row.name, row.sha256):
            raise AdapterNotReady(
                f"磁盘上 {row.name} 的文件缺失或与登记时不同。",
                details={"name": row.name, "reason": "files_changed"},
            )

    async def _change(
        self,
        actor: str | None,
        action: str,
        row: AdapterRow,
        to: State | None,
        detail: Mapping[str, object] | None = None,
        **values: object,
    ) -> AdapterRow:
        async with self._change_of(row.department) as session:
            before = row.state
            row = await repository.change(session, row, to, self._clock(), **values)
            told = {"from": before, "to": row.state, **(detail if detail is not None else {})}
            self._audit.add(session, actor, action, row.name, told)
        return row

    @asynccontextmanager
    async def _change_of(self, department: str) -> AsyncIterator[AsyncSession]:
        """A transaction that other changes to the department wait for; a lost race is a StateConflict."""
        try:
            async with self._database.begin() as session:
                await repository.hold_department(session, department)
                yield session
        except IntegrityError as error:
            raise StateConflict from error
        self._chooser.forget()
        self._loader.pool.changed.set()

    async def _switch(
        self, session: AsyncSession, actor: str | None, row: AdapterRow, action: str, **values: object
    ) -> AdapterRow:
        now = self._clock()
        active = await repository.in_state(session, row.department, State.ACTIVE)
        if active is not None:
            await repository.change(session, active, State.SMOKE_TESTED, now)
        before = None if active is None else active.name
        chosen: dict[str, object] = {"replaced": before, **values}
        row = await repository.change(
            session,
            row,
            State.ACTIVE,
            now,
            activated_at=now,
            canary_percent=None,
            canary_since=None,
            **chosen,
        )
        self._audit.add(session, actor, action, row.name, {"from": before, "to": row.name})
        return row

    @staticmethod
    async def _before(session: AsyncSession, active: AdapterRow) -> AdapterRow | None:
        """The version to roll back to: what it replaced, or what that one replaced when it was retired meanwhile."""
        seen: Collection[str] = {active.name}
        name = active.replaced
        while name is not None and name not in seen:
            seen = {*seen, name}
            row = await repository.find(session, name)
            if State(row.state) is State.SMOKE_TESTED:
                return row
            name = row.replaced
        return None
