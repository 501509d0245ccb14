"""The `anxin` command: serve, migrate, index, ask, staff accounts, knowledge, rules and adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from app.cli_adapters import adapters_app
from app.cli_kb import index_app, kb_app
from app.db.migrate import migrate as migrate_database
from app.errors import AnxinError
from app.safety.rules_cli import rules_app
from app.settings import Settings, load_settings
from app.users.roles import Role

app = typer.Typer(
    help="安心: a health question-and-answer service.", no_args_is_help=True, add_completion=False
)
staff_app = typer.Typer(help="Staff accounts and their tokens.", no_args_is_help=True)
app.add_typer(staff_app, name="staff")
app.add_typer(kb_app, name="kb")
app.add_typer(index_app, name="index")
app.add_typer(adapters_app, name="adapters")
app.add_typer(rules_app, name="rules")
console = Console()
complaints = Console(stderr=True)
T = TypeVar("T")


def run(work: Awaitable[T]) -> T:
    """Runs async work; an expected error becomes one line and exit code 1."""

    async def main() -> T:
        return await work

    try:
        return asyncio.run(main())
    except AnxinError as error:
        complaints.print(f"[red]{error.code}[/red]: {error.message}", highlight=False)
        raise typer.Exit(1) from error


@app.command()
def migrate() -> None:
    """Brings the database to the newest schema."""
    migrate_database(load_settings().database_url)
    console.print("database: up to date")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on")] = None,
    workers: Annotated[
        int, typer.Option(help="processes; more than 1 needs servers for Milvus and database")
    ] = 1,
) -> None:
    """Runs the service. In development it first migrates the database and builds a missing index."""
    from app.serving import serve as run_server

    settings = load_settings()
    chosen = settings.model_copy(
        update={
            "host": settings.host if host is None else host,
            "port": settings.port if port is None else port,
        }
    )
    run_server(chosen, workers=workers, console=console)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="the question")],
    audience: Annotated[str, typer.Option(help="patient or clinician")] = "patient",
) -> None:
    """Asks one question without a server (it must not be running when Milvus Lite is used)."""
    from app.commands import ask_once

    run(ask_once(load_settings(), question, audience, console))


def _users(settings: Settings):  # type: ignore[no-untyped-def]
    from app.commands import user_service

    return user_service(settings)


@staff_app.command("add")
def staff_add(
    name: str,
    role: Annotated[Role, typer.Option(help="clinician, editor or operator")],
    password: Annotated[
        str | None,
        typer.Option(
            help="for POST /auth/staff; without it only printed tokens work", envvar="ANXIN_STAFF_PASSWORD"
        ),
    ] = None,
) -> None:
    """Creates a staff account."""
    row = run(_users(load_settings()).add_staff(name, role, password))
    console.print(f"{row.name}: {row.role} ({row.id})", highlight=False)


@staff_app.command("token")
def staff_token(name: str) -> None:
    """Prints a bearer token of a staff account."""
    issued = run(_users(load_settings()).staff_token(name))
    typer.echo(issued.token)


@staff_app.command("revoke")
def staff_revoke(name: str) -> None:
    """Makes every token of the account invalid at once."""
    run(_users(load_settings()).revoke_tokens(name))
    console.print(f"{name}: all tokens revoked", highlight=False)


if __name__ == "__main__":
    app()
