"""The connection to Milvus, a Lite file or a server, and the translation of its errors.

Owns opening, closing and error mapping; leaves collections and searches to `retrieval.store`. A Lite file
is one folder that one process may open: within this process stores of the same path share it, and the last
one closed releases it.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped]
from pymilvus import MilvusClient, MilvusException

from retrieval.errors import (
    IndexCorrupt,
    IndexLocked,
    IndexMissing,
    IndexRejected,
    IndexUnavailable,
    RetrievalError,
)

_MISSING_CODES = frozenset({4, 100})
"""Milvus error codes for a collection that does not exist (legacy 4, current 100)."""
_REJECTED_CODES = frozenset({5, 6, 1100, 1101, 1801})
"""Illegal argument, parameter and schema errors."""
_open_files: Counter[str] = Counter()
_open_lock = threading.Lock()


_DAMAGE = ("not valid json", "corrupt", "parquet", "manifest", "arrow")
"""Words of Milvus Lite's errors about files that it cannot read."""


def is_lite(uri: str) -> bool:
    """Whether `uri` names a Milvus Lite file rather than a server. Raises ValueError for neither."""
    if uri.startswith(("http://", "https://", "tcp://", "unix:")):
        return False
    if uri.endswith(".db"):
        return True
    raise ValueError(f"not a Milvus address or a Milvus Lite file (*.db): {uri!r}")


def connect(uri: str, token: str | None, timeout_s: float) -> MilvusClient:
    """Open `uri`. Raises IndexLocked, IndexCorrupt or IndexUnavailable."""
    # The libraries print a traceback for what is raised here as one clear error.
    for name in (
        "milvus_lite.server_manager",
        "milvus_lite.adapter.grpc.servicer",
        "pymilvus",
        "grpc._server",
    ):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not is_lite(uri):
        return _connect_server(uri, token, timeout_s)
    path = Path(uri).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open_lock:
        try:
            client = MilvusClient(str(path))
        except MilvusException as error:
            raise _why_not(path) from error
        _open_files[str(path)] += 1
    return client


def disconnect(client: MilvusClient, uri: str) -> None:
    """Close the client; the last one of a Lite file also releases the file for other processes."""
    client.close()
    if not is_lite(uri):
        return
    from milvus_lite.server_manager import server_manager_instance  # type: ignore[import-untyped]

    path = str(Path(uri).absolute())
    with _open_lock:
        _open_files[path] -= 1
        if _open_files[path] <= 0:
            del _open_files[path]
            server_manager_instance.release_server(path)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what Milvus raises inside the block into this package's errors; `what` opens the message."""
    try:
        yield
    except RetrievalError:
        raise
    except MilvusException as error:
        raise _translate(what, error) from error
    except grpc.RpcError as error:
        raise IndexUnavailable(f"{what}: the vector store does not answer") from error
    except grpc.FutureTimeoutError as error:
        raise IndexUnavailable(f"{what}: no connection to the vector store in time") from error


def _translate(what: str, error: MilvusException) -> RetrievalError:
    message = f"{what}: {error.message}"
    if (
        error.code in _MISSING_CODES
        or "does not exist" in str(error.message)
        or "can't find" in str(error.message)
    ):
        return IndexMissing(message)
    if any(word in str(error.message).lower() for word in _DAMAGE):
        return IndexCorrupt(message)
    if error.code in _REJECTED_CODES:
        return IndexRejected(message)
    return IndexUnavailable(message)


def _connect_server(uri: str, token: str | None, timeout_s: float) -> MilvusClient:
    with translated("connect"):
        return MilvusClient(uri, token="" if token is None else token, timeout=timeout_s)


def _why_not(path: Path) -> IndexUnavailable:
    """Ask Milvus Lite itself why the file does not open; pymilvus hides the reason."""
    from milvus_lite import DataDirLockedError, MilvusLite  # type: ignore[import-untyped]

    if path.is_file():
        return IndexCorrupt(
            f"{path} is a plain file, not a Milvus Lite index; move it away and build the index again"
        )
    try:
        MilvusLite(str(path)).close()
    except DataDirLockedError:
        return IndexLocked(f"{path} is open in another process; stop it, or serve the file to both over HTTP")
    except Exception as error:
        return IndexCorrupt(f"{path} cannot be read as an index: {error}")
    return IndexUnavailable(f"{path} could not be opened")
