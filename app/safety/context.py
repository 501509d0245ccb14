"""Decides whether a finding that was said is really there: now, in a real person, and affirmed.

Owns negation and its scope, past and resolved, hypotheticals, questions of knowledge, films, news, examinations and
instructions. The cue words are data (`rules/context.yaml`); what is built here are the scopes. In doubt a finding
counts as present: a needless warning is cheaper than a missed emergency.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from app.safety.context_scopes import (
    asks_a_or_not,
    list_denied_after,
    negated_after,
    negated_before,
    negated_inside,
)
from app.safety.findings import Cover, Mention, Scan
from app.safety.normalise import STRONG_STOPS

TWO_WEEKS_MIN = 14 * 1440
CLAUSE_STOPS = "，：" + STRONG_STOPS
# Whole findings and named concepts: a 不 inside them (喘不上气) denies nothing.
NAMED = re.compile(r"=|[a-z][a-z0-9_]*$")
WRITTEN_CASE = re.compile(
    r"(?:患者|患儿|病人|产妇|孕妇)?[，、]?(?:男性?|女性?|[男女]婴)[，、]?\d{1,3}(?:岁|个?月|天)|(?:患者|患儿)[，、]?\d{1,3}(?:岁|个?月)"
)
CASE_QUESTION = re.compile(
    r"考虑|诊断|首选|首先|最可能|处理|检查|措施|哪种|哪个|哪项|什么疾病|护理|答案|分析|鉴别"
)
MODAL = re.compile(r"会|就|该|能|可以|要|怎么|如何|咋|是不是")
QUESTION_END = re.compile(r"(?:吗|嘛|呢|(?<![什怎那这多])么)(?=[^，。！？；\n]{4})")


class Status(StrEnum):
    PRESENT = "present"
    NEGATED = "negated"
    PAST = "past"
    RESOLVED = "resolved"
    HANDLED = "handled"
    HYPOTHETICAL = "hypothetical"
    ASKED = "asked"
    FRAMED = "framed"


Span = tuple[int, int]


@dataclass(slots=True)
class Context:
    """The scopes of one scanned text; `status` answers for one mention."""

    scan: Scan
    sentences: list[Span] = field(default_factory=list)
    clauses: list[Span] = field(default_factory=list)
    _cues: dict[str, list[Span]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        text = self.scan.text
        self.sentences = _split(text, STRONG_STOPS, {m.end() for m in QUESTION_END.finditer(text)})
        self.clauses = _split(text, CLAUSE_STOPS, {e for _, e in self.sentences})
        pseudo = list(self.scan.tokens.get("ctx.pseudo", ()))
        content = [s for n, spans in self.scan.tokens.items() if NAMED.match(n) for s in spans]
        plain, strict = Cover(len(text), pseudo), Cover(len(text), pseudo + content)
        for name, spans in self.scan.tokens.items():
            if name.startswith("ctx."):
                cover = strict if name in {"ctx.neg", "ctx.neg_short"} else plain
                self._cues[name[4:]] = [s for s in spans if not cover.hides(*s)]
        ago = [
            (m.start, m.end) for m in self.scan.measurements if m.name == "ago" and m.value >= TWO_WEEKS_MIN
        ]
        self._cues["past"] = sorted(self._cues.get("past", []) + ago)

    def cues(self, name: str, within: Span | None = None) -> list[Span]:
        spans = self._cues.get(name)
        if not spans:
            return []
        if within is None:
            return spans
        found: list[Span] = []
        for span in spans[bisect_left(spans, (within[0],)) :]:
            if span[0] >= within[1]:
                break
            if span[1] <= within[1]:
                found.append(span)
        return found

    def sentence_of(self, position: int) -> Span:
        return _containing(self.sentences, position)

    def clause_of(self, position: int) -> Span:
        return _containing(self.clauses, position)

    def status(self, mention: Mention, negatable: bool = True) -> Status:
        """Why `mention` does not count, or PRESENT."""
        if asks_a_or_not(self.scan.text, mention):
            return Status.ASKED
        if negatable and self._negated(mention):
            return Status.NEGATED
        if self._framed(mention):
            return Status.FRAMED
        if self._asked(mention):
            return Status.ASKED
        if self._hypothetical(mention):
            return Status.HYPOTHETICAL
        if self._past(mention):
            return Status.PAST
        return self._over(mention)

    def _negated(self, mention: Mention) -> bool:
        neg, short = self.cues("neg"), self.cues("neg_short")
        sentence = self.sentence_of(mention.start)
        return (
            negated_inside(mention, neg, short)
            or negated_before(mention, self.scan, sentence, neg, short, self.cues("break", sentence))
            or negated_after(self.scan.text, mention)
            or list_denied_after(self.scan, mention, self.clause_of(mention.end - 1))
        )

    def present_evidence(self, span: Span) -> bool:
        """Whether a real sufferer, the present moment or a cry for help is named within `span`."""
        return any(self.cues(name, span) for name in ("family", "now", "help", "intense")) or self._speaker(
            span
        )

    def _speaker(self, span: Span) -> bool:
        return any(True for _ in self._speaker_spans(span))

    def _speaker_spans(self, span: Span) -> list[Span]:
        curious = self.cues("curious", span)
        return [s for s in self.cues("self", span) if not any(c[0] <= s[0] < c[1] for c in curious)]

    def _framed(self, mention: Mention) -> bool:
        sentence = self.sentence_of(mention.start)
        if self.cues("exam", sentence) or self._case_before_exam(sentence) or self._written_case(sentence):
            return True
        if self.cues("dream", sentence):
            return True
        for cue in (
            self.cues("fiction", sentence)
            + self.cues("hearsay", sentence)
            + self.cues("instruction", sentence)
        ):
            if cue[1] <= mention.start and not self._returns(cue[1], mention.start, sentence):
                return True
        fiction = self.cues("fiction", sentence)
        if any(self.clause_of(cue[0]) == self.clause_of(mention.start) for cue in fiction):
            return not self._returns(sentence[0], mention.start, sentence)
        at = self.sentences.index(sentence)
        if at and self.cues("fiction", self.sentences[at - 1]) and self.cues("fictional", sentence):
            return True
        return bool(self.cues("public", self.clause_of(mention.start)))

    def _written_case(self, sentence: Span) -> bool:
        """患者，女，45岁，突发 …: the language of case reports, which no patient uses of himself."""
        text = self.scan.text[slice(*sentence)]
        if "我" in text or self.cues("family", sentence):
            return False
        return bool(WRITTEN_CASE.search(text)) and bool(CASE_QUESTION.search(text))

    def _case_before_exam(self, sentence: Span) -> bool:
        """A case description (患者，男，62岁 …) or answer options beside a sentence with an examination cue."""
        at = self.sentences.index(sentence)
        text = self.scan.text[slice(*sentence)]
        case = bool(self.cues("case", sentence)) and not self.cues("family", sentence) and "我" not in text
        options = bool(re.match(r"\s*[a-e][.、．:：)）\s]", text))
        near = self.sentences[max(0, at - 2) : at + 3]
        return (case or options) and any(self.cues("exam", other) for other in near)

    def _returns(self, start: int, end: int, sentence: Span) -> bool:
        """Whether the speech turns back to a real person between a frame's cue and the mention."""
        between = (start, max(end, start))
        if self.cues("family", between):
            return True
        speakers = self._speaker_spans(between)
        return any(self.scan.text[s[0] - 1 : s[0]] not in {"让", "使", "给"} for s in speakers if s[0] > 0)

    def _hypothetical(self, mention: Mention) -> bool:
        sentence = self.sentence_of(mention.start)
        clause = self.clause_of(mention.start)
        for cue in self.cues("hypo", sentence):
            if cue[1] <= mention.start + 1 and not self._hypo_ends(cue[1], mention.start, sentence):
                return True
        for cue in self.cues("risk", clause):
            habitual = self.scan.text[max(0, cue[0] - 1) : cue[0]] in {
                "就",
                "总",
                "老",
                "都",
                "也",
                "还",
                "才",
                "常",
                "便",
            }
            if cue[0] <= mention.start and mention.start - cue[1] <= 20 and not habitual:
                return True
        for cue in self.cues("fear", clause):
            if cue[1] <= mention.start and mention.start - cue[1] <= 4 and not self.cues("intense", clause):
                return True
        if re.match(
            r"[^，。！？；\n]{0,6}(?:的?(?:风险|概率|几率|可能性|危险吗))",
            self.scan.text[mention.end : mention.end + 12],
        ):
            return not self.cues("now", sentence)
        return self._asks_will(mention, clause)

    def _asks_will(self, mention: Mention, clause: Span) -> bool:
        """会晕倒吗, 会不会猝死: a question about what may come."""
        before = self.scan.text[clause[0] : mention.start + 1]
        after = self.scan.text[mention.end : mention.end + 10]
        will = re.search(r"(?<![就总老都也还才一体不])会(?![诊员议计场长])[^，]{0,8}$", before)
        return bool(will) and bool(re.match(r"[^，。！？；\n]{0,6}(?:吗|嘛|么|不)", after))

    def _hypo_ends(self, start: int, end: int, sentence: Span) -> bool:
        between = (start, end)
        if self.cues("now", between) or self.cues("break", between):
            return True
        first = self.clause_of(start)
        clause = self.clause_of(end)
        if clause == first:
            return False
        named = self.cues("family", (clause[0], end)) or self._speaker_spans((clause[0], end))
        return bool(named) and not MODAL.search(self.scan.text[clause[0] : clause[1]])

    def _past(self, mention: Mention) -> bool:
        clause = self.clause_of(mention.start)
        sentence = self.sentence_of(mention.start)
        if self._once(mention) and not self.cues("now", sentence):
            return True
        last = mention.cores[-1][0] if mention.cores else mention.start
        for cue in self.cues("past", clause):
            if cue[1] <= last + 1 and not self._past_ends(cue[1], last):
                return True
            if (
                cue[0] >= mention.end - 1
                and cue[0] - mention.end <= 8
                and not self.cues("now", (clause[0], cue[0]))
            ):
                return True
        earlier = [c for c in self.cues("past", sentence) if c[1] <= clause[0]]
        if earlier and self.cues("then", clause):
            return not self.cues("now", (earlier[-1][1], clause[1]))
        return False

    def _once(self, mention: Mention) -> bool:
        text = self.scan.text
        gaps = [text[a[1] : a[1] + 1] for a in mention.cores]
        return "过" in gaps and text[mention.end : mention.end + 2] not in {
            "过敏",
            "过去",
            "过不",
            "过来",
            "过于",
        }

    def _past_ends(self, start: int, end: int) -> bool:
        between = (start, end)
        return bool(self.cues("now", between) or self.cues("break", between) or self.cues("history", between))

    def _asked(self, mention: Mention) -> bool:
        sentence = self.sentence_of(mention.start)
        clause = self.clause_of(mention.start)
        if self.cues("study", sentence) and not self._firm(sentence):
            return True
        for span in (clause, sentence):
            if self.cues("know", span) and not self.present_evidence(span):
                happened = re.match(r".{0,2}了", self.scan.text[mention.end - 1 : mention.end + 3])
                return not (happened and self.cues("generic", span))
        return False

    def _firm(self, span: Span) -> bool:
        return bool(self.cues("family", span) or self.cues("now", span))

    def _over(self, mention: Mention) -> Status:
        """RESOLVED or HANDLED when a later word in this or the next sentence says so and nothing says it goes on."""
        sentence = self.sentence_of(mention.start)
        at = self.sentences.index(sentence)
        # The next sentence takes a complaint back only where the complaint was told as of an earlier day.
        told_of_before = bool(self.cues("earlier", sentence))
        last = min(at + 1, len(self.sentences) - 1) if told_of_before else at
        window = (mention.end, self.sentences[last][1])
        if self._goes_on(window):
            return Status.PRESENT
        if self.cues("handled", window):
            return Status.HANDLED
        return Status.RESOLVED if self.cues("better", window) else Status.PRESENT

    def _goes_on(self, window: Span) -> bool:
        last = max((c[1] for n in ("better", "handled") for c in self.cues(n, window)), default=window[0])
        return any(c[0] >= window[0] and (c[1] > last or c[0] >= last) for c in self.cues("still", window))


def _split(text: str, stops: str, extra: set[int]) -> list[Span]:
    spans: list[Span] = []
    start = 0
    for index, char in enumerate(text):
        if char in stops or index + 1 in extra:
            spans.append((start, index + 1))
            start = index + 1
    if start < len(text) or not spans:
        spans.append((start, len(text)))
    return spans


def _containing(spans: Sequence[Span], position: int) -> Span:
    at = bisect_right(spans, (position, 1 << 30)) - 1
    return spans[max(0, at)]
