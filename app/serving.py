"""Starts the service: prepares what development needs, then hands over to uvicorn."""

from __future__ import annotations

import json
import os
from pathlib import Path

import uvicorn
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.container import embedder_spec, make_store
from app.db.migrate import migrate
from app.identity import utc_now
from app.settings import Settings
from knowledge_base.build import PREFIX, IndexBuilder, activate, collection_name, fingerprint, prune
from knowledge_base.document import read_documents
from knowledge_base.vectors import VectorCache
from retrieval.embedders import make_embedder

KEEP_INDEXES = 2


def ensure_index(settings: Settings, console: Console, *, force: bool = False) -> str:
    """Builds and activates an index when there is none for the documents as they are; returns its name.

    The state file remembers what the served collection was built from and a build that was interrupted.
    """
    documents = read_documents(settings.documents_dir)
    state_file = settings.var_dir / "index-state.json"
    state = _read_state(state_file)
    store = make_store(settings)
    try:
        embedder = make_embedder(embedder_spec(settings))
        cache = VectorCache(embedder, folder=settings.var_dir)
        builder = IndexBuilder(store, embedder, cache, sparse=settings.retrieval.embedder == "bge_m3")
        wanted = f"{embedder.name}:{fingerprint(documents, builder.settings)}"
        served = store.alias_target()
        if served is not None and not force and state.get(served) == wanted:
            return served
        unfinished = [n for n in store.collections(PREFIX) if n != served and state.get(n) == f"building:{wanted}"]
        name = unfinished[0] if unfinished else collection_name(embedder.name, utc_now())
        _write_state(state_file, {**state, name: f"building:{wanted}"})
        with _bar(console) as bar:
            tasks = {step: bar.add_task(step, total=None, visible=False) for step in ("embed", "insert")}

            def told(step: str, done: int, total: int) -> None:
                bar.update(tasks[step], completed=done, total=total, visible=total > 0)

            report = builder.build(documents, name=name, progress=told)
        activate(store, name)
        dropped = prune(store, keep=KEEP_INDEXES - 1)
        kept = {n: v for n, v in {**state, name: wanted}.items() if n not in dropped}
        _write_state(state_file, kept)
        console.print(
            f"index {name}: {report.documents} documents, {report.chunks} passages, {report.embedded} texts embedded",
            highlight=False,
        )
        return name
    finally:
        store.close()


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
        "-d '{\"message\": \"阿司匹林和氯吡格雷可以一起吃吗？\"}'",
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


def _read_state(path: Path) -> dict[str, str]:
    try:
        state: dict[str, str] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return state


def _write_state(path: Path, state: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(state, indent=1))
    scratch.replace(path)
