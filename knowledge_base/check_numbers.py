"""The rule that no number stands without its source: which statements hold one, and which carry a mark.

Owns what counts as a number. Exempt are telephone numbers, names that contain digits (P2Y12, 2型糖尿病), numbers
of list items, headings, and the questions of patients, which state nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from knowledge_base.chunk import MARK, split_sentences

_NAMES = re.compile(
    r"(?<![\d.])(?:120|110|119|122|12320|12356|12345)(?![\d.%～~-])"
    r"|1[人]?对1"
    r"|(?<![\d.～])[12]型(?!呼)"
    r"|P2Y12|CYP\w*|SGLT-?2i?|PCSK9|GLP-?1|DPP-?4|PDE-?5i?|CHA2DS2-VASc(?:-60)?|ABCD2|HLA-B\*?\d*(?::\d+)?"
    r"|HbA1c|FEV1|IgG4|UAS7|PHQ-?9|GAD-?7|T[34](?!\d)|FT[34]|B12|B6|B2|K2|ω-?3|Omega-3|omega-3|C[1-4](?=酯酶|[、，和与补。降水低])"
    r"|CO2|SpO2|PaO2|PaCO2|O2|H2(?=受体|[ 阻])|H1(?=受体|[ 抗])|[αβ]-?[12]|IL-\d+|M2|5-羟色胺|5-HT\w*|Q10|PM2\.5"
    r"|COVID-19|B族|D3|1,25|FLAIR2?|T[12](?=加权|像|WI)|IgE|Xa|Ⅱ|SARS-CoV-2|S-?100|CA\d+",
)
_LIST_NUMBER = re.compile(r"^\s*(?:\d+[.、)）]|[-*+])\s*")
_QUESTION = re.compile(r"^\s*(?:\*\*)?问[:：]")
_RULE_ROW = re.compile(r"^\s*\|[\s:|-]+\|?\s*$")
_DIGIT = re.compile(r"[0-9]")


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence, list item or table row; `line` is 1-based within the body."""

    line: int
    text: str
    marks: tuple[int, ...]

    @property
    def has_number(self) -> bool:
        return _DIGIT.search(_NAMES.sub("", MARK.sub("", self.text))) is not None


def statements(body: str) -> Iterator[Statement]:
    """What the body states, in order; table rows whole, headings and questions left out."""
    previous_was_table = False
    for number, line in enumerate(body.splitlines(), start=1):
        is_table = line.lstrip().startswith("|")
        is_header = is_table and not previous_was_table
        previous_was_table = is_table
        if not line.strip() or line.startswith("#") or _QUESTION.match(line) or _RULE_ROW.match(line):
            continue
        if is_header:
            continue
        plain = _LIST_NUMBER.sub("", line)
        for text in [plain] if is_table else split_sentences(plain):
            yield Statement(number, text, tuple(int(mark) for mark in MARK.findall(text)))


def unmarked_numbers(body: str) -> Iterator[Statement]:
    """Statements with a number that no source mark supports."""
    return (statement for statement in statements(body) if statement.has_number and not statement.marks)
