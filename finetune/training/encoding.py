"""Conversations as token ids with labels on the answers only, safe against control tokens inside a record.

Owns the encoding. The template decides the structure; what a record says is encoded as ordinary text, so that an
`<|im_end|>` written in a record is six characters' worth of text and can neither end nor open a turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune.training.templates import Message, render

IGNORED = -100
# Private-use characters that stand for a message's content while the template is rendered.
_OPEN, _CLOSE = "\ue7f0", "\ue7f1"
_HOLE = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_PRIVATE = str.maketrans({_OPEN: "", _CLOSE: ""})


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example: `input_ids` and `labels` (IGNORED outside the answers) have the same length."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def learnt(self) -> int:
        """How many tokens count in the loss."""
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    content: bool
    learnt: bool


class ChatEncoder:
    """Encodes conversations with one tokenizer and one marked template."""

    def __init__(self, tokenizer: Any, template: str) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._control = _control_pattern(tokenizer)

    def example(self, messages: Sequence[Message]) -> Encoded:
        """The whole conversation, labels on every answer and the token that ends it."""
        return self._encode(self._pieces(messages, prompt=False))

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The conversation so far with the opening of the answer, for generation."""
        return list(self._encode(self._pieces(messages, prompt=True)).input_ids)

    def _pieces(self, messages: Sequence[Message], *, prompt: bool) -> list[_Piece]:
        contents = [message["content"].translate(_PRIVATE) for message in messages]
        holes = [{"role": m["role"], "content": f"{_OPEN}{i}{_CLOSE}"} for i, m in enumerate(messages)]
        text, spans = render(self._template, holes, self._tokenizer, prompt=prompt)
        pieces: list[_Piece] = []
        for start, end, learnt in _cut(len(text), spans):
            position = start
            for hole in _HOLE.finditer(text, start, end):
                pieces.append(_Piece(text[position : hole.start()], False, learnt))
                pieces.append(_Piece(contents[int(hole.group(1))], True, learnt))
                position = hole.end()
            pieces.append(_Piece(text[position:end], False, learnt))
        return [piece for piece in pieces if piece.text]

    def _encode(self, pieces: Sequence[_Piece]) -> Encoded:
        """Control tokens of the structure become ids; everything between two of them is encoded in one go."""
        ids: list[int] = []
        labels: list[int] = []
        run: list[_Piece] = []
        for piece in pieces:
            if piece.content:
                run.append(piece)
                continue
            position = 0
            for control in self._control.finditer(piece.text):
                run.append(_Piece(piece.text[position : control.start()], False, piece.learnt))
                self._flush(run, ids, labels)
                token = self._tokenizer.convert_tokens_to_ids(control.group())
                ids.append(token)
                labels.append(token if piece.learnt else IGNORED)
                position = control.end()
            run.append(_Piece(piece.text[position:], False, piece.learnt))
        self._flush(run, ids, labels)
        return Encoded(tuple(ids), tuple(labels))

    def _flush(self, run: list[_Piece], ids: list[int], labels: list[int]) -> None:
        """Encode the run as ordinary text; a token is learnt when it ends inside a learnt piece."""
        text = "".join(piece.text for piece in run)
        learnt = [piece.learnt for piece in run for _ in piece.text]
        run.clear()
        if not text:
            return
        found = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        for token, (_, end) in zip(found["input_ids"], found["offset_mapping"], strict=True):
            ids.append(token)
            labels.append(token if learnt[max(0, end - 1)] else IGNORED)


def _cut(length: int, spans: Sequence[Any]) -> list[tuple[int, int, bool]]:
    """The whole text as (start, end, learnt) in order."""
    cuts: list[tuple[int, int, bool]] = []
    position = 0
    for start, end in sorted((int(start), int(end)) for start, end in spans):
        cuts.append((position, start, False))
        cuts.append((start, end, True))
        position = end
    cuts.append((position, length, False))
    return cuts


def _control_pattern(tokenizer: Any) -> re.Pattern[str]:
    names = {str(token) for token in tokenizer.get_added_vocab()} | set(tokenizer.all_special_tokens)
    ordered = sorted((name for name in names if name), key=len, reverse=True)
    return re.compile("|".join(re.escape(name) for name in ordered) if ordered else r"(?!)")
