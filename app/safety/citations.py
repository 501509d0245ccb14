"""The citation marks of an answer: which numbers a text cites, a sentence without them, and putting them in.

Owns the form of a mark ([1], [^1], [1,2], [1-3]). Whether a citation is right is decided in `claims.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_CITATION = re.compile(r"\s*\[\^?(\d{1,3}(?:\s*[,，、\-–]\s*\d{1,3})*)\]")
_LEAD = re.compile(r"^\s*(?:[-*•·+]\s+|\d{1,2}\s*[.、)）](?!\d)\s*|答[:：]|#+\s*)")


def cited_numbers(text: str) -> tuple[int, ...]:
    """Return the citations of a text in order of appearance, each once; [1-3] and [1,2] are spelled out."""
    found: dict[int, None] = {}
    for match in _CITATION.finditer(text):
        for part in re.split(r"[,，、]", match.group(1)):
            ends = [int(number) for number in re.findall(r"\d+", part)]
            first, last = ends[0], ends[-1]
            for n in range(first, min(last, first + 20) + 1):
                found.setdefault(n)
    return tuple(found)


def with_citations(raw: str, numbers: Sequence[int]) -> str:
    """Put exactly these citations where the sentence had its last one, or before its full stop."""
    marks = "".join(f"[{n}]" for n in numbers)
    matches = list(_CITATION.finditer(raw))
    if matches:
        at = matches[-1].start()
        removed_before = sum(len(match.group()) for match in matches[:-1])
        bare = _CITATION.sub("", raw)
        at -= removed_before
    else:
        bare = raw
        at = len(bare.rstrip().rstrip("。！？!?.；;"))
    return bare[:at] + marks + bare[at:]


def without_citations(text: str) -> str:
    """The text without its marks."""
    return _CITATION.sub("", text)


def bare_claim(raw: str) -> str:
    """The sentence without list marks and citations."""
    return _LEAD.sub("", without_citations(raw)).strip()
