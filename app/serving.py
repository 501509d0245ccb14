"""Starts the service: prepares what development needs, then hands over to uvicorn."""

from __future__ import annotations

import asyncio
import os

import uvicorn
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.admin.index_builds_assembly import KnowledgeAdmin, offline
from app.admin.index_builds_repository import BuildState
from app.db.migrate import migrate
from app.db.tables_knowledge import IndexBuildRow
from app.errors import StateConflict
from app.settings import Settings

KEEP_INDEXES = 2
SAMPLE_EVERY = 3
"""At a start every third acceptance question is asked, one of each topic; `anxin index build` asks all."""


def ensure_index(settings: Settings, console: Console, *, force: bool = False) -> str:
    """Builds and activates an index when there is none for the documents as they are; returns its name.

    A build that was interrupted is gone on with. Blocking; starts its own event loop.

    Raises:
        AnxinError: the build failed.
    """
    return asyncio.run(_ensured(settings, console, force=force))


async def _ensured(settings: Settings, console: Console, *, force: bool) -> str:
    async with offline(settings, every=SAMPLE_EVERY) as admin:
        served = await admin.builds.up_to_date()
        if served is not None and not force:
            await admin.documents.bring_up_to_date(served)
            return served
        row = await built_with_bar(admin, console)
        before = await admin.builds.served()
        try:
            # With nothing to fall back on, an index that did not pass is better than none, and is said to be so.
            switched = await admin.builds.activate(row.id, None, force=before is None)
        except StateConflict as error:
            console.print(f"[yellow]the new index is not served[/yellow]: {error.message}", highlight=False)
            return row.name if before is None else before
        if row.state == BuildState.REJECTED:
            console.print(
                "[yellow]acceptance was not passed; served because there is no other index[/yellow]"
            )
        await admin.builds.prune(KEEP_INDEXES - 1, None)
        return switched.row.name


async def built_with_bar(admin: KnowledgeAdmin, console: Console) -> IndexBuildRow:
    """Runs a build to its end and shows how far it is.

    Raises:
        StateConflict: it failed; the served index is untouched.
    """
    row = await admin.builds.start(None)
    with _bar(console) as bar:
        tasks = {
            step: bar.add_task(step, total=None, visible=False) for step in ("embed", "insert", "accept")
        }
        waiting = asyncio.create_task(admin.builds.wait())
        while not waiting.done():
            await asyncio.wait([waiting], timeout=0.3)
            now = await admin.builds.get(row.id)
            if now.step in tasks:
                bar.update(tasks[now.step], completed=now.done, total=now.total, visible=now.total > 0)
    done = await admin.builds.get(row.id)
    if done.result is None:
        raise StateConflict(f"索引构建失败：{done.error}")
    figures = done.result["overall"]
    console.print(
        f"index {done.name}: {done.documents} documents, {done.chunks} passages, {done.embedded} texts embedded; "
        f"{figures['questions']} questions, hit@5 {figures['hit_at_5']:.3f}",
        highlight=False,
    )
    return done


def serve(settings: Settings, *, workers: int, console: Console) -> None:
    """Blocks until the server stops."""
    if settings.development:
        migrate(settings.database_url)
        if not settings.milvus_uri.startswith("http"):
            ensure_index(settings, console)
    base = f"http://{settings.host}:{settings.port}"
    console.print(f"docs:  {base}/docs", highlight=False)
    console.print(
        f"try:   curl -s {base}/api/v1/chat -H 'Content-Type: application/json' "
        '-d \'{"message": "阿司匹林和氯吡格雷可以一起吃吗？"}\'',
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    os.environ["ANXIN_HOST"], os.environ["ANXIN_PORT"] = settings.host, str(settings.port)
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=workers,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=",".join(settings.trusted_proxies) or None,
        timeout_graceful_shutdown=15,
    )


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)
