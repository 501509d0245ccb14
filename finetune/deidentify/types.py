"""What de-identification looks for, and the shape of a find.

Owns the types and their order of precedence. The finders are `numbers.py`, `dates.py`, `places.py` and `names.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SpanType(StrEnum):
    """Kinds of personal data; the values are what reports carry."""

    NAME = "name"
    ID_CARD = "id_card"
    PASSPORT = "passport"
    MOBILE = "mobile"
    LANDLINE = "landline"
    ADDRESS = "address"
    HOSPITAL = "hospital"
    ADMISSION_NUMBER = "admission_number"
    BIRTH_DATE = "birth_date"
    DATE = "date"
    WECHAT = "wechat"
    QQ = "qq"
    EMAIL = "email"
    BANK_CARD = "bank_card"
    PLATE = "plate"
    IP = "ip"
    URL = "url"


# Each of these alone leads to one person or account; a name or a hospital may be anybody's.
DIRECT_TYPES = frozenset(
    {
        SpanType.ID_CARD,
        SpanType.PASSPORT,
        SpanType.MOBILE,
        SpanType.LANDLINE,
        SpanType.ADMISSION_NUMBER,
        SpanType.WECHAT,
        SpanType.QQ,
        SpanType.EMAIL,
        SpanType.BANK_CARD,
        SpanType.PLATE,
    }
)

# Where two finds overlap, the one whose type stands first wins.
PRECEDENCE = (
    SpanType.URL,
    SpanType.EMAIL,
    SpanType.ADMISSION_NUMBER,
    SpanType.PASSPORT,
    SpanType.ID_CARD,
    SpanType.WECHAT,
    SpanType.QQ,
    SpanType.MOBILE,
    SpanType.BANK_CARD,
    SpanType.LANDLINE,
    SpanType.PLATE,
    SpanType.IP,
    SpanType.BIRTH_DATE,
    SpanType.DATE,
    SpanType.HOSPITAL,
    SpanType.ADDRESS,
    SpanType.NAME,
)


@dataclass(frozen=True, slots=True)
class Span:
    """A find: characters `start` to `end` (exclusive) of the text as it was given.

    `surname_only` marks a name of which only the surname is there (王主任); `surrogate` marks text that this package
    wrote itself.
    """

    type: SpanType
    start: int
    end: int
    surname_only: bool = False
    surrogate: bool = False
