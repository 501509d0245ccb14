"""`anxin adapters …`: the registry from the command line, for an operator on the service's own machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from app.adapters.assembly import AdapterParts, build_adapters
from app.admin.audit import AuditLog
from app.db.crypto import Vault
from app.db.session import Database, make_engine
from app.db.tables_adapters import AdapterRow
from app.errors import AnxinError
from app.llm.serving import make_pool
from app.safety.types import ReviewContext, ReviewResult
from app.settings import Settings, load_settings

adapters_app = typer.Typer(help="LoRA adapters: register, try, activate, roll back.", no_args_is_help=True)
console = Console()
complaints = Console(stderr=True)
T = TypeVar("T")
Name = Annotated[str, typer.Argument(help="<department>-v<N>")]


class LazyJudge:
    """The service's reviewer, loaded when the first answer is judged."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._review: Callable[[ReviewContext, str], ReviewResult] | None = None

    def __call__(self, context: ReviewContext, text: str) -> ReviewResult:
        if self._review is None:
            from app.safety.review import SafetyReviewer
            from app.safety.triage import TriageEngine
            from retrieval.graph import MedicalGraph

            graph = MedicalGraph.load(self._settings.graph_dir)
            triage = TriageEngine.load(self._settings.rules_dir)
            self._review = SafetyReviewer.load(None, graph=graph, triage=triage).review
        return self._review(context, text)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[AdapterParts]:
    """The registry with its own database and server connections."""
    database = Database(make_engine(settings.database_url))
    keys = {key_id: key.get_secret_value() for key_id, key in settings.database.encryption_keys.items()}
    audit = AuditLog(database, Vault(keys, settings.database.primary_key_id))
    pool = make_pool(settings.llm)
    try:
        yield build_adapters(settings, database, audit, pool, LazyJudge(settings))
    finally:
        await pool.close()
        await database.close()


def run(work: Callable[[AdapterParts], Awaitable[T]]) -> T:
    """Runs one piece of work; an expected error becomes one line and exit code 1."""

    async def main() -> T:
        async with opened(load_settings()) as parts:
            return await work(parts)

    try:
        return asyncio.run(main())
    except AnxinError as error:
        complaints.print(f"[red]{error.code}[/red]: ", end="")
        complaints.print(error.message, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def told(row: AdapterRow) -> None:
    console.print(f"{row.name}: {row.state}", highlight=False)


@adapters_app.command("list")
def list_adapters() -> None:
    """Shows every adapter, and what each model server has."""

    async def work(parts: AdapterParts) -> None:
        rows = await parts.service.every()
        await parts.pool.refresh()
        table = Table("name", "state", "canary", "rank", "demo", "sha256", "updated")
        for row in rows:
            share = "" if row.canary_percent is None else f"{row.canary_percent}%"
            shown = (row.name, row.state, share, str(row.rank), "yes" if row.demo else "", row.sha256[:12])
            table.add_row(*shown, row.updated_at.strftime("%Y-%m-%d %H:%M"))
        console.print(table)
        for state in parts.pool.states():
            health = "ok" if state.healthy else "down"
            names = ", ".join(state.adapters) if state.adapters else "none"
            console.print(f"{state.url}: {health}, adapters: {names}", highlight=False, soft_wrap=True)

    run(work)


@adapters_app.command("register")
def register(
    path: Annotated[
        Path, typer.Argument(help="folder with adapter_config.json and adapter_model.safetensors")
    ],
    name: Annotated[str | None, typer.Option(help="<department>-v<N>; default: the next number")] = None,
    department: Annotated[str | None, typer.Option(help="needed without --name")] = None,
    note: Annotated[str | None, typer.Option(help="what is remembered about it")] = None,
) -> None:
    """Checks a folder anywhere on this machine and keeps an immutable copy under the adapter root."""
    folder = str(path.absolute())
    told(
        run(
            lambda parts: parts.service.register(
                None, folder, name=name, department=department, note=note, anywhere=True
            )
        )
    )


@adapters_app.command("load")
def load(name: Name) -> None:
    """Loads an adapter on every model server and probes it there."""
    told(run(lambda parts: parts.service.load(None, name)))


@adapters_app.command("smoke-test")
def smoke_test(name: Name) -> None:
    """Probes an adapter on every model server: difference from the base, red flags, citations."""
    row = run(lambda parts: parts.service.smoke_test(None, name))
    for result in (row.smoke_report or {}).get("results", []):
        console.print(f"ok {result['replica']} {result['probe']}", highlight=False)
    told(row)


@adapters_app.command("canary")
def canary(
    name: Name,
    percent: Annotated[int, typer.Option(min=0, max=100, help="of new conversations; 0 ends it")] = 10,
) -> None:
    """Gives an adapter a share of the new conversations."""
    told(run(lambda parts: parts.service.canary(None, name, percent)))


@adapters_app.command("activate")
def activate(name: Name) -> None:
    """Makes an adapter its department's own."""
    told(run(lambda parts: parts.service.activate(None, name)))


@adapters_app.command("rollback")
def rollback(department: Annotated[str, typer.Argument(help="whose adapter is rolled back")]) -> None:
    """Goes back to the version before, or to the base model."""
    row = run(lambda parts: parts.service.rollback(None, department))
    if row is None:
        console.print(f"{department}: base model", highlight=False)
    else:
        told(row)


@adapters_app.command("retire")
def retire(name: Name) -> None:
    """Ends an adapter for ever; its files stay."""
    told(run(lambda parts: parts.service.retire(None, name)))
