"""The statistics of a report: bootstrap intervals, paired tests, and agreement between raters.

Owns the formulas. Bootstrap: percentile intervals (Efron and Tibshirani 1993); paired comparison: sign-flip
permutation; ICC(2,1): two-way random, absolute agreement, single rater (Shrout and Fleiss 1979); weighted kappa with
quadratic weights (Cohen 1968). All are seeded, so that a report can be made again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ROUNDS = 2000
SEED = 20261122


@dataclass(frozen=True, slots=True)
class Interval:
    """A score with its 95 % confidence interval, and how many values it rests on."""

    score: float
    low: float
    high: float
    count: int

    def as_dict(self) -> dict[str, float]:
        return {
            "score": round(self.score, 2),
            "low": round(self.low, 2),
            "high": round(self.high, 2),
            "count": self.count,
        }


@dataclass(frozen=True, slots=True)
class Paired:
    """`after` minus `before` over the same questions: mean, interval, and the two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float
    count: int


def bootstrap(values: Sequence[float], *, rounds: int = ROUNDS, seed: int = SEED) -> Interval:
    """The mean with a percentile interval; of no values everything is NaN."""
    data = np.asarray(values, dtype=float)
    if data.size == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    generator = np.random.default_rng(seed)
    means = data[generator.integers(0, data.size, (rounds, data.size))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(data.mean()), float(low), float(high), int(data.size))


def paired(
    before: Sequence[float], after: Sequence[float], *, rounds: int = 10000, seed: int = SEED
) -> Paired:
    """Compare two systems on the same questions.

    Raises:
        ValueError: the two have different lengths, or there are no values.
    """
    if len(before) != len(after) or not before:
        raise ValueError("a paired comparison needs the same questions on both sides")
    differences = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    interval = bootstrap(list(differences), seed=seed)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(rounds, differences.size))
    observed = abs(differences.mean())
    extreme = np.abs((signs * differences).mean(axis=1)) >= observed - 1e-12
    p_value = (float(extreme.sum()) + 1) / (rounds + 1)
    return Paired(interval.score, interval.low, interval.high, p_value, int(differences.size))


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Exact two-sided p-value for paired yes/no outcomes; 1.0 when nothing changed."""
    gained = sum(b and not a for a, b in zip(before, after, strict=True))
    lost = sum(a and not b for a, b in zip(before, after, strict=True))
    return binomial_two_sided(min(gained, lost), gained + lost)


def binomial_two_sided(successes: int, trials: int) -> float:
    """p-value of `successes` out of `trials` under a fair coin, both tails."""
    if trials == 0:
        return 1.0
    fewer = min(successes, trials - successes)
    tail = float(sum(math.comb(trials, k) for k in range(fewer + 1)) / 2**trials)
    return min(1.0, 2 * tail)


def weighted_kappa(left: Sequence[int], right: Sequence[int], *, categories: Sequence[int]) -> float:
    """Agreement of two raters on ordered categories; NaN when both always gave the same single one."""
    index = {category: position for position, category in enumerate(categories)}
    size = len(categories)
    observed = np.zeros((size, size))
    for a, b in zip(left, right, strict=True):
        observed[index[a], index[b]] += 1
    if not observed.sum():
        return math.nan
    observed /= observed.sum()
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0))
    grid = np.arange(size)
    weights = (grid[:, None] - grid[None, :]) ** 2 / max(1, (size - 1) ** 2)
    chance = float((weights * expected).sum())
    return math.nan if chance == 0 else 1 - float((weights * observed).sum()) / chance


def icc(ratings: Sequence[Sequence[float]]) -> float:
    """ICC(2,1) of a table of rows = answers, columns = raters, without gaps; NaN when nothing varies."""
    table = np.asarray(ratings, dtype=float)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 2:
        return math.nan
    n, k = table.shape
    grand = table.mean()
    rows = k * ((table.mean(axis=1) - grand) ** 2).sum() / (n - 1)
    columns = n * ((table.mean(axis=0) - grand) ** 2).sum() / (k - 1)
    residual = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + grand
    error = (residual**2).sum() / ((n - 1) * (k - 1))
    below = rows + (k - 1) * error + k * (columns - error) / n
    return math.nan if below == 0 else float((rows - error) / below)
