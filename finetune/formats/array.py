"""Cuts a JSON array into the texts of its elements, line by line, and finds its way back behind a broken one.

Owns only the cutting: a JSON string cannot contain a line break, so a quote left open shows at the end of its line,
and the next line that begins like the broken element (an opening brace in the same column) begins the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from finetune.formats.decode import Line
from finetune.problems import Code

Cut = tuple[int, str, str, Code | None]
_OUTSIDE = re.compile(r'["\[\]{},]')
_INSIDE = re.compile(r'\\.|"', re.DOTALL)


class _Cutter:
    """The state between lines: what is open, and the text of the element being read."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.parts: list[str] = []
        self.start = 0
        self.column = 0
        self.failed = ""
        self.code = Code.BAD_JSON
        self.ended = False

    def take(self) -> Cut | None:
        text = "".join(self.parts).strip()
        number, failed, code = self.start, self.failed, self.code
        self.parts, self.start, self.failed, self.code = [], 0, "", Code.BAD_JSON
        if not text and not failed:
            return None
        return (number, "", failed, code) if failed else (number, text, "", None)

    def feed(self, line: Line) -> Iterator[Cut]:
        text = line.text
        position = 0
        if not self.open:
            position = text.index("[") + 1
            self.open = ["["]
        elif self._restarts(text):
            self.failed = self.failed or "the element is not closed"
            yield from self._close()
        if line.bad:
            self._begin(text, position, line.number)
            self.failed, self.code = line.bad, Code.BAD_ENCODING
            self.open = ["["]
            if text.rstrip().endswith(","):
                yield from self._close()
            return
        yield from self._scan(text, position, line.number)

    def _restarts(self, text: str) -> bool:
        body = text.lstrip()
        if not self.start or not body.startswith("{"):
            return False
        same = len(text) - len(body) <= self.column
        return same and (bool(self.failed) or self.open[-1] == "{")

    def _close(self) -> Iterator[Cut]:
        cut = self.take()
        self.open = ["["]
        if cut is not None:
            yield cut

    def _begin(self, text: str, position: int, number: int) -> None:
        if self.start == 0:
            rest = text[position:]
            self.start = number
            self.column = position + len(rest) - len(rest.lstrip())

    def _scan(self, text: str, position: int, number: int) -> Iterator[Cut]:
        if self.failed:
            if text.strip() in ("]", "],"):
                yield from self._close()
                self.ended = True
            return
        mark = position
        while (found := _OUTSIDE.search(text, position)) is not None:
            token, position = found.group(), found.end()
            if token == '"':
                closing = self._string_end(text, position)
                if closing is None:
                    self._begin(text, mark, number)
                    self.failed = "a string is not closed before the end of the line"
                    return
                position = closing
            elif token in "[{":
                self.open.append(token)
            elif token == ",":
                if len(self.open) == 1:
                    self._add(text, mark, found.start(), number)
                    yield from self._close()
                    mark = position
            elif not self._pop(token):
                self._begin(text, mark, number)
                self.failed = f"{token!r} closes nothing that is open"
                self.open = ["["]
                return
            elif not self.open:
                self._add(text, mark, found.start(), number)
                cut = self.take()
                if cut is not None:
                    yield cut
                self.ended = True
                return
        self._add(text, mark, len(text), number)

    def _string_end(self, text: str, position: int) -> int | None:
        while (found := _INSIDE.search(text, position)) is not None:
            position = found.end()
            if found.group() == '"':
                return position
        return None

    def _pop(self, token: str) -> bool:
        if self.open[-1] != ("[" if token == "]" else "{"):
            return False
        self.open.pop()
        return True

    def _add(self, text: str, begin: int, end: int, number: int) -> None:
        piece = text[begin:end]
        if piece.strip():
            self._begin(text, begin, number)
        if self.start:
            self.parts.append(piece)


def array_items(lines: Iterator[Line]) -> Iterator[Cut]:
    """(line, text, "", None) for each element, (line, "", message, code) for each that is broken."""
    cutter = _Cutter()
    last = 0
    for line in lines:
        last = line.number
        if cutter.ended:
            yield (line.number, "", "text behind the end of the array", Code.BAD_JSON)
            return
        yield from cutter.feed(line)
    if not cutter.ended:
        cut = cutter.take()
        if cut is not None and len(cutter.open) <= 1:
            yield cut
            cut = None
        at = last if cut is None else cut[0]
        yield (at, "", "the array is not closed (file cut off?)", Code.BAD_JSON)
