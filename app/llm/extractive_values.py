"""Whether a sentence speaks of the value a reader gives: "达到5.6 mmol/L以上" speaks of 6.8, "41%～49%" of 45%.

Owns reading numbers and limits; what a value means is said by the evidence only.
"""

from __future__ import annotations

import re

NEAR_LIMIT = 2.5
"""A limit says something on values up to this many times above or below it; farther ones are mostly another unit."""
_NUMBER = r"(\d+(?:\.\d+)?)"
_RANGE = re.compile(_NUMBER + r"\s*%?\s*[～~—-]\s*" + _NUMBER)
_ABOVE = re.compile(
    r"(?:达到|超过|高于|大于|≥|>)\s*" + _NUMBER + r"|" + _NUMBER + r"[^\d，。；]{0,10}(?:以上|及以上)"
)
_BELOW = re.compile(r"(?:低于|小于|不到|<|≤)\s*" + _NUMBER + r"|" + _NUMBER + r"[^\d，。；]{0,10}以下")
_COUNTED = re.compile(
    r"(?<![\d.])" + _NUMBER + r"(?![\d.]|\s*(?:天|周|个?月|年|岁|小时|分钟|片|粒|次|点|点钟|号|楼|支|针))"
)


def numbers_of(question: str) -> tuple[float, ...]:
    """The values a question gives; times, ages and counts are no values."""
    return tuple(float(match) for match in _COUNTED.findall(question))


def value_fit(given: tuple[float, ...], sentence: str) -> float:
    """1 when a limit or range of the sentence holds for a given value, else 0."""
    if not given:
        return 0.0
    ranges = [(float(low), float(high)) for low, high in _RANGE.findall(sentence)]
    ranges += [(limit, limit * NEAR_LIMIT) for limit in _limits(_ABOVE, sentence)]
    ranges += [(limit / NEAR_LIMIT, limit) for limit in _limits(_BELOW, sentence)]
    return float(any(low <= value <= high for value in given for low, high in ranges))


def _limits(pattern: re.Pattern[str], sentence: str) -> list[float]:
    return [float(one if one else other) for one, other in pattern.findall(sentence)]
