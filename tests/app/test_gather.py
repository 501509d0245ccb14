"""Pieces that arrive while the reader is busy are taken together; nothing is lost, reordered or left running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from app.chat.gather import gathered


async def pieces(*texts: str, error: Exception | None = None) -> AsyncGenerator[str, None]:
    for text in texts:
        yield text
    if error is not None:
        raise error


async def test_a_busy_reader_takes_what_gathered_in_order() -> None:
    taken = []
    async for text in gathered(pieces("一", "二", "三", "四")):
        taken.append(text)
        await asyncio.sleep(0)
    assert "".join(taken) == "一二三四"
    assert len(taken) < 4


async def test_a_reader_that_keeps_up_gets_each_piece_at_once() -> None:
    taken: asyncio.Queue[str] = asyncio.Queue()

    async def slow() -> AsyncGenerator[str, None]:
        yield "一"
        assert await taken.get() == "一"
        yield "二"

    got = []
    async for text in gathered(slow()):
        got.append(text)
        taken.put_nowait(text)
    assert got == ["一", "二"]


async def test_an_error_comes_after_the_text_before_it() -> None:
    taken = []
    with pytest.raises(RuntimeError, match="broken"):
        async for text in gathered(pieces("一", "二", error=RuntimeError("broken"))):
            taken.append(text)
    assert "".join(taken) == "一二"


async def test_a_reader_that_leaves_closes_the_source() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "。"
                await asyncio.sleep(0)
        finally:
            closed.set()

    reader = gathered(endless())
    assert (await anext(reader)).startswith("。")
    await reader.aclose()
    assert closed.is_set()
