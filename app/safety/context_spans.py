"""Sentences, clauses and cue words of one text, each found in time that does not grow with the text's length.

Owns the bounds that keep triage linear on any input. What the cues mean is decided in `context.py`, how far a
negation reaches in `context_scopes.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

Span = tuple[int, int]

# A sentence longer than this is read in pieces, cut at a pause where there is one. A shorter scope can only leave a
# denial or a frame out, so it never hides a red flag; spoken messages without any stop rarely run this long.
LONGEST_SENTENCE = 240
PAUSES = "，、：,; "


class Pieces:
    """A text cut into adjacent spans, with the span of every position at hand."""

    def __init__(self, text: str, stops: str, extra: Iterable[int] = ()) -> None:
        """Cuts after each character of `stops`, at the positions in `extra`, and where a span grows too long."""
        self.spans = _split(text, stops, set(extra))
        self._at = [i for i, (start, end) in enumerate(self.spans) for _ in range(start, end)]

    def index(self, position: int) -> int:
        """Which span holds `position`; the last one for positions behind the text."""
        return self._at[position] if 0 <= position < len(self._at) else len(self.spans) - 1

    def of(self, position: int) -> Span:
        return self.spans[self.index(position)]


def _split(text: str, stops: str, extra: set[int]) -> list[Span]:
    spans: list[Span] = []
    start = pause = 0
    for index, char in enumerate(text):
        end = index + 1
        if char in PAUSES:
            pause = end
        if char in stops or end in extra:
            spans.append((start, end))
            start = end
        elif end - start >= LONGEST_SENTENCE:
            cut = pause if pause > start + LONGEST_SENTENCE // 2 else end
            spans.append((start, cut))
            start = cut
    if start < len(text) or not spans:
        spans.append((start, len(text)))
    return spans


class Index:
    """Sorted spans of one kind of cue, asked for by place."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = sorted(spans)
        self._starts = [start for start, _ in self.spans]

    def within(self, start: int, end: int) -> list[Span]:
        """The spans that lie wholly between `start` and `end`."""
        low, high = bisect_left(self._starts, start), bisect_left(self._starts, end)
        return [span for span in self.spans[low:high] if span[1] <= end]

    def any_within(self, start: int, end: int) -> bool:
        low = bisect_left(self._starts, start)
        for span in self.spans[low:]:
            if span[0] >= end:
                return False
            if span[1] <= end:
                return True
        return False

    def last_within(self, start: int, end: int) -> Span | None:
        """The last span that lies wholly between `start` and `end`."""
        low, at = bisect_left(self._starts, start), bisect_left(self._starts, end)
        while at > low:
            at -= 1
            if self.spans[at][1] <= end:
                return self.spans[at]
        return None


NOTHING = Index(())
