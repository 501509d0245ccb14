"""The folders of the adapters: a registered version is a copy that nobody changes, complete or not there at all.

    <adapter root>/<department>-v<N>/     registered versions, read-only
    <adapter root>/.staging-…/            copies being made; removed whatever happens

Owns files only; what is in them is judged by `checks.py`, which reads the copy, so that nothing can change between
the check and the use.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.adapters.checks import CONFIG, MARKS, WEIGHTS
from app.adapters.errors import AdapterExists, AdapterRejected, AdapterStorageFull, Reason

FILES = (CONFIG, WEIGHTS, MARKS)
MAX_BYTES = 4 * 2**30
MARGIN_BYTES = 64 * 2**20
PIECE_BYTES = 4 * 2**20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Copied:
    """A complete copy under a temporary name."""

    folder: Path
    size_bytes: int


class AdapterStorage:
    """Blocking; `free_bytes` tells how much room a folder's disk has."""

    def __init__(
        self, root: Path, *, free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
    ) -> None:
        self.root = root.absolute()
        self._free_bytes = free_bytes

    def folder(self, name: str) -> Path:
        return self.root / name

    def source(self, path: str, *, anywhere: bool) -> Path:
        """The folder that an operator named; a relative path begins at the root.

        Raises:
            AdapterRejected: it is no folder, leads out of the root (unless `anywhere`), or through a symbolic link.
        """
        given = Path(os.path.normpath(self.root / path))
        base = Path(given.anchor) if anywhere else self.root
        if "\0" in path or not given.is_relative_to(base) or given == self.root:
            raise AdapterRejected(Reason.OUTSIDE_ROOT, "目录必须在适配器根目录之内。")
        steps = (
            [given]
            if anywhere
            else [p for p in (given, *given.parents) if p.is_relative_to(base) and p != base]
        )
        if any(step.is_symlink() for step in steps):
            raise AdapterRejected(Reason.SYMLINK, "路径中不能有符号链接。")
        if not given.is_dir():
            raise AdapterRejected(Reason.NOT_A_FOLDER, "没有这个目录。")
        return given

    @contextmanager
    def staged(self, source: Path) -> Iterator[Copied]:
        """A copy of the adapter's files; what is not moved away by `keep` is removed.

        Raises:
            AdapterRejected: a link or something else that is not a plain file, or too large.
            AdapterStorageFull: no room.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self._room():
            self._require_room(source)
            folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=self.root))
        try:
            with self._room():
                size = sum(self._copy(source / name, folder / name) for name in FILES)
            yield Copied(folder, size)
        finally:
            if folder.exists():
                folder.chmod(0o700)
                shutil.rmtree(folder, ignore_errors=True)

    def keep(self, copied: Copied, name: str) -> None:
        """Gives the copy its final name, at once or not at all.

        Raises:
            AdapterExists: a folder of that name is there.
        """
        target = self.folder(name)
        if target.exists() or target.is_symlink():
            raise AdapterExists(details={"name": name})
        copied.folder.chmod(0o755)
        try:
            copied.folder.rename(target)
        except OSError as error:
            raise AdapterExists(details={"name": name}) from error
        target.chmod(0o555)
        _sync(self.root)

    def discard(self, name: str) -> None:
        """Removes a folder whose registration did not go through."""
        target = self.folder(name)
        if target.is_dir():
            target.chmod(0o700)
            shutil.rmtree(target, ignore_errors=True)

    def missing(self, name: str, size_bytes: int) -> bool:
        """Whether files of a registered version are gone or have another size; cheap."""
        try:
            return sum((self.folder(name) / f).stat().st_size for f in self._present(name)) != size_bytes
        except OSError:
            return True

    def intact(self, name: str, sha256: str) -> bool:
        """Whether the files are those that were registered; reads them all."""
        try:
            return digest(self.folder(name)) == sha256
        except OSError:
            return False

    def _present(self, name: str) -> list[str]:
        return [f for f in FILES if f != MARKS or (self.folder(name) / f).exists()]

    def _require_room(self, source: Path) -> None:
        try:
            needed = sum((source / f).lstat().st_size for f in FILES if (source / f).exists())
        except OSError as error:
            raise AdapterRejected(Reason.NOT_A_FOLDER, "目录不可读。") from error
        if needed > MAX_BYTES:
            raise AdapterRejected(Reason.TOO_LARGE, "适配器文件过大。")
        if needed + MARGIN_BYTES > self._free_bytes(self.root):
            raise AdapterStorageFull

    def _copy(self, source: Path, target: Path) -> int:
        """Copies one plain file, without following a link; returns its size, 0 when it is not there."""
        try:
            handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return 0
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise AdapterRejected(Reason.SYMLINK, f"{source.name} 是符号链接。") from error
            raise AdapterRejected(Reason.NOT_A_FOLDER, f"{source.name} 不可读。") from error
        with os.fdopen(handle, "rb") as reader, target.open("wb") as writer:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise AdapterRejected(Reason.NOT_A_FOLDER, f"{source.name} 不是普通文件。")
            shutil.copyfileobj(reader, writer, PIECE_BYTES)
            writer.flush()
            os.fsync(writer.fileno())
            size = writer.tell()
        target.chmod(0o444)
        return size

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise AdapterStorageFull from error
            raise


def digest(folder: Path) -> str:
    """One sha256 over names and contents of the adapter's files."""
    total = hashlib.sha256()
    for name in FILES:
        path = folder / name
        if name == MARKS and not path.exists():
            continue
        with path.open("rb") as file:
            total.update(f"{name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _sync(folder: Path) -> None:
    """Makes a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
