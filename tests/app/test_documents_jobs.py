"""Ingestion jobs that are cut off, taken over, or broken by one file; and the command that makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.admin.audit import AuditLog
from app.admin.documents_ingest import LEASE_S, Incoming, IngestService
from app.admin.documents_repository import FileState, JobState
from app.cli_kb import kb_app
from app.db.crypto import Vault
from app.db.migrate import migrate
from app.db.session import Database, make_engine
from knowledge_base.document import Document
from knowledge_base.ingest.instructions import Flag
from knowledge_base.ingest.reader import About

ABOUT = About("general")


class Clock:
    """Time that tests move."""

    now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class CutOff:
    """Stands where flagging is: lets so many files through, then acts as if the process had died."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, document: Document) -> Sequence[Flag]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return ()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    await asyncio.to_thread(migrate, url)
    opened = Database(make_engine(url))
    yield opened
    await opened.close()


def service(database: Database, folder: Path, clock: Clock, **more: object) -> IngestService:
    audit = AuditLog(database, Vault({"k": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}, "k"))
    return IngestService(database, audit, folder / "documents", clock=clock, **more)  # type: ignore[arg-type]


def incoming(folder: Path, number: int) -> list[Incoming]:
    files = []
    for n in range(number):
        path = folder / f"第{n}份.txt"
        path.write_text(f"这是第{n}份文件，里面有足够多的文字可以读。", encoding="utf-8")
        files.append(Incoming(path.name, path))
    return files


async def test_a_job_that_was_cut_off_goes_on_with_what_is_left(database: Database, tmp_path: Path) -> None:
    clock = Clock()
    dying = service(database, tmp_path, clock, flagging=CutOff(after=2))
    job_id = await dying.create("editor", incoming(tmp_path, 4), ABOUT, copy=True)
    with pytest.raises(KeyboardInterrupt):
        await dying.run(job_id)
    partly = await dying.view(job_id)
    assert (partly.row.state, partly.count(FileState.DONE)) == (JobState.RUNNING, 2)

    living = service(database, tmp_path, clock)
    assert await living.unfinished() == [job_id]
    whole = await living.run(job_id)
    assert (whole.row.state, whole.count(FileState.DONE)) == (JobState.SUCCEEDED, 4)
    ids = [file.upload_id for file in whole.files]
    assert ids[:2] == [file.upload_id for file in partly.files[:2]], "what was done is not done again"
    assert await living.unfinished() == []


async def test_a_job_that_somebody_works_on_is_left_alone_until_his_lease_ends(
    database: Database, tmp_path: Path
) -> None:
    clock = Clock()
    first = service(database, tmp_path, clock)
    job_id = await first.create(None, incoming(tmp_path, 1), ABOUT, copy=True)
    from app.admin import documents_repository as repository

    async with database.begin() as session:
        until = clock.now + timedelta(seconds=LEASE_S)
        assert await repository.take_job(session, job_id, clock.now, until)
    assert (await first.run(job_id)).count(FileState.PENDING) == 1
    clock.now += timedelta(seconds=LEASE_S + 1)
    assert (await first.run(job_id)).row.state == JobState.SUCCEEDED


async def test_a_file_that_breaks_its_reader_does_not_end_the_job(database: Database, tmp_path: Path) -> None:
    class Breaks:
        def __call__(self, document: Document) -> Sequence[Flag]:
            if "第1份" in document.title:
                raise RuntimeError("a parser's own fault")
            return ()

    ingest = service(database, tmp_path, Clock(), flagging=Breaks())
    view = await ingest.run(await ingest.create(None, incoming(tmp_path, 3), ABOUT, copy=True))
    assert view.row.state == JobState.PARTIAL
    assert [file.state for file in view.files] == [FileState.DONE, FileState.FAILED, FileState.DONE]
    assert view.files[1].problem == "unreadable"


def test_the_command_takes_a_folder_and_tells_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANXIN_VAR_DIR", str(tmp_path / "var"))
    migrate(f"sqlite+aiosqlite:///{tmp_path / 'var' / 'anxin.db'}")
    folder = tmp_path / "资料"
    folder.mkdir()
    incoming(folder, 2)
    (folder / "坏.pdf").write_bytes(b"%PDF-1.7 nothing follows")
    (folder / "忽略.xlsx").write_bytes(b"not looked at")
    first = CliRunner().invoke(kb_app, ["add", str(folder), "--department", "allergy"])
    assert first.exit_code == 0, first.output
    assert "partial · 2 new, 0 known, 1 failed" in first.output
    again = CliRunner().invoke(kb_app, ["add", str(folder / "第0份.txt")])
    assert (again.exit_code, "unchanged" in again.output) == (1, True)
    empty = tmp_path / "空"
    empty.mkdir()
    nothing = CliRunner().invoke(kb_app, ["add", str(empty)])
    assert nothing.exit_code == 1
