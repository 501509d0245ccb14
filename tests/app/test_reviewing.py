"""The review beside the event loop: tokens wait for their sentence, and what is shown does not depend on how they came."""

from __future__ import annotations

import pytest

from app.chat.reviewing import SentenceReview, review_threads
from app.safety.types import ReviewResult, Verdict

TEXT = "少盐。多走路[1]！血压3.5以上呢？不知道"


class Echo:
    """A session that shows what it is fed and keeps count."""

    def __init__(self) -> None:
        self.fed: list[str] = []

    def feed(self, text: str) -> str:
        self.fed.append(text)
        return text

    def close(self) -> tuple[str, ReviewResult]:
        return "（完）", ReviewResult(Verdict.PASS, "".join(self.fed))


@pytest.mark.parametrize("size", [1, 2, 5, 40])
async def test_only_whole_sentences_reach_the_session_and_nothing_is_lost(size: int) -> None:
    session = Echo()
    with review_threads() as threads:
        review = SentenceReview(session, threads)
        shown = [await review.feed(TEXT[at : at + size]) for at in range(0, len(TEXT), size)]
        rest, result = await review.close()
    assert "".join(shown) + rest == TEXT + "（完）"
    assert result.text == TEXT
    assert len(session.fed) <= 4
