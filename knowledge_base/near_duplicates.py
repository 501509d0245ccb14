"""Paragraphs of different documents that say nearly the same: MinHash to find candidates, Jaccard to decide.

Readers and the reranker both lose when twenty documents carry one boilerplate paragraph. Short paragraphs are left
out: a one-line warning may well be the same in two documents.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

MIN_CHARS = 40
SHINGLE = 4
BANDS, ROWS = 24, 3
"""With 24 bands of 3 rows a pair of similarity 0.6 becomes a candidate with a chance of 99.7 %."""
THRESHOLD = 0.6
_PRIME = (1 << 31) - 1
_DRAW = np.random.default_rng(20260101)
_A = _DRAW.integers(1, _PRIME, BANDS * ROWS, dtype=np.int64)
_B = _DRAW.integers(0, _PRIME, BANDS * ROWS, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """`document` and `line` (1-based) say where; `text` is without marks and markup."""

    document: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Twins:
    """Two paragraphs whose character 4-grams overlap by `similarity` (Jaccard, 0..1)."""

    first: Paragraph
    second: Paragraph
    similarity: float


def near_duplicates(paragraphs: Sequence[Paragraph], threshold: float = THRESHOLD) -> Iterator[Twins]:
    """Pairs from different documents, in the order of the first."""
    long_enough = [p for p in paragraphs if len(p.text) >= MIN_CHARS]
    shingles = [_shingles(p.text) for p in long_enough]
    for i, j in sorted(_candidates(shingles, [p.document for p in long_enough])):
        shared = len(shingles[i] & shingles[j])
        similarity = shared / (len(shingles[i]) + len(shingles[j]) - shared)
        if similarity >= threshold:
            yield Twins(long_enough[i], long_enough[j], similarity)


def _shingles(text: str) -> frozenset[str]:
    dense = "".join(char for char in text if char.isalnum())
    return frozenset(dense[i : i + SHINGLE] for i in range(max(1, len(dense) - SHINGLE + 1)))


def _candidates(shingles: Sequence[frozenset[str]], owners: Sequence[str]) -> set[tuple[int, int]]:
    pairs: set[tuple[int, int]] = set()
    signatures = [_signature(s) for s in shingles]
    for band in range(BANDS):
        buckets: Mapping[bytes, list[int]] = defaultdict(list)
        for i, signature in enumerate(signatures):
            buckets[signature[band * ROWS : (band + 1) * ROWS].tobytes()].append(i)
        for members in buckets.values():
            pairs.update((i, j) for i, j in combinations(members, 2) if owners[i] != owners[j])
    return pairs


def _signature(shingles: frozenset[str]) -> NDArray[np.int64]:
    values = np.array([zlib.crc32(s.encode()) & 0x7FFFFFFF for s in sorted(shingles)], dtype=np.int64)
    return np.asarray(((_A[:, None] * (values[None, :] % _PRIME) + _B[:, None]) % _PRIME).min(axis=1))
