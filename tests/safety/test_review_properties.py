"""Properties of the stream: however the model's tokens fall, the reviewed text is the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.safety.review import SafetyReviewer
from app.safety.sentences import SentenceBuffer, split_sentences
from app.safety.types import Audience, Evidence, Level, ReviewContext, ReviewResult, TriageResult

DATA = Path(__file__).with_name("data")
REVIEWER = SafetyReviewer.load()
ROWS = [json.loads(line) for line in (DATA / "drafts_dev.jsonl").read_text("utf-8").splitlines()]
PIECES = [
    "请立即拨打120。",
    "可以停药。",
    "75～100 mg[1]",
    "。",
    "[2]",
    "\n",
    "- ",
    "0.5",
    "有人说",
    "！”",
    "阿司匹林",
    " ",
    "如果",
    "？",
]


def cuts(text: str, sizes: list[int]) -> list[str]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    return [*pieces, text[at:]]


def streamed(context: ReviewContext, pieces: list[str]) -> tuple[str, ReviewResult]:
    session = REVIEWER.open(context)
    shown = [session.feed(piece) for piece in pieces]
    rest, result = session.close()
    return "".join(shown) + rest, result


@given(st.text(alphabet="药停。！？[]12 \n.”吃0", max_size=60), st.lists(st.integers(1, 5), max_size=30))
def test_sentences_do_not_depend_on_the_pieces(text: str, sizes: list[int]) -> None:
    buffer = SentenceBuffer()
    parts = [sentence for piece in cuts(text, sizes) for sentence in buffer.feed(piece)]
    parts += buffer.close()
    assert parts == split_sentences(text)
    assert "".join(parts) == text


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ROWS), st.lists(st.integers(1, 9), max_size=80), st.booleans())
def test_no_split_changes_the_reviewed_text(row: dict[str, object], sizes: list[int], urgent: bool) -> None:
    evidence = tuple(Evidence(item["id"], item["title"], item["text"]) for item in row["evidence"])  # type: ignore[index,attr-defined]
    level = Level.EMERGENCY if urgent else Level.ROUTINE
    context = ReviewContext(
        str(row["question"]), evidence, TriageResult(level), Audience(str(row["audience"]))
    )
    draft = str(row["draft"])
    whole = REVIEWER.review(context, draft)
    text, result = streamed(context, cuts(draft, sizes))
    assert text == result.text == whole.text
    assert (result.verdict, result.violations, result.cited) == (whole.verdict, whole.violations, whole.cited)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=25), st.booleans())
def test_what_streams_is_what_is_stored(pieces: list[str], urgent: bool) -> None:
    level = Level.EMERGENCY if urgent else Level.ROUTINE
    evidence = (Evidence("e1", "", "阿司匹林每日75～100 mg。"),)
    context = ReviewContext("阿司匹林怎么吃", evidence, TriageResult(level))
    text, result = streamed(context, pieces)
    assert text == result.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("每日0.5mg。[1] [2]好的！", ["每日0.5mg。[1] [2]", "好的！"]),
        ("他说“可以。”然后走了。", ["他说“可以。”", "然后走了。"]),
        ("第一行\n第二行", ["第一行\n", "第二行"]),
        ("Take it daily. Then rest.", ["Take it daily. ", "Then rest."]),
    ],
)
def test_where_sentences_end(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


def test_a_citation_may_come_in_the_next_token() -> None:
    buffer = SentenceBuffer()
    assert buffer.feed("多喝水。") == []
    assert buffer.feed("[1") == []
    assert buffer.feed("]少") == ["多喝水。[1]"]
    assert buffer.close() == ["少"]
