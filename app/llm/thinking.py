"""Tells a model's thinking from its answer while both stream in, and lets only whole sentences through.

`<think>` and `</think>` may be cut anywhere between two tokens. Owns the reading of one stream's text; where the
chunks come from is `client.py`'s business, what may be shown is reviewed later.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.llm.base import Reasoning, Text
from app.llm.client import Chunk

OPEN, CLOSE = "<think>", "</think>"
SENTENCE_ENDS = "。！？!?\n"
CLOSERS = "”’」』）)】》\"'*"


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text that is either thinking or answer."""

    text: str
    thinking: bool


class ThinkSplitter:
    """Feed deltas; get pieces. Text that may still turn out to be a tag is held back."""

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False

    def feed(self, text: str) -> list[Piece]:
        self._held += text
        pieces: list[Piece] = []
        while True:
            at, tag = self._next_tag()
            if at < 0:
                break
            self._take(pieces, at)
            self._held = self._held[len(tag) :]
            self._thinking = tag == OPEN
        self._take(pieces, len(self._held) - self._maybe_tag())
        return pieces

    def close(self) -> list[Piece]:
        """What was held back and turned out to be no tag."""
        pieces: list[Piece] = []
        self._take(pieces, len(self._held))
        return pieces

    def _next_tag(self) -> tuple[int, str]:
        found = [(self._held.find(tag), tag) for tag in (OPEN, CLOSE)]
        return min(((at, tag) for at, tag in found if at >= 0), default=(-1, ""))

    def _maybe_tag(self) -> int:
        """How many characters at the end could be the beginning of a tag."""
        for size in range(min(len(CLOSE) - 1, len(self._held)), 0, -1):
            if any(tag.startswith(self._held[-size:]) for tag in (OPEN, CLOSE)):
                return size
        return 0

    def _take(self, pieces: list[Piece], size: int) -> None:
        if size > 0:
            pieces.append(Piece(self._held[:size], self._thinking))
            self._held = self._held[size:]


class WholeSentences:
    """Lets text through up to the last sentence end, so that a stream that breaks never shows half a sentence.

    Half a sentence can say the opposite of the whole ("可以停药" of "可以停药的情况只有……"). Review works by sentence as
    well, so nothing is shown later than without this.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        self._held += text
        end = max(self._held.rfind(mark) for mark in SENTENCE_ENDS) + 1
        while 0 < end < len(self._held) and self._held[end] in CLOSERS:
            end += 1
        ready, self._held = self._held[:end], self._held[end:]
        return ready

    def close(self) -> str:
        """The rest, for a stream that ended properly."""
        ready, self._held = self._held, ""
        return ready


class AnswerReader:
    """The parts of one streamed answer. Thinking becomes `Reasoning` when it is wanted, and nothing otherwise."""

    def __init__(self, *, with_reasoning: bool) -> None:
        self._with_reasoning = with_reasoning
        self._splitter = ThinkSplitter()
        self._sentences = WholeSentences()
        self.has_text = False

    def read(self, chunk: Chunk) -> list[Reasoning | Text]:
        thought = [Piece(chunk.reasoning, thinking=True)] if chunk.reasoning else []
        return self._parts([*thought, *self._splitter.feed(chunk.text)])

    def close(self, *, complete: bool) -> list[Reasoning | Text]:
        """What was held back; of an answer that is not complete the half sentence at its end is dropped."""
        parts = self._parts(self._splitter.close())
        rest = self._sentences.close()
        return [*parts, *self._text(rest)] if complete else parts

    def _parts(self, pieces: list[Piece]) -> list[Reasoning | Text]:
        parts: list[Reasoning | Text] = []
        for piece in pieces:
            if not piece.thinking:
                parts.extend(self._text(self._sentences.feed(piece.text)))
            elif self._with_reasoning:
                parts.append(Reasoning(piece.text))
        return parts

    def _text(self, text: str) -> list[Reasoning | Text]:
        self.has_text = self.has_text or bool(text.strip())
        return [Text(text)] if text else []
