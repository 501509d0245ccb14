"""Reads the sentences of a passage: what each says, whose list or question-answer pair it belongs to, and whether it
can stand alone in an answer.

Owns cleaning and the bonds between sentences; how well one answers a question is decided in `extractive_score.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.types import Chunk, Hit

MIN_CHARS = 6
MAX_BACK = 2
"""A sentence that needs more than this many before it is not quoted."""
_QUESTION = re.compile(r"^\s*(\*\*)?问[:：]")
_ANSWER = re.compile(r"^\s*(\*\*)?答[:：]\s*")
_BULLET = re.compile(r"^\s*([-*+]|\d+[.、)])\s*")
_MARKUP = re.compile(r"\*\*|^[-*+]\s+|^\d+[.、)]\s*|^#+\s*", re.MULTILINE)
_MEMBERS = re.compile(r"哪些|哪几|哪类|什么样|适合|谁|表现|特点|诱因|原因|情况|不能|禁|危险|信号")
_OWN_VERDICT = re.compile(r"禁用|慎用|不能|不要|不宜|要|应|可以|可能|属于|算|必须|立即|一般|适合|需|：")
LEANS_BACK = re.compile(
    r"^(但|不过|然而|因此|所以|同时|此外|另外|这|它|其(?!他|实)|该|否则|如果仍|若仍|即使|尤其|特别|也|还|并且|而且|其中|上述|以上|随后|之后"
    r"|再(?!灌|狭|通)|另|则|仍|反之|否|两者|两种|二者|反过来|相反|这时|此时|后者|前者|那|此(?!起)|同样|例如|比如|多数人|其余|总之|必要时|不敏感|对它)"
)
BINDS_NEXT = re.compile(r"^(但|不过|然而|除非|否则|尤其|特别是|禁用|以下情况|有.{1,12}的人(不|慎|禁))")
_BARE_VERDICT = re.compile(
    r"^(不一定|不是|是的|可以|不可以|不能|不要|不用|不行|不建议|不会|能|会|有|没有|多数|一般|通常|需要|不需要|不必|不宜|先|要|应|疗程|换|按|大多)"
)
_TRAILING = ("？", "?", "：", ":")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a passage. `n` is the citation number, `place` its position (passage, sentence).

    `lead` is what a list item stands under: the sentence before the list, else the heading, "" outside lists.
    `asks` is the question of the pair it answers, "" outside pairs; `opens` marks the first sentence of that answer.
    `content` says how much it has in common with the question, `relevance` adds the kind of answer and the heading,
    `score` its passage and its subject. `aside` marks sentences of other documents than the main one,
    unless these are on the asked thing too.
    """

    text: str
    n: int
    place: tuple[int, int]
    score: float = 0.0
    relevance: float = 0.0
    content: float = 0.0
    lead: str = ""
    item: bool = False
    section: str = ""
    asks: str = ""
    opens: bool = False
    about: float = 0.0
    aside: bool = False


def read_sentences(hit: Hit, index: int) -> list[Sentence]:
    """The usable sentences of a passage, unscored, in order."""
    asks = lead = ""
    opens = False
    out: list[Sentence] = []
    heading = hit.chunk.section.split(" / ")[-1]
    for position, raw in enumerate(hit.chunk.sentences or (hit.chunk.text,)):
        if _QUESTION.match(raw):
            asks, opens = clean(raw), True
            continue
        item = _BULLET.match(raw) is not None
        lead = lead if item else ""
        if clean(raw).endswith(("：", ":")):
            lead = clean(raw)
            continue
        for text in usable(raw):
            own = lead if item and lead else heading if item else ""
            out.append(
                Sentence(
                    text,
                    index + 1,
                    (index, position),
                    lead=own,
                    item=item,
                    section=heading,
                    asks=asks,
                    opens=opens,
                )
            )
            opens = False
    return out


def usable(raw: str) -> list[str]:
    """What of a piece of a passage can stand in an answer: the sentence, or the rows of a table as sentences."""
    if raw.lstrip().startswith("|"):
        return table_rows(raw)
    text = clean(raw)
    complete = len(text) >= MIN_CHARS and not _QUESTION.match(raw) and not text.endswith(_TRAILING)
    return [text] if complete else []


def table_rows(table: str) -> list[str]:
    """Each row of a Markdown table as "first cell：column name second cell；…。"."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]
    if len(rows) < 3:
        return []
    head, body = rows[0], rows[2:]
    out = []
    for row in body:
        rest = [
            f"{name}{cell}" if len(head) > 2 else cell for name, cell in zip(head[1:], row[1:], strict=False)
        ]
        if rest and row[0]:
            out.append(f"{row[0]}：{'；'.join(rest)}。")
    return out


def text_with_rows(chunk: Chunk) -> str:
    """The text of a passage, the rows of its tables also as the sentences in which an answer quotes them."""
    rows = [row for raw in chunk.sentences if raw.lstrip().startswith("|") for row in table_rows(raw)]
    return "\n".join([chunk.text, *rows])


def clean(sentence: str) -> str:
    """A sentence without Markdown marks, question/answer labels and line breaks."""
    text = _ANSWER.sub("", _QUESTION.sub("", sentence))
    return _MARKUP.sub("", text).replace("\n", "").strip()


def needs_lead(sentence: Sentence) -> bool:
    """Whether a list item only makes sense under its lead ("严重主动脉瓣狭窄的人。" under 哪些人不能做)."""
    if not sentence.item or not sentence.lead:
        return False
    if sentence.lead.endswith(("：", ":")):
        return True
    return _MEMBERS.search(sentence.lead) is not None and _OWN_VERDICT.search(sentence.text) is None


def stands_alone(sentence: Sentence, named: bool) -> bool:
    """Whether a reader understands the sentence without the ones before it and without its question.

    `named` says that it names a subject. A short verdict ("不一定。") answers one question only.
    """
    if LEANS_BACK.match(sentence.text):
        return False
    if not sentence.asks:
        return True
    return named or not (_BARE_VERDICT.match(sentence.text) or len(sentence.text) < 14)


def with_context(sentence: Sentence, sentences: Sequence[Sentence]) -> list[Sentence]:
    """The sentence with those it leans on and those that belong to it; [] when what it leans on is missing.

    The first sentence of an answer may lean on its question. A sentence that ends in a semicolon goes with the next.
    """
    by_place = {s.place: s for s in reversed(sentences)}
    passage, position = sentence.place
    group = [sentence]
    before = by_place.get((passage, position - 1))
    while _hangs_on(group[0], before):
        if before is None or len(group) > MAX_BACK:
            return group if sentence.opens else []
        group.insert(0, before)
        before = by_place.get((passage, before.place[1] - 1))
    after = by_place.get((passage, position + 1))
    while after is not None and len(group) <= MAX_BACK + 1 and _goes_on(group[-1], after):
        group.append(after)
        after = by_place.get((passage, after.place[1] + 1))
    return group


def _hangs_on(sentence: Sentence, before: Sentence | None) -> bool:
    return LEANS_BACK.match(sentence.text) is not None or (before is not None and before.text[-1] in "；;")


def _goes_on(sentence: Sentence, after: Sentence) -> bool:
    return sentence.text[-1] in "；;" or BINDS_NEXT.match(after.text) is not None


def cited(sentence: Sentence, text: str | None = None) -> str:
    """The sentence (or `text` in its place) with its mark before the closing punctuation."""
    shown = sentence.text if text is None else text
    if shown and shown[-1] in "。！？!?；;":
        end = "。" if shown[-1] in "；;" else shown[-1]
        return f"{shown[:-1]}[{sentence.n}]{end}"
    return f"{shown}[{sentence.n}]。"
