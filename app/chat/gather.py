"""Joins pieces of text that arrive while the reader is busy, so that a slow reader takes them together.

The reader of an answer stores what it takes before it shows it, one transaction each time; with many streams at once
these transactions are the service's dearest work. Owns the queue and the task that fills it; order and text stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress


async def gathered(source: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The text of `source`; what came since the last piece was taken is one piece.

    An error of the source is raised after the pieces before it were given. Closing this closes the source.
    """
    waiting: asyncio.Queue[str | None] = asyncio.Queue()

    async def fill() -> None:
        try:
            async for piece in source:
                waiting.put_nowait(piece)
        finally:
            waiting.put_nowait(None)

    filling = asyncio.create_task(fill())
    try:
        more = True
        while more:
            pieces: list[str] = []
            piece = await waiting.get()
            while piece is not None:
                pieces.append(piece)
                if waiting.empty():
                    break
                piece = waiting.get_nowait()
            more = piece is not None
            if pieces:
                yield "".join(pieces)
        await filling
    finally:
        filling.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await filling
        await source.aclose()
