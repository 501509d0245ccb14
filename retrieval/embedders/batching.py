"""Micro-batching: questions that arrive together are embedded together, in one worker thread, off the event
loop.

Owns the bounded queue and the thread. There is no waiting for company: whatever has gathered while the last
batch ran is the next batch, so a lone question pays nothing.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from retrieval.errors import EmbedderUnavailable, RetrievalError, RetrievalOverloaded
from retrieval.types import Embedder, Embedding, Purpose


@dataclass(frozen=True, slots=True)
class _Job:
    texts: tuple[str, ...]
    purpose: Purpose
    future: Future[Embedding] = field(default_factory=Future)


class MicroBatcher:
    """Batches `embed` calls of many callers. `max_batch` texts at once, at most `max_waiting` jobs in the
    queue.
    """

    def __init__(self, embedder: Embedder, *, max_batch: int = 32, max_waiting: int = 256) -> None:
        self._embedder = embedder
        self._max_batch = max_batch
        self._jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=max_waiting)
        self._held: _Job | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="embedder", daemon=True)
        self._thread.start()

    def submit(self, texts: Sequence[str], purpose: Purpose) -> Future[Embedding]:
        """Queue a job. Raises RetrievalOverloaded when the queue is full, EmbedderUnavailable after
        `close`.
        """
        if self._closed:
            raise EmbedderUnavailable("the embedder is shut down")
        job = _Job(tuple(texts), purpose)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise RetrievalOverloaded("too many questions are waiting to be embedded") from None
        return job.future

    async def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
        """As `Embedder.embed`, without blocking the event loop; cancelling takes the job out of its batch."""
        return await asyncio.wrap_future(self.submit(texts, purpose))

    def close(self) -> None:
        """Finish what is queued and stop the thread. Idempotent."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            running = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if running:
                self._embed_batch(running)

    def _next_batch(self) -> list[_Job] | None:
        """Jobs of one purpose up to `max_batch` texts; the first that does not fit is held for the next
        batch.
        """
        first = self._jobs.get() if self._held is None else self._held
        self._held = None
        if first is None:
            return None
        batch, size = [first], len(first.texts)
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch
            if job is None:
                self._jobs.put(None)
                return batch
            if job.purpose != first.purpose or size + len(job.texts) > self._max_batch:
                self._held = job
                return batch
            batch.append(job)
            size += len(job.texts)

    def _embed_batch(self, batch: list[_Job]) -> None:
        texts = [text for job in batch for text in job.texts]
        try:
            result = self._embedder.embed(texts, batch[0].purpose)
            ends = np.cumsum([len(job.texts) for job in batch])
            for job, end in zip(batch, ends, strict=True):
                start = int(end) - len(job.texts)
                sparse = None if result.sparse is None else result.sparse[start : int(end)]
                job.future.set_result(Embedding(result.dense[start : int(end)], sparse))
        except Exception as error:
            known = (
                error
                if isinstance(error, RetrievalError)
                else EmbedderUnavailable(f"embedding failed: {error}")
            )
            for job in batch:
                if not job.future.done():
                    job.future.set_exception(known)
