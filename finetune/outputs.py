"""Files that are written whole or not at all.

Owns the temporary file, the rename, the refusal to overwrite and the translation of a full disk. Formats are
`formats/`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from finetune.problems import DataError

_FULL = {errno.ENOSPC, errno.EDQUOT}


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise `DataError` output_exists when writing to `path` would destroy something (an empty file may go)."""
    if path.is_dir():
        raise DataError("output_is_folder", f"{path} is a folder")
    if not force and path.exists() and path.stat().st_size > 0:
        raise DataError("output_exists", f"{path} exists; choose another name or pass --force")


@contextlib.contextmanager
def atomic_text(path: Path, *, force: bool = False) -> Iterator[TextIO]:
    """A UTF-8 text file that appears under `path` only when the block ends without an error.

    Raises:
        DataError: output_exists, disk_full or cannot_write; what was there before is untouched.
    """
    refuse_existing(path, force=force)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        code = "disk_full" if error.errno in _FULL else "cannot_write"
        reason = "the disk is full" if code == "disk_full" else (error.strerror or type(error).__name__)
        raise DataError(code, f"{path} was not written: {reason}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], *, force: bool = False) -> int:
    """Write rows as JSON lines, or as a JSON array when the name ends with `.json`; the number of rows."""
    count = 0
    with atomic_text(path, force=force) as file:
        array = path.suffix.lower() == ".json"
        for row in rows:
            file.write(("[\n" if count == 0 else ",\n") if array else "")
            file.write(dump(row) if array else dump(row) + "\n")
            count += 1
        if array:
            file.write("\n]\n" if count else "[]\n")
    return count


def write_json(path: Path, value: object, *, force: bool = False) -> None:
    with atomic_text(path, force=force) as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def sha256_of(path: Path) -> str:
    """Hex digest of the file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
