"""Decides whether a finding that was said is really there: now, in a real person, and affirmed.

Owns negation and its scope, past and resolved, hypotheticals, questions of knowledge, films, news, examinations and
instructions. The cue words are data (`rules/context.yaml`); what is built here are the scopes. In doubt a finding
counts as present: a needless warning is cheaper than a missed emergency.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from app.safety.context_scopes import Denials, asks_a_or_not, negated_after, negated_inside
from app.safety.context_spans import NOTHING, Index, Pieces, Span
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
# 36岁时, 十几岁的时候: a time of life told of later.
AT_AN_AGE = re.compile(r"[\d十几]岁(?:多|左右)?(?:时候?|那年|那会|的时候)")
OF_RISK = re.compile(r"[^，。！？；\n]{0,6}(?:的?(?:风险|概率|几率|可能性|危险吗))")
WILL = re.compile(r"(?<![就总老都也还才一体不])会(?![诊员议计场长])[^，]{0,8}$")
ASKING = re.compile(r"[^，。！？；\n]{0,6}(?:吗|嘛|么|不)")
WHENEVER = re.compile(
    r"(?:的时候|时候?)[，]?[^，。！？；\n]{0,6}(?:应该|应当|该|要怎么|怎么|如何|怎样|首先|先)"
)
ASKS = frozenset("吗么嘛")
HABITUAL = frozenset("就总老都也还才常便")
NOT_ONCE = frozenset({"过敏", "过去", "过不", "过来", "过于"})
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


# How far before a complaint a denial, a risk word or a fear is looked for; their own limits are tighter.
REACH = 80
SHORT_REACH = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mention stands: its sentence (by number and span) and its clause."""

    at: int
    sentence: Span
    clause: Span


class Context:
    """The scopes of one scanned text; `status` answers for one mention."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.denials = Denials(scan)
        text = scan.text
        self._pieces = Pieces(text, STRONG_STOPS, {m.end() for m in QUESTION_END.finditer(text)})
        self.sentences = self._pieces.spans
        self._clauses = Pieces(text, CLAUSE_STOPS, {e for _, e in self.sentences})
        self._cues = self._index(scan)
        self._statuses: dict[tuple[Span, tuple[Span, ...], bool], Status] = {}
        self._settled: dict[int, tuple[bool, bool]] = {}

    def _index(self, scan: Scan) -> dict[str, Index]:
        pseudo = list(scan.tokens.get("ctx.pseudo", ()))
        content = [s for n, spans in scan.tokens.items() if NAMED.match(n) for s in spans]
        plain, strict = Cover(len(scan.text), pseudo), Cover(len(scan.text), pseudo + content)
        cues: dict[str, list[Span]] = {"past": []}
        for name, spans in scan.tokens.items():
            if name.startswith("ctx."):
                cover = strict if name in {"ctx.neg", "ctx.neg_short"} else plain
                cues[name[4:]] = [s for s in spans if not cover.hides(*s)]
        cues["past"] += [m.span() for m in AT_AN_AGE.finditer(scan.text)]
        cues["past"] += [
            (m.start, m.end) for m in scan.measurements if m.name == "ago" and m.value >= TWO_WEEKS_MIN
        ]
        curious = Cover(len(scan.text), cues.get("curious", ()))
        cues["speaker"] = [s for s in cues.get("self", ()) if not curious.hides(*s)]
        cues["frame"] = [s for n in ("fiction", "hearsay", "instruction") for s in cues.get(n, ())]
        # 都正常吗 asks whether it is over.
        cues["ended"] = [
            s
            for n in ("better", "handled")
            for s in cues.get(n, ())
            if scan.text[s[1] : s[1] + 1] not in ASKS
        ]
        return {name: Index(spans) for name, spans in cues.items()}

    def _of(self, name: str) -> Index:
        return self._cues.get(name, NOTHING)

    def has(self, name: str, within: Span) -> bool:
        """Whether a cue of this name lies within the span."""
        return self._of(name).any_within(*within)

    def sentence_of(self, position: int) -> Span:
        return self._pieces.of(position)

    def clause_of(self, position: int) -> Span:
        return self._clauses.of(position)

    def status(self, mention: Mention, negatable: bool = True) -> Status:
        """Why `mention` does not count, or PRESENT."""
        key = ((mention.start, mention.end), mention.cores, negatable)
        known = self._statuses.get(key)
        if known is None:
            known = self._statuses[key] = self._status(mention, negatable)
        return known

    def _status(self, mention: Mention, negatable: bool) -> Status:
        at = self._pieces.index(mention.start)
        place = Place(at, self.sentences[at], self.clause_of(mention.start))
        if asks_a_or_not(self.scan.text, mention):
            return Status.ASKED
        if negatable and self._negated(mention, place):
            return Status.NEGATED
        if self._framed(mention, place):
            return Status.FRAMED
        if self._asked(mention, place):
            return Status.ASKED
        if self._hypothetical(mention, place):
            return Status.HYPOTHETICAL
        if self._past(mention, place):
            return Status.PAST
        return self._over(mention, place)

    def _negated(self, mention: Mention, place: Place) -> bool:
        neg, short = self._of("neg"), self._of("neg_short")
        inside = (*neg.within(mention.start, mention.end), *short.within(mention.start, mention.end))
        if negated_inside(mention, inside):
            return True
        first, start = place.sentence[0], mention.start
        before = neg.within(max(first, start - REACH), start)
        close = short.within(max(first, start - SHORT_REACH), start)
        if (before or close) and self.denials.before(
            mention, before, close, self._of("break").within(max(first, start - REACH), start)
        ):
            return True
        return negated_after(self.scan.text, mention) or self.denials.list_after(
            mention, self.clause_of(mention.end - 1)
        )

    def present_evidence(self, span: Span) -> bool:
        """Whether a real sufferer, the present moment or a cry for help is named within `span`."""
        return any(self.has(name, span) for name in ("family", "now", "help", "intense", "speaker"))

    def _framed(self, mention: Mention, place: Place) -> bool:
        if self._examined(place.at):
            return True
        first = place.sentence[0]
        # The last frame before the mention decides: what returns to a real person behind it, does so behind all.
        frame = self._of("frame").last_within(first, mention.start)
        if frame is not None and not self._returns(frame[1], mention.start):
            return True
        if self.has("fiction", place.clause):
            return not self._returns(first, mention.start)
        if place.at and self._settle(place.at)[1]:
            return True
        return self.has("public", place.clause)

    def _examined(self, at: int) -> bool:
        """Whether the sentence is an examination question, a written case or a dream."""
        return self._settle(at)[0]

    def _settle(self, at: int) -> tuple[bool, bool]:
        """Of a sentence: whether it is examined (see above), and whether it goes on with the film of the one before."""
        known = self._settled.get(at)
        if known is None:
            sentence = self.sentences[at]
            examined = (
                self.has("exam", sentence)
                or self.has("dream", sentence)
                or self._case_before_exam(at)
                or self._written_case(sentence)
            )
            film = (
                at > 0
                and self.has("fiction", self.sentences[at - 1])
                and self.has("fictional", sentence)
                and not any(self.has(name, sentence) for name in ("family", "help", "speaker"))
                and not self.has("family", self.sentences[at - 1])
            )
            known = self._settled[at] = (examined, film)
        return known

    def _written_case(self, sentence: Span) -> bool:
        """患者，女，45岁，突发 …: the language of case reports, which no patient uses of himself."""
        text = self.scan.text[slice(*sentence)]
        if "我" in text or self.has("family", sentence):
            return False
        return bool(WRITTEN_CASE.search(text)) and bool(CASE_QUESTION.search(text))

    def _case_before_exam(self, at: int) -> bool:
        """A case description (患者，男，62岁 …) or answer options beside a sentence with an examination cue."""
        near = self.sentences[max(0, at - 2) : at + 3]
        if not any(self.has("exam", other) for other in near):
            return False
        sentence = self.sentences[at]
        text = self.scan.text[slice(*sentence)]
        case = self.has("case", sentence) and not self.has("family", sentence) and "我" not in text
        return case or bool(re.match(r"\s*[a-e][.、．:：)）\s]", text))

    def _returns(self, start: int, end: int) -> bool:
        """Whether the speech turns back to a real person between a frame's cue and the mention."""
        if self._of("family").any_within(start, end):
            return True
        speakers = self._of("speaker").within(start, end)
        return any(self.scan.text[s[0] - 1 : s[0]] not in {"让", "使", "给"} for s in speakers if s[0] > 0)

    def _hypothetical(self, mention: Mention, place: Place) -> bool:
        first, clause, start = place.sentence[0], place.clause, mention.start
        cue = self._of("hypo").last_within(first, start + 1)
        if cue is not None and not self._hypo_ends(cue[1], start):
            return True
        if any(
            self._at_risk(c, start) for c in self._of("risk").within(max(clause[0], start - REACH), clause[1])
        ):
            return True
        fear = self._of("fear").last_within(clause[0], start)
        if fear is not None and start - fear[1] <= 4 and not self.has("intense", clause):
            return True
        if OF_RISK.match(self.scan.text[mention.end : mention.end + 12]):
            return not self.has("now", place.sentence)
        return self._asks_will(mention, clause) or self._whenever(mention, place)

    def _at_risk(self, cue: Span, start: int) -> bool:
        habitual = self.scan.text[max(0, cue[0] - 1) : cue[0]] in HABITUAL
        return cue[0] <= start and start - cue[1] <= 20 and not habitual

    def _asks_will(self, mention: Mention, clause: Span) -> bool:
        """会晕倒吗, 会不会猝死: a question about what may come."""
        before = self.scan.text[max(clause[0], mention.start - 12) : mention.start + 1]
        after = self.scan.text[mention.end : mention.end + 10]
        return bool(WILL.search(before)) and bool(ASKING.match(after))

    def _whenever(self, mention: Mention, place: Place) -> bool:
        """老年人胸痛时家属应该先做什么: what to do in general, with nobody in particular and no cry for help."""
        if not WHENEVER.match(self.scan.text[mention.end : mention.end + 16]):
            return False
        return not any(self.has(name, place.sentence) for name in ("family", "help", "intense"))

    def _hypo_ends(self, start: int, end: int) -> bool:
        between = (start, end)
        if self.has("now", between) or self.has("break", between):
            return True
        clause = self.clause_of(end)
        if clause == self.clause_of(start):
            return False
        named = self.has("family", (clause[0], end)) or self.has("speaker", (clause[0], end))
        return named and not MODAL.search(self.scan.text[clause[0] : clause[1]])

    def _past(self, mention: Mention, place: Place) -> bool:
        clause, sentence = place.clause, place.sentence
        if self._once(mention) and not self.has("now", sentence):
            return True
        past = self._of("past")
        last = mention.cores[-1][0] if mention.cores else mention.start
        cue = past.last_within(clause[0], last + 1)
        if cue is not None and not self._past_ends(cue[1], last):
            return True
        after = past.within(max(clause[0], mention.end - 1), min(clause[1], mention.end + REACH))
        if after and after[0][0] - mention.end <= 8 and not self.has("now", (clause[0], after[0][0])):
            return True
        earlier = past.last_within(sentence[0], clause[0])
        if earlier is not None and self.has("then", clause):
            return not self.has("now", (earlier[1], clause[1]))
        return False

    def _once(self, mention: Mention) -> bool:
        text = self.scan.text
        gaps = [text[a[1] : a[1] + 1] for a in mention.cores]
        return "过" in gaps and text[mention.end : mention.end + 2] not in NOT_ONCE

    def _past_ends(self, start: int, end: int) -> bool:
        return any(self.has(name, (start, end)) for name in ("now", "break", "history"))

    def _asked(self, mention: Mention, place: Place) -> bool:
        clause, sentence = place.clause, place.sentence
        if self.has("study", sentence) and not (self.has("family", sentence) or self.has("now", sentence)):
            return True
        for span in (clause, sentence):
            if self.has("know", span) and not self.present_evidence(span):
                happened = re.match(r".{0,2}了", self.scan.text[mention.end - 1 : mention.end + 3])
                return not (happened and self.has("generic", span))
        return False

    def _over(self, mention: Mention, place: Place) -> Status:
        """RESOLVED or HANDLED when a later word in this or the next sentence says so and nothing says it goes on."""
        # The next sentence takes a complaint back only where the complaint was told as of an earlier day.
        told_of_before = self.has("earlier", place.sentence)
        last = min(place.at + 1, len(self.sentences) - 1) if told_of_before else place.at
        window = (mention.end, self.sentences[last][1])
        if not self.has("ended", window) or self._goes_on(window):
            return Status.PRESENT
        if self.has("handled", window):
            return Status.HANDLED
        return Status.RESOLVED

    def _goes_on(self, window: Span) -> bool:
        ended = self._of("ended").last_within(*window)
        return ended is None or any(c[1] > ended[1] for c in self._of("still").within(*window)[-3:])
