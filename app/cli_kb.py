"""`anxin kb` (uploaded documents) and `anxin index` (builds): the same services as the endpoints, without a server.

With Milvus Lite one process has the index; commands that need it say so while the service is running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Column, Table

from app.admin.documents_repository import FileState, JobState, UploadStatus
from app.errors import AnxinError
from app.settings import load_settings
from retrieval.errors import IndexLocked, RetrievalError

if TYPE_CHECKING:
    # Loaded by the commands that need them: `anxin --help` should not wait for Milvus.
    from app.admin.documents_ingest import JobView
    from app.admin.index_builds_assembly import KnowledgeAdmin
    from knowledge_base.acceptance import Acceptance

kb_app = typer.Typer(help="Uploaded documents: hand in, look, approve, delete.", no_args_is_help=True)
index_app = typer.Typer(help="The index: build, accept, activate, roll back.", no_args_is_help=True)
console = Console()
complaints = Console(stderr=True)
T = TypeVar("T")
ACTOR = "command-line"


def run(work: Awaitable[T]) -> T:
    """Runs async work; an expected error becomes one line and exit code 1."""

    async def main() -> T:
        return await work

    try:
        return asyncio.run(main())
    except AnxinError as error:
        _fail(f"{error.code}: {error.message}")
    except IndexLocked:
        _fail("the service is running and has the index open: use the admin endpoints, or stop it first")
    except RetrievalError as error:
        _fail(str(error))
    raise AssertionError("unreachable")


def _fail(message: str) -> None:
    complaints.print(message, style="red", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def with_admin(work: Callable[[KnowledgeAdmin], Awaitable[T]]) -> T:
    """Runs `work` with the knowledge's services, without a server."""
    from app.admin.index_builds_assembly import offline

    async def main() -> T:
        async with offline(load_settings()) as admin:
            return await work(admin)

    return run(main())


@kb_app.command("add")
def kb_add(
    path: Annotated[Path, typer.Argument(exists=True, help="a file, or a folder with files")],
    department: Annotated[str, typer.Option(help="cardiology, allergy, stroke_rehab or general")] = "general",
    audience: Annotated[str, typer.Option(help="patient or clinician")] = "patient",
    kind: Annotated[str, typer.Option(help="disease, drug, test, faq …")] = "faq",
    source: Annotated[str | None, typer.Option(help="where it can be read: title|publisher|year")] = None,
) -> None:
    """Reads files into drafts. Exit code 1 when nothing new came in. Works beside a running service."""
    from app.admin.documents_ingest import Incoming
    from app.admin.index_builds_assembly import drafts_only
    from knowledge_base.document import DEPARTMENTS, Source
    from knowledge_base.ingest.reader import About
    from knowledge_base.ingest.sniff import EXTENSIONS

    if department not in DEPARTMENTS or audience not in ("patient", "clinician"):
        _fail(f"department is one of {', '.join(DEPARTMENTS)}; audience is patient or clinician")
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in EXTENSIONS) if path.is_dir() else [path]
    parts = [*source.split("|"), "", ""][:3] if source is not None else None
    about = About(department, audience, kind, source=None if parts is None else Source(*parts))

    async def work() -> JobView:
        async with drafts_only(load_settings()) as ingest:
            incoming = [Incoming(file.name, file) for file in files if not file.is_symlink()]
            job_id = await ingest.create(ACTOR, incoming, about, copy=True)
            return await ingest.run(job_id)

    view = run(work())
    _show_job(view)
    if view.row.state not in (JobState.SUCCEEDED, JobState.PARTIAL):
        raise typer.Exit(1)


@kb_app.command("resume")
def kb_resume() -> None:
    """Goes on with jobs that were cut off."""
    from app.admin.index_builds_assembly import drafts_only

    async def work() -> list[JobView]:
        async with drafts_only(load_settings()) as ingest:
            return [await ingest.run(job_id) for job_id in await ingest.unfinished()]

    for view in run(work()):
        _show_job(view)


@kb_app.command("status")
def kb_status(
    job_id: Annotated[str | None, typer.Argument(help="a job; without it the newest ones")] = None,
) -> None:
    """How far ingestion jobs are."""
    from app.admin.index_builds_assembly import drafts_only

    async def work() -> list[JobView]:
        async with drafts_only(load_settings()) as ingest:
            return await ingest.jobs(None, 10) if job_id is None else [await ingest.view(job_id)]

    for view in run(work()):
        _show_job(view)


@kb_app.command("list")
def kb_list(status: Annotated[UploadStatus | None, typer.Option(help="draft, approved …")] = None) -> None:
    """Uploaded documents, newest first."""
    rows, _ = with_admin(lambda admin: admin.documents.page(status, None, 200))
    table = Table(
        Column("id", no_wrap=True, overflow="fold"),
        "document",
        "title",
        "status",
        "chars",
        "flags",
        "indexed in",
    )
    for row in rows:
        cells = (row.id, row.document_id, row.title, row.status, str(row.chars), str(len(row.flags)))
        table.add_row(*cells, row.indexed_in if row.indexed_in is not None else "")
    console.print(table)


@kb_app.command("approve")
def kb_approve(
    upload_id: str,
    note: Annotated[str | None, typer.Option()] = None,
    despite_flags: Annotated[bool, typer.Option(help="flags were looked at")] = False,
) -> None:
    """Serves a draft from now on."""
    decided = with_admin(
        lambda admin: admin.documents.approve(upload_id, ACTOR, note, despite_flags=despite_flags)
    )
    console.print(f"{decided.row.title}: approved, {'indexed' if decided.indexed else 'not indexed yet'}")


@kb_app.command("reject")
def kb_reject(upload_id: str, reason: Annotated[str, typer.Option(prompt=True)]) -> None:
    """Turns a draft down."""
    row = with_admin(lambda admin: admin.documents.reject(upload_id, ACTOR, reason))
    console.print(f"{row.title}: rejected")


@kb_app.command("delete")
def kb_delete(upload_id: str) -> None:
    """Deletes an upload: passages, text and file."""
    with_admin(lambda admin: admin.documents.delete(upload_id, ACTOR))
    console.print(f"{upload_id}: deleted")


@index_app.command("build")
def index_build(
    activate: Annotated[bool, typer.Option(help="serve it when acceptance is passed")] = True,
    force: Annotated[bool, typer.Option(help="serve it even when acceptance is not passed")] = False,
) -> None:
    """Builds a new index beside the served one, asks the acceptance questions, then serves it."""
    from app.serving import built_with_bar

    async def work(admin: KnowledgeAdmin) -> str:
        row = await built_with_bar(admin, console)
        if activate:
            return f"serving {(await admin.builds.activate(row.id, ACTOR, force=force)).row.name}"
        return f"built {row.id}"

    console.print(with_admin(work), highlight=False)


@index_app.command("list")
def index_list() -> None:
    """Builds, newest first."""
    rows, _ = with_admin(lambda admin: admin.builds.page(None, 50))
    table = Table(
        Column("id", no_wrap=True, overflow="fold"), "name", "state", "documents", "passages", "hit@5"
    )
    for row in rows:
        hit = "" if row.result is None else f"{row.result['overall']['hit_at_5']:.3f}"
        table.add_row(row.id, row.name, row.state, str(row.documents), str(row.chunks), hit)
    console.print(table)


@index_app.command("activate")
def index_activate(build_id: str, force: Annotated[bool, typer.Option()] = False) -> None:
    """Serves a build."""
    switched = with_admin(lambda admin: admin.builds.activate(build_id, ACTOR, force=force))
    console.print(f"serving {switched.row.name} (before: {switched.before})", highlight=False)


@index_app.command("rollback")
def index_rollback() -> None:
    """Serves what was served before."""
    switched = with_admin(lambda admin: admin.builds.roll_back(ACTOR))
    console.print(f"serving {switched.row.name} (before: {switched.before})", highlight=False)


@index_app.command("prune")
def index_prune(
    keep: Annotated[int, typer.Option(min=0, help="how many besides the served one")] = 1,
) -> None:
    """Drops old indexes."""
    dropped = with_admin(lambda admin: admin.builds.prune(keep, ACTOR))
    console.print(f"dropped {len(dropped)}: {', '.join(dropped)}" if dropped else "nothing to drop")


@index_app.command("accept")
def index_accept(
    name: Annotated[str | None, typer.Argument(help="a collection; default: the served one")] = None,
) -> None:
    """Asks the acceptance questions. Exit code 1 when they are not passed."""

    async def work(admin: KnowledgeAdmin) -> Acceptance:
        return await admin.builds.examine(name)

    accepted = with_admin(work)
    table = Table("department", "questions", "hit@1", "hit@5", "MRR")
    for department, found in {**accepted.departments, "all": accepted.overall}.items():
        cells = (f"{share:.3f}" for share in (found.hit_at_1, found.hit_at_5, found.mrr))
        table.add_row(department, str(found.questions), *cells)
    console.print(table)
    console.print(f"answerable questions left without evidence: {accepted.lost:.3f}", highlight=False)
    console.print(f"unanswerable questions without evidence: {accepted.withheld}", highlight=False)
    if not accepted.passed:
        raise typer.Exit(1)


@index_app.command("export-vectors")
def index_export_vectors() -> None:
    """Writes the vectors of the repository's documents to knowledge_base/vectors, for the next clone."""
    from app.container import embedder_spec
    from knowledge_base.build import texts_of
    from knowledge_base.chunk import chunk_document
    from knowledge_base.document import read_documents
    from knowledge_base.vectors import SHIPPED, VectorCache
    from retrieval.embedders import make_embedder

    settings = load_settings()
    embedder = make_embedder(embedder_spec(settings))
    cache = VectorCache(embedder, folder=settings.var_dir)
    documents = read_documents(settings.documents_dir)
    texts = texts_of([chunk for document in documents for chunk in chunk_document(document)])
    with console.status(f"embedding {len(cache.missing(texts))} of {len(set(texts))} texts"):
        cache.fill(texts)
    path = SHIPPED / f"{cache.embedder}.npz"
    number = cache.export(path, texts)
    console.print(
        f"{path}: {number} vectors, {path.stat().st_size / 1e6:.1f} MB", highlight=False, soft_wrap=True
    )


def _show_job(view: JobView) -> None:
    console.print(
        f"job {view.row.id}: {view.row.state} · {view.count(FileState.DONE)} new, "
        f"{view.count(FileState.DUPLICATE)} known, {view.count(FileState.FAILED)} failed, "
        f"{view.count(FileState.PENDING)} waiting",
        highlight=False,
    )
    for file in view.files:
        if file.state != FileState.DONE:
            console.print(f"  {file.name}: {file.state} {file.message or ''}", highlight=False, markup=False)
        else:
            console.print(f"  {file.name}: draft {file.upload_id}", highlight=False, markup=False)
