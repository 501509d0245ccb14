"""Framing, thinking, sentences, breaker: the small machines, also with every way of cutting their input."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm.breaker import Breaker, Circuit
from app.llm.sse import DataLines
from app.llm.thinking import ThinkSplitter, WholeSentences


def cut(data: str, points: list[int]) -> list[str]:
    edges = sorted({0, len(data), *(p % (len(data) + 1) for p in points)})
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]


@given(st.lists(st.text(min_size=1), max_size=5), st.lists(st.integers(0, 500), max_size=12))
def test_payloads_survive_any_chunking(texts: list[str], points: list[int]) -> None:
    payloads = [json.dumps({"t": text}, ensure_ascii=False) for text in texts]
    stream = "".join(f": ping\r\ndata: {p}\r\n\r\n" for p in payloads).encode("utf-8", "surrogatepass")
    edges = sorted({0, len(stream), *(p % (len(stream) + 1) for p in points)})
    lines, got = DataLines(), []
    try:
        for a, b in zip(edges, edges[1:], strict=False):
            got.extend(lines.feed(stream[a:b]))
    except UnicodeDecodeError:
        assert any("\ud800" <= c <= "\udfff" for text in texts for c in text)
        return
    assert got == payloads


def test_endless_line_is_refused() -> None:
    lines = DataLines()
    with pytest.raises(ValueError, match="too long"):
        for _ in range(20):
            lines.feed(b"data: " + b"x" * 100_000)


@given(
    st.lists(st.tuples(st.sampled_from(["想一想", "a<b", "<", "</th", "结论。"]), st.booleans()), max_size=6),
    st.lists(st.integers(0, 300), max_size=20),
)
def test_thinking_is_separated_however_it_is_cut(parts: list[tuple[str, bool]], points: list[int]) -> None:
    text = "".join(f"<think>{t}</think>" if thinking else t for t, thinking in parts)
    splitter = ThinkSplitter()
    pieces = [p for piece in cut(text, points) for p in splitter.feed(piece)] + splitter.close()
    assert "".join(p.text for p in pieces if p.thinking) == "".join(t for t, thinking in parts if thinking)
    assert "".join(p.text for p in pieces if not p.thinking) == "".join(
        t for t, thinking in parts if not thinking
    )


@given(st.text(alphabet="休息。！?\n”a"), st.lists(st.integers(0, 200), max_size=20))
def test_only_whole_sentences_before_the_end_and_nothing_lost(text: str, points: list[int]) -> None:
    sentences, shown = WholeSentences(), ""
    for piece in cut(text, points):
        shown += sentences.feed(piece)
        assert shown == "" or shown[-1] in "。！?\n”"
    assert shown + sentences.close() == text


def test_breaker_opens_tries_once_and_trusts_again() -> None:
    now = [0.0]
    breaker = Breaker(clock=lambda: now[0])
    for _ in range(3):
        assert breaker.allows
        breaker.begin()
        breaker.failed()
    assert breaker.state is Circuit.OPEN
    assert not breaker.allows
    now[0] = 5.0
    assert breaker.allows
    breaker.begin()
    assert not breaker.allows, "one trial at a time"
    breaker.failed()
    now[0] = 10.0
    assert not breaker.allows, "the cool-down doubles"
    now[0] = 15.0
    breaker.begin()
    breaker.succeeded()
    assert breaker.state is Circuit.CLOSED


def test_abandoned_trial_does_not_block_the_next() -> None:
    now = [0.0]
    breaker = Breaker(clock=lambda: now[0])
    for _ in range(3):
        breaker.failed()
    now[0] = 6.0
    breaker.begin()
    breaker.abandoned()
    assert breaker.allows
