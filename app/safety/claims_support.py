"""Decides whether a passage supports a claim: its numbers and medicines must agree, it must not say the opposite, the rest is weighed.

Owns the agreement of numbers and names; the weighing is in `claims_model.py`. Which sentences are
claims, and what becomes of an unsupported one, is in `claims.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.safety.claims_model import describe, support_model
from app.safety.claims_numbers import DOSE_DIMS, Dim, Quantity, contains, supported_by
from app.safety.claims_text import Name, Reading, denies, differences

# The least share of content with which a passage counts as about the same thing.
RELATED_CONTENT = 0.06
SAME_WORDS = 0.7
HOURS_A_YEAR = 8760.0

_BOUND_DIMS = DOSE_DIMS | {Dim.PERCENT}


@dataclass(frozen=True, slots=True)
class Support:
    """How a passage meets a claim: `score` (logit) orders the passages, `margin` is how far it lies above the threshold."""

    score: float
    margin: float

    @property
    def supported(self) -> bool:
        """The decision of the linear model."""
        return self.margin >= 0


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
    because the question names them. A passage that the sentence cites needs less certainty.
    """
    if not agrees(claim, needed, passage, assumed):
        return Support(-math.inf, -math.inf)
    found = differences(claim, passage)
    if opposes(claim, passage, found):
        return Support(-math.inf, -math.inf)
    model = support_model()
    score = model.score(describe(claim, passage, found, len(needed), assumed))
    return Support(score, score - (model.cited if cited else model.uncited))


def agrees(claim: Reading, needed: Sequence[Quantity], passage: Reading, assumed: frozenset[str]) -> bool:
    """Whether the passage holds the claim's quantities and names its medicines: without that nothing supports it."""
    return all(_number_supported(quantity, claim, passage) for quantity in needed) and _names_supported(
        claim, passage, assumed
    )


def opposes(claim: Reading, passage: Reading, found: Mapping[str, float]) -> bool:
    """Whether the passage says the opposite in nearly the same words: no likeness makes up for that.

    `found` are their `differences`.
    """
    if found["turned_round"] or found["forbidden_manner"]:
        return True
    if not found["contradicts"]:
        return False
    best = passage.most_like(claim)
    if best is None or best[1] < SAME_WORDS:
        return False
    return bool(found["antonym"]) or denies(claim.text) is not denies(best[0].text)


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
        known += tuple(number for number in passage.numbers if number.dim in {Dim.FREQUENCY, Dim.RATE})
    if quantity.dim is Dim.BLOOD_PRESSURE and _both_pressures(quantity, passage):
        return True
    if quantity.dim in _BOUND_DIMS and (owner := _owner(quantity, claim)) is not None:
        # A share that the source gives for one of several medicines may be said of all that the claim names.
        also = claim.keys if quantity.dim is Dim.PERCENT else frozenset()
        known = tuple(n for n in known if (held := _owner(n, passage)) in (owner, None) or held in also)
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


def _both_pressures(quantity: Quantity, passage: Reading) -> bool:
    """180/110 where the passage says 收缩压≥180 mmHg或舒张压≥110 mmHg."""
    values = {number.low for number in passage.numbers if number.dim is Dim.PRESSURE}
    return {quantity.low, quantity.high} <= values


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
    missing = [
        name
        for name in drugs
        if not _named(name.key, name.surface, passage) and not _of_named_class(name, claim, passage)
    ]
    if missing and all(name.key in assumed for name in missing):
        return len(missing) < len(drugs) or not passage.names
    return not missing


def _of_named_class(drug: Name, claim: Reading, passage: Reading) -> bool:
    """True for 阿司匹林这类抗血小板药 where the passage speaks of the class."""
    match = _SUCH_AS.match(claim.text, drug.end)
    if match is None:
        return False
    classes = (name for name in claim.names if name.kind == "drug_class" and name.start == match.end())
    return any(_named(name.key, name.surface, passage) for name in classes)


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


_SUCH_AS = re.compile(r"(?:这|那)?(?:一)?(?:类|种|样|些)(?:的)?|之类的|等")
_FORMS = "缓释片|控释片|肠溶片|胶囊|颗粒|滴丸|片|剂|丸"
_FORM = re.compile(f"(?:{_FORMS})$")
# The two medicines that 双抗 stands for.
_DUAL = frozenset({"阿司匹林", "氯吡格雷", "替格瑞洛", "波立维", "拜阿司匹灵", "倍林达"})
_DUAL_NAMED = re.compile(r"双抗|双联抗血小板|双重抗血小板")


def _stem(surface: str) -> str:
    return re.sub(r"类?药?物?$", "", surface) if len(surface) > 2 else surface
