"""All finds of a text, or of the texts of one record, without overlaps.

Owns the order of the finders, the choice between overlapping finds and the carrying of names through a record.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from finetune.deidentify.dates import date_spans
from finetune.deidentify.hospitals import hospital_spans
from finetune.deidentify.names import name_spans
from finetune.deidentify.numbers import number_spans
from finetune.deidentify.places import address_spans
from finetune.deidentify.surrogates import is_surrogate
from finetune.deidentify.types import PRECEDENCE, Span, SpanType
from finetune.deidentify.words import is_ordinary_word

_FOLD = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0xA0: 0x20, 0x9: 0x20}
_RANK = {kind: rank for rank, kind in enumerate(PRECEDENCE)}


def find_spans(text: str) -> list[Span]:
    """Finds of one text, in order, without overlaps."""
    return find_in_record([text])[0]


def find_in_record(texts: Sequence[str]) -> list[list[Span]]:
    """Finds of each text; a full name recognised in one is found in all of them, with a cue or without."""
    views = [text.translate(_FOLD) for text in texts]
    found = [_chosen(_candidates(view, text)) for view, text in zip(views, texts, strict=True)]
    names = {
        view[span.start : span.end]
        for view, spans in zip(views, found, strict=True)
        for span in spans
        if span.type is SpanType.NAME and not span.surname_only
    }
    carried = [_chosen([*spans, *_repeated(view, names)]) for view, spans in zip(views, found, strict=True)]
    return [_marked(text, spans) for text, spans in zip(texts, carried, strict=True)]


def _candidates(view: str, text: str) -> list[Span]:
    return [
        *number_spans(view, text),
        *date_spans(view),
        *hospital_spans(view),
        *address_spans(view),
        *name_spans(view),
    ]


def _chosen(candidates: Sequence[Span]) -> list[Span]:
    """By precedence of type, then the longer one, then the earlier one."""
    taken: list[Span] = []
    order = sorted(candidates, key=lambda s: (_RANK[s.type], s.surname_only, s.start - s.end, s.start))
    for span in order:
        if all(span.end <= other.start or span.start >= other.end for other in taken):
            taken.append(span)
    return sorted(taken, key=lambda span: span.start)


def _repeated(view: str, names: set[str]) -> list[Span]:
    spans = []
    for name in names:
        for found in re.finditer(re.escape(name), view):
            spans.append(Span(SpanType.NAME, *found.span()))
        given = name[-2:]
        if len(name) == 3 and not is_ordinary_word(given):
            for found in re.finditer(rf"(?<![一-鿿]){re.escape(given)}", view):
                spans.append(Span(SpanType.NAME, *found.span()))
    return spans


def _marked(text: str, spans: Sequence[Span]) -> list[Span]:
    return [
        Span(s.type, s.start, s.end, s.surname_only, is_surrogate(s.type, text[s.start : s.end]))
        for s in spans
    ]
