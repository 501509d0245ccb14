"""Puts the parts of the adapter registry together, for the service and for the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.adapters.choice import AdapterChooser
from app.adapters.loading import AdapterLoader
from app.adapters.reconciler import Reconciler
from app.adapters.service import AdapterService, Policy
from app.adapters.smoke import Judge, SmokeTest
from app.adapters.storage import AdapterStorage
from app.admin.audit import AuditLog
from app.db.session import Database
from app.identity import Clock, utc_now
from app.llm.pool import ReplicaPool
from app.settings import Settings

DRAIN_MARGIN_S = 10.0


@dataclass(frozen=True, slots=True)
class AdapterParts:
    """`choose` is the pipeline's; `reconciler.run()` is a background task of the service."""

    service: AdapterService
    choose: AdapterChooser
    reconciler: Reconciler
    pool: ReplicaPool


def build_adapters(
    settings: Settings,
    database: Database,
    audit: AuditLog,
    pool: ReplicaPool,
    judge: Judge,
    *,
    clock: Clock = utc_now,
    storage: Callable[[], AdapterStorage] | None = None,
) -> AdapterParts:
    """`judge` reviews the answers of the smoke test (`SafetyReviewer.review`)."""
    chosen = settings.llm
    files = AdapterStorage(chosen.adapter_root) if storage is None else storage()
    loader = AdapterLoader(pool)
    chooser = AdapterChooser(database)
    policy = Policy(
        base_models=(chosen.model, *chosen.base_model_names),
        max_rank=chosen.max_lora_rank,
        demo_allowed=settings.development,
    )
    service = AdapterService(
        database, audit, files, loader, SmokeTest(pool, judge), chooser, policy, clock=clock
    )
    reconciler = Reconciler(
        database, files, loader, every_s=chosen.monitor_s, drain_s=chosen.deadline_s + DRAIN_MARGIN_S
    )
    return AdapterParts(service, chooser, reconciler, pool)
