"""Triage stays fast on hostile text: twice the text is twice the work, and no text costs more than a blink."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from app.safety.triage import TriageEngine
from app.safety.types import Level, Turn

LENGTH = 1000
# Generous for a slow, busy machine: quadratic scopes once cost seconds for these texts.
CPU_SECONDS = 0.5
UNITS = {
    "commas": "，",
    "denials": "没有",
    "complaints": "胸痛",
    "complaints denied": "没有胸痛",
    "complaint then not": "胸痛不",
    "brackets": "（",
    "newlines": "\n",
    "digits": "1",
    "list": "胸痛、头晕、",
    "run-on": "胸痛头晕恶心没有",
    "films": "电视剧胸痛我",
    "past": "以前胸痛",
    "suppositions": "如果胸痛",
    "risk": "会不会胸痛会",
    "over": "胸痛好了还是疼",
    "ages": "1岁",
    "pregnancies": "怀孕",
    "denials of death": "我不想死，",
    "sentences": "胸痛。",
    "parts": "手麻胸口疼",
    "spaced out": "胸 痛 ",
    "cases": "患者，男，45岁胸痛",
    "ordinary": "我爸昨天胸口疼，没有出汗，以前有高血压，现在头晕。",
    "no stops": "我爸昨天胸口疼没有出汗以前有高血压现在头晕",
}


@pytest.fixture(scope="module")
def engine() -> TriageEngine:
    engine = TriageEngine.load(embed=None, semantic=False)
    engine.assess("胸痛")
    return engine


def fill(unit: str, length: int) -> str:
    return ("阿司匹林饭前吃吗" + unit * length)[:length]


def calls(work: Callable[[], object]) -> int:
    """How many functions `work` calls."""
    count = 0

    def seen(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS.keys())
def test_twice_the_text_is_at_most_little_more_than_twice_the_work(engine: TriageEngine, unit: str) -> None:
    once = calls(lambda: engine.assess(fill(unit, LENGTH)))
    twice = calls(lambda: engine.assess(fill(unit, 2 * LENGTH)))
    assert twice < 2.6 * once


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS.keys())
def test_no_text_of_the_longest_size_takes_long(engine: TriageEngine, unit: str) -> None:
    text = fill(unit, 2 * LENGTH) + "？"
    started = time.process_time()
    engine.assess(text)
    assert time.process_time() - started < CPU_SECONDS


def test_twenty_turns_of_the_longest_size_do_not_take_long(engine: TriageEngine) -> None:
    turns = [Turn("user" if n % 2 == 0 else "assistant", fill(f"{n}没有胸痛，以前", 2000)) for n in range(20)]
    started = time.process_time()
    engine.assess("现在呢", turns)
    assert time.process_time() - started < 10 * CPU_SECONDS


@pytest.mark.parametrize("unit", ["，", "没有", "以前", "电视剧", "如果", "下列哪项", "（", "1", "好了"])
def test_a_red_flag_behind_a_flood_is_still_seen(engine: TriageEngine, unit: str) -> None:
    flood = fill(unit, 1900)
    flag = "\n我爸现在胸口压着疼，出了一身冷汗，救命"
    assert engine.assess(flood + flag).level is Level.EMERGENCY
    assert engine.assess(flag + "\n" + flood).level is Level.EMERGENCY
