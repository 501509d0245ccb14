"""Cuts a stream of text into whole sentences, the same way however the stream was chopped.

Owns where a sentence ends: a terminator, its closing quotes, and the citations `[n]` that follow it belong together.
What a sentence means, and whether it may be shown, is decided in `review.py`.
"""

from __future__ import annotations

import re

TERMINATORS = "。！？!?\n"
CLOSERS = "”’」』）)】》\"'*_~ \t\u3000"
MAX_CHARS = 400

_CITATION = re.compile(r"\[\^?\d{1,3}(?:\s*[,，、\-–]\s*\d{1,3})*\]")
_OPEN_CITATION = re.compile(r"\[\^?[\d\s,，、\-–]{0,24}$")
_FORCED_CUT = re.compile(r"[，,、：:\s]")


class SentenceBuffer:
    """Collects pieces of text and hands out the sentences that are certainly complete.

    A sentence is complete only when the first character of the next one is known, since a citation may still follow
    its full stop. Joining everything returned gives exactly the text that was fed.
    """

    def __init__(self) -> None:
        self._text = ""
        self._scanned = 0

    def feed(self, text: str) -> list[str]:
        """Add `text`; return the sentences that are now complete, in order."""
        self._text += text
        return self._cut(final=False)

    def close(self) -> list[str]:
        """Return what is left, cut where sentences end, and empty the buffer."""
        self._scanned = 0
        sentences = self._cut(final=True)
        if self._text:
            sentences.append(self._text)
        self._text, self._scanned = "", 0
        return sentences

    def _cut(self, *, final: bool) -> list[str]:
        sentences: list[str] = []
        while True:
            end, self._scanned = _find_end(self._text, self._scanned, final=final)
            if end is None:
                return sentences
            sentences.append(self._text[:end])
            self._text = self._text[end:]
            self._scanned = 0


def split_sentences(text: str) -> list[str]:
    """Split a whole text; joining the result gives `text` again."""
    buffer = SentenceBuffer()
    return [*buffer.feed(text), *buffer.close()]


def _find_end(text: str, start: int, *, final: bool) -> tuple[int | None, int]:
    """Return the end of the first sentence, or None and the place from which to look again."""
    for index in range(start, len(text)):
        if index >= MAX_CHARS:
            return _forced_end(text), 0
        if _terminates(text, index, final=final):
            end = _extend(text, index + 1)
            if end is None:
                return (len(text), 0) if final else (None, index)
            return end, 0
    # The last character may be a decimal point: look at it again together with what follows.
    return None, max(0, len(text) - 1)


def _terminates(text: str, index: int, *, final: bool = False) -> bool:
    char = text[index]
    if char in TERMINATORS:
        return True
    if char != ".":
        return False
    # An English full stop ends a sentence only before white space, never inside 0.5 or "1. 项目".
    follows = text[index + 1 : index + 2]
    before = text[index - 1 : index]
    if before.isdigit() or not before.isascii():
        return before != "" and not before.isascii() and (follows.isspace() or (final and follows == ""))
    return follows.isspace()


def _extend(text: str, end: int) -> int | None:
    """Move `end` past closers and citations; None when what follows is not known yet."""
    if text[end - 1] == "\n":
        return end
    while True:
        if end >= len(text):
            return None
        if match := _CITATION.match(text, end):
            end = match.end()
        elif text[end] in CLOSERS or text[end] in TERMINATORS:
            end += 1
            if text[end - 1] == "\n":
                return end
        elif _OPEN_CITATION.match(text, end):
            return None
        else:
            return end


def _forced_end(text: str) -> int:
    """Cut an endless run of text at its last pause, so that nothing is held for ever."""
    pauses = [match.end() for match in _FORCED_CUT.finditer(text, MAX_CHARS // 2, MAX_CHARS)]
    return pauses[-1] if pauses else MAX_CHARS
