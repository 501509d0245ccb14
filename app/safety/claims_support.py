"""Decides whether a passage supports a claim: numbers, medicines, polarity, shared content, and similarity if given.

Owns the thresholds, calibrated on the labelled pairs of `tests/safety/data/claims_dev.jsonl`. Which sentences are
claims, and what becomes of an unsupported one, is in `claims.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from app.safety.claims_numbers import DOSE_DIMS, Dim, Quantity, contains, supported_by
from app.safety.claims_text import (
    OPPOSED_ALIKE,
    OPPOSED_NUMBERED,
    Reading,
    bigrams,
    containment,
    contradicts,
    fits,
    sentences,
)
from app.safety.types import Vector

# Calibrated on claims_dev.jsonl: the least share of content with which a pair counts as about the same thing.
NUMBER_CONTENT = 0.1
PLAIN_CONTENT = 0.25
CITED_CONTENT = 0.12
RELATED_CONTENT = 0.06
SIMILAR = 0.90
HOURS_A_YEAR = 8760.0

Embed = Callable[[Sequence[str]], Sequence[Vector]]
_BOUND_DIMS = DOSE_DIMS | {Dim.PERCENT}


@dataclass(frozen=True, slots=True)
class Support:
    """How a passage meets a claim; `supported` is the decision, the rest says why not."""

    supported: bool
    content: float
    numbers: bool
    names: bool
    opposed: bool


def support(
    claim: Reading,
    needed: Sequence[Quantity],
    passage: Reading,
    *,
    assumed: frozenset[str],
    cited: bool = False,
) -> Support:
    """Compare a claim with one passage.

    `needed` are the claim's quantities that need support; `assumed` are medicines that need not be named again
    because the question names them. A passage that the sentence cites need share less of its wording.
    """
    content = max(
        containment(claim.content, passage.bigrams), _held(claim, passage), _numbered(claim, needed, passage)
    )
    numbers = all(_number_supported(quantity, claim, passage) for quantity in needed)
    names = _names_supported(claim, passage, assumed)
    least = NUMBER_CONTENT if needed else CITED_CONTENT if cited else PLAIN_CONTENT
    if needed and assumed & passage.keys:
        # The question names the medicine that the passage is about: its numbers need no further likeness.
        least = 0.0
    enough = (content >= least or len(claim.content) <= 1) and fits(
        claim, passage, numbered=bool(needed) and numbers
    )
    alike = OPPOSED_NUMBERED if needed else OPPOSED_ALIKE
    opposed = enough and numbers and names and contradicts(claim, passage, alike=alike)
    return Support(enough and numbers and names and not opposed, content, numbers, names, opposed)


def _numbered(claim: Reading, needed: Sequence[Quantity], passage: Reading) -> float:
    """Shared content of the clauses that hold the numbers, when the sentence says other things besides."""
    if not needed:
        return 0.0
    marks = [at for at, char in enumerate(claim.text) if char in ",;:。!?"]
    shares = []
    for quantity in needed:
        left = max((at for at in marks if at < quantity.start), default=-1)
        right = min((at for at in marks if at >= quantity.end), default=len(claim.text))
        words = bigrams(claim.text[left + 1 : right])
        shares.append(containment(words, passage.bigrams) if len(words) >= 2 else 0.0)
    return min(shares)


def _held(claim: Reading, passage: Reading) -> float:
    """How far the claim says all that a sentence of the passage says, when it says more besides."""
    parts = [bigrams(part) for part in sentences(passage.text)]
    return 0.9 * max((containment(part, claim.bigrams) for part in parts if len(part) >= 5), default=0.0)


def similar(claim: str, passage_sentences: Sequence[str], embed: Embed) -> bool:
    """True when a sentence of the passage means nearly the same (cosine of unit vectors)."""
    vectors = embed([claim, *passage_sentences])
    return any(float(vectors[0] @ vector) >= SIMILAR for vector in vectors[1:])


def _number_supported(quantity: Quantity, claim: Reading, passage: Reading) -> bool:
    known = tuple(number for number in passage.numbers if number.dim is quantity.dim)
    if quantity.dim in {Dim.AGE, Dim.TIME}:
        known += tuple(
            _as(quantity.dim, number) for number in passage.numbers if number.dim in {Dim.AGE, Dim.TIME}
        )
    if quantity.bound and any(_counterpart(quantity, number) for number in claim.numbers):
        quantity = replace(quantity, bound="")
    if quantity.dim is Dim.PLAIN:
        known = passage.numbers
        return any(_plain_equal(number, quantity) for number in known)
    if quantity.dim is Dim.PRESSURE:
        known += tuple(_pressures(passage.numbers))
    if quantity.dim is Dim.TIMES:
        known += tuple(number for number in passage.numbers if number.dim is Dim.FREQUENCY)
    if quantity.dim in _BOUND_DIMS and (owner := _owner(quantity, claim)) is not None:
        known = tuple(number for number in known if _owner(number, passage) in (owner, None))
    return supported_by(quantity, known)


def _as(dim: Dim, number: Quantity) -> Quantity:
    """An age as a time and the other way round: 6月龄 is 6个月."""
    if number.dim is dim:
        return number
    scale = HOURS_A_YEAR if dim is Dim.TIME else 1 / HOURS_A_YEAR
    return replace(number, dim=dim, low=number.low * scale, high=number.high * scale)


def _counterpart(one: Quantity, other: Quantity) -> bool:
    """True for the other half of "6 hours or more: …, less than 6 hours: …"."""
    return one.dim is other.dim and one.low == other.low and bool(other.bound) and other.bound != one.bound


def _plain_equal(known: Quantity, claimed: Quantity) -> bool:
    if known.dim is Dim.PLAIN:
        return contains(known, claimed)
    return abs(known.low - claimed.low) < 1e-6 and abs(known.high - claimed.high) < 1e-6


def _pressures(numbers: Sequence[Quantity]) -> list[Quantity]:
    found = []
    for number in numbers:
        if number.dim is Dim.BLOOD_PRESSURE:
            for value in (number.low, number.high):
                found.append(Quantity(Dim.PRESSURE, value, value, number.bound, number.start, number.end))
    return found


def _owner(quantity: Quantity, reading: Reading) -> str | None:
    """Return the medicine that the quantity belongs to: the nearest one before it in the same sentence."""
    stop = max(reading.text.rfind(mark, 0, quantity.start) for mark in "。!?;")
    before = [name for name in reading.names if stop < name.start < quantity.start]
    return before[-1].key if before else None


def _names_supported(claim: Reading, passage: Reading, assumed: frozenset[str]) -> bool:
    drugs = [name for name in claim.names if name.kind == "drug"]
    missing = [name for name in drugs if not _named(name.key, name.surface, passage)]
    if missing and all(name.key in assumed for name in missing):
        return len(missing) < len(drugs) or not passage.names
    return not missing


def _named(key: str, surface: str, passage: Reading) -> bool:
    if key in passage.keys or surface in passage.text:
        return True
    if surface in _DUAL and _DUAL_NAMED.search(passage.text):
        return True
    bare = _FORM.sub("", surface)
    if bare and bare != surface and re.search(f"{re.escape(bare)}(?:{_FORMS})", passage.text):
        return True
    # A class name stands for its members and the other way round (他汀 for 阿托伐他汀).
    stem = _stem(surface)
    return any(
        stem.endswith(_stem(name.surface)) or _stem(name.surface).endswith(stem) for name in passage.names
    )


_FORMS = "缓释片|控释片|肠溶片|胶囊|颗粒|滴丸|片|剂|丸"
_FORM = re.compile(f"(?:{_FORMS})$")
# The two medicines that 双抗 stands for.
_DUAL = frozenset({"阿司匹林", "氯吡格雷", "替格瑞洛", "波立维", "拜阿司匹灵", "倍林达"})
_DUAL_NAMED = re.compile(r"双抗|双联抗血小板|双重抗血小板")


def _stem(surface: str) -> str:
    return re.sub(r"类?药?物?$", "", surface) if len(surface) > 2 else surface
