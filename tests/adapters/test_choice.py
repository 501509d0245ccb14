"""Which adapter answers which conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ulid import ULID

from app.adapters.choice import Canary, Line, choose
from app.conversations.writer import Opened
from tests.llm.stub_vllm import StubVllm

BEGAN = datetime(2026, 11, 1, 12, tzinfo=UTC)


def opened(n: int = 0, *, adapter: str | None = None, at: datetime = BEGAN) -> Opened:
    conversation = str(ULID.from_datetime(at + timedelta(milliseconds=n)))
    return Opened(conversation, "m", "u", adapter is None, None, adapter, ())


def test_share_of_new_conversations_and_always_the_same_ones() -> None:
    line = Line("cardiology-v1", Canary("cardiology-v2", 20, BEGAN))
    conversations = [opened(n) for n in range(2000)]
    first = [choose(line, c) for c in conversations]
    assert 0.16 < first.count("cardiology-v2") / 2000 < 0.24
    assert first == [choose(line, c) for c in conversations]
    more = Line("cardiology-v1", Canary("cardiology-v2", 50, BEGAN))
    assert all(
        choose(more, c) == "cardiology-v2"
        for c, n in zip(conversations, first, strict=True)
        if n == "cardiology-v2"
    )


def test_conversation_keeps_its_adapter() -> None:
    line = Line("cardiology-v1", Canary("cardiology-v2", 100, BEGAN))
    assert choose(line, opened(adapter="cardiology-v1")) == "cardiology-v1"
    ended = Line("cardiology-v1", Canary("cardiology-v2", 1, BEGAN))
    assert choose(ended, opened(adapter="cardiology-v2")) == "cardiology-v2"


def test_conversation_from_before_the_canary_never_gets_it() -> None:
    line = Line("cardiology-v1", Canary("cardiology-v2", 100, BEGAN))
    assert choose(line, opened(at=BEGAN - timedelta(hours=1))) == "cardiology-v1"
    assert choose(Line(None, line.canary), opened(at=BEGAN - timedelta(hours=1))) is None


def test_clock_set_back_gives_nobody_the_canary_by_mistake() -> None:
    line = Line("cardiology-v1", Canary("cardiology-v2", 100, BEGAN + timedelta(days=1)))
    assert choose(line, opened()) == "cardiology-v1"


def test_adapter_that_no_longer_serves_is_left() -> None:
    line = Line("cardiology-v1")
    assert choose(line, opened(adapter="cardiology-v9")) == "cardiology-v1"
    assert choose(Line(), opened(adapter="cardiology-v9")) is None


async def test_change_is_seen_at_once_here_and_the_last_picture_survives_the_database(
    bench: Callable[..., Any], servers: Callable[..., StubVllm]
) -> None:
    made = await bench(servers())
    choose_now = made.parts.choose
    fresh = replace(opened(), conversation_id=str(ULID()))
    assert await choose_now("cardiology", fresh) is None
    await made.service.activate("op", await made.ready("cardiology-v1"))
    assert await choose_now("cardiology", fresh) == "cardiology-v1"
    assert await choose_now("allergy", fresh) is None
    path = made.database.engine.url.database
    await made.database.close()
    await asyncio.to_thread(
        lambda: [p.unlink() for p in __import__("pathlib").Path(path).parent.glob("anxin.db*")]
    )
    made.parts.choose.forget()
    assert await choose_now("cardiology", fresh) == "cardiology-v1"
