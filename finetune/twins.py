"""Finds near twins among many questions: equal after normalisation, nearly equal in signs, or the same in other words.

Owns the search (MinHash with banding, nearest neighbours by vector) so that 20,000 questions take minutes. What makes a
twin is `similarity.py`; what is done about twins is `dedupe.py`, `leak.py` and `splits.py`.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from finetune.similarity import (
    HIGHEST_REST_COSINE,
    concepts_of,
    left_over,
    normalised,
    twin_probability,
)
from retrieval.types import Embedder

PERMUTATIONS = 64
BAND_ROWS = 4
NEIGHBOURS = 8
# No twin of the labelled pairs lies lower; questions on different topics mostly do.
LOWEST_COSINE = 0.86
_PRIME = (1 << 31) - 1
_EMBEDDED_CHARS = 240
_BLOCK = 512
_LONG_CHARS = 60


class Kind(StrEnum):
    EXACT = "exact"
    NEAR = "near_duplicate"
    PARAPHRASE = "paraphrase"


@dataclass(frozen=True, slots=True)
class Twin:
    """`left[i]` and `right[j]` ask the same; `score` is 1, the overlap of signs, or the judged probability."""

    i: int
    j: int
    score: float
    kind: Kind


def find_twins(
    left: Sequence[str],
    right: Sequence[str] | None,
    *,
    near: float,
    paraphrase: float,
    embedder: Embedder | None,
) -> list[Twin]:
    """Twins between two lists, or within `left` (i < j) when `right` is None; without embedder no paraphrases."""
    other = left if right is None else right
    found: dict[tuple[int, int], Twin] = {}
    steps = [_exact(left, other), _near(left, other, near)]
    if embedder is not None:
        steps.append(_paraphrases(left, other, paraphrase, embedder))
    for step in steps:
        for twin in step:
            if right is not None or twin.i < twin.j:
                found.setdefault((twin.i, twin.j), twin)
    return sorted(found.values(), key=lambda twin: (twin.i, twin.j))


def _exact(left: Sequence[str], right: Sequence[str]) -> Iterator[Twin]:
    where: dict[str, list[int]] = defaultdict(list)
    for j, text in enumerate(right):
        where[normalised(text)].append(j)
    for i, text in enumerate(left):
        for j in where.get(normalised(text), ()):
            yield Twin(i, j, 1.0, Kind.EXACT)


def _near(left: Sequence[str], right: Sequence[str], threshold: float) -> Iterator[Twin]:
    grams_left, grams_right = [_grams(t) for t in left], [_grams(t) for t in right]
    bands: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for j, grams in enumerate(grams_right):
        for band in _bands(grams):
            bands[band].append(j)
    for i, grams in enumerate(grams_left):
        candidates = {j for band in _bands(grams) for j in bands.get(band, ())}
        for j in sorted(candidates):
            both = grams & grams_right[j]
            score = len(both) / len(grams | grams_right[j])
            if score >= threshold and not _contradicts(left[i], right[j]):
                yield Twin(i, j, round(score, 4), Kind.NEAR)


def _grams(text: str) -> frozenset[int]:
    """Hashes of the overlapping pairs of signs, order-free."""
    plain = normalised(text)
    pieces = {plain[i : i + 2] for i in range(len(plain) - 1)} or {plain}
    return frozenset(zlib.crc32(piece.encode("utf-8", "replace")) % _PRIME for piece in pieces)


_RANDOM = np.random.default_rng(20_261_122)
_A = _RANDOM.integers(1, _PRIME, size=(PERMUTATIONS, 1), dtype=np.int64)
_B = _RANDOM.integers(0, _PRIME, size=(PERMUTATIONS, 1), dtype=np.int64)


def _bands(grams: frozenset[int]) -> list[tuple[int, bytes]]:
    values = np.fromiter(grams, dtype=np.int64, count=len(grams))
    signature = ((_A * values + _B) % _PRIME).min(axis=1)
    return [
        (start, signature[start : start + BAND_ROWS].tobytes()) for start in range(0, PERMUTATIONS, BAND_ROWS)
    ]


def _contradicts(a: str, b: str) -> bool:
    """Nearly the same signs but another drug, value or aspect: 血钾高 and 血钾低 are not twins."""
    one, two = concepts_of(a), concepts_of(b)
    if one.numbers != two.numbers and one.numbers and two.numbers:
        return True
    if max(len(a), len(b)) > _LONG_CHARS:
        return False
    things = bool(one.things - two.things and two.things - one.things)
    aspects = bool(one.aspects - two.aspects and two.aspects - one.aspects)
    rest = left_over(a, b)
    return things or aspects or (all(rest) and set(rest[0]).isdisjoint(rest[1]))


def _paraphrases(
    left: Sequence[str], right: Sequence[str], threshold: float, embedder: Embedder
) -> Iterator[Twin]:
    vectors_left = _embedded(embedder, left)
    vectors_right = vectors_left if right is left else _embedded(embedder, right)
    candidates = [
        (i, j, cosine)
        for i, j, cosine in _neighbours(vectors_left, vectors_right, itself=right is left)
        if twin_probability(left[i], right[j], cosine, HIGHEST_REST_COSINE) >= threshold
    ]
    rests = sorted({text for i, j, _ in candidates for text in left_over(left[i], right[j]) if text})
    vector = dict(zip(rests, _embedded(embedder, rests), strict=True))
    for i, j, cosine in candidates:
        one, two = left_over(left[i], right[j])
        rest = float(vector[one] @ vector[two]) if one and two else 0.0
        score = twin_probability(left[i], right[j], cosine, rest)
        if score >= threshold:
            yield Twin(i, j, round(score, 4), Kind.PARAPHRASE)


def _embedded(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    return embedder.embed([text[:_EMBEDDED_CHARS] for text in texts], "query").dense


def _neighbours(
    left: NDArray[np.float32], right: NDArray[np.float32], *, itself: bool
) -> Iterator[tuple[int, int, float]]:
    """The nearest `NEIGHBOURS` of each left vector, as far as they are near enough to be judged."""
    if not len(left) or not len(right):
        return
    count = min(len(right), NEIGHBOURS + itself)
    for start in range(0, len(left), _BLOCK):
        cosines = left[start : start + _BLOCK] @ right.T
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        for row, columns in enumerate(nearest):
            i = start + row
            for j in columns:
                cosine = float(cosines[row, j])
                if cosine >= LOWEST_COSINE and not (itself and i == j):
                    pair = (min(i, int(j)), max(i, int(j))) if itself else (i, int(j))
                    yield (*pair, cosine)
