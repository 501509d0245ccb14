"""Reads the numbers that people write and say: 185, 38.5, 一百八 (180), 三十八度五, 两个半.

Owns numerals only; which quantity a number belongs to is decided in `findings_measures.py`.
"""

from __future__ import annotations

DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "俩": 2, "仨": 3, "幺": 1}
UNITS = {"十": 10, "百": 100, "千": 1000}
# A number inside a regular expression: Arabic with decimals, or Chinese with an optional 点 part. Atomic, so that
# a following "not days" never matches half of the digits.
NUMBER = (
    r"(?>\d{1,4}(?:\.\d{1,2})?|[零〇一二两俩三四五六七八九十百千]{1,8}(?:点[零〇一二两三四五六七八九]{1,2})?)"
)


def to_float(text: str) -> float | None:
    """The value of a numeral matched by `NUMBER`, or None when it is not one number."""
    if not text:
        return None
    if text[0].isascii():
        return float(text)
    whole, _, decimals = text.rstrip("多几").partition("点")
    value = _chinese_integer(whole)
    if value is None:
        return None
    fraction = "".join(str(DIGITS[c]) for c in decimals)
    return float(f"{value}.{fraction}") if fraction else float(value)


def _chinese_integer(text: str) -> int | None:
    """一百八十五 -> 185; 一百八 -> 180; 二百一 -> 210; 一二零 -> 120."""
    if not all(c in UNITS or c in DIGITS for c in text):
        return None
    if not any(c in UNITS for c in text):
        digits = [str(DIGITS[c]) for c in text if c in DIGITS]
        if len(digits) == len(text) == 2 and int(digits[1]) == int(digits[0]) + 1:
            return int(digits[1])  # 两三天 is about three, not twenty-three
        return int("".join(digits)) if digits and len(digits) == len(text) else None
    total, digit, last_unit, zero = 0, -1, 1, False
    for char in text:
        if char in UNITS:
            total += (1 if digit < 0 else digit) * UNITS[char]
            last_unit, digit, zero = UNITS[char], -1, False
        else:
            digit = DIGITS[char]
            zero = zero or digit == 0
    if digit > 0:
        total += digit if zero or last_unit <= 10 else digit * last_unit // 10
    return total
