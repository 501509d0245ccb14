"""What is known about the patient: the findings of one message, and of the conversation so far.

Owns the reading of one text into facts and their accumulation over turns (answers to deciding questions included).
Which facts make an emergency is decided by the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.safety.context import Context, Status
from app.safety.findings import Lexicon, Mention
from app.safety.normalise import Normalised, normalise
from app.safety.triage_answers import QUESTION, answers, questions_in

# Complaints of earlier turns count this many user turns back; background (age, drugs, history) counts throughout.
RECENT_TURNS = 5
STICKY_TURNS = 2
# A finding told this often in one message is there; further mentions are counted without weighing each.
MOST_JUDGED = 30
YES = re.compile(
    r"^(?!对了|对于|是这样|是不是|是什么|有没有|有什么|有啥|有哪|都有什么|都有哪|会不会|可能是|嗯*[，、]?(?:谢|知道|明白|了解))"
    r"(?:(?:嗯+|恩|啊|哦|对|是|有|都有|确实|没错|好像|就是|差不多|yes|yeah|系|想过|试过)"
    r"|(?:会|应该|可能|经常|偶尔|每天|一直)(?:会|都|有|是|这样|的)*(?=[，。！？；\n]|$))"
    r"(?:的|啊|呀|呢|哦|对|嗯|有|是|了|一点|些|点|都|会|啦|，|。|、)*"
)
NO = re.compile(
    r"^(?:都|也|全|暂时|目前|现在|一样|一个)*(?:没有|没|不是|不|没得|木有|no|否|无)(?:的|啊|呀|呢|了|哦|都|没有|没)*(?=[，。！？；\n]|$|就|只|我|他|她|但|这|是)"
)
ROUTINE_TOPIC = re.compile(
    r"平时|以后|日常|饮食|吃什么|能吃|可以吃|能喝|报销|挂号|多少钱|费用|几点|复查|康复|预防|锻炼|运动|谢谢|感谢|再见|换个问题|另外问|还想问|顺便"
)
OVER = re.compile(
    r"(?:已经|都)?(?:好了|没事了|缓解了|不疼了|不痛了|退烧了|醒了|到医院了|在医院|在急诊|住院了|送医院了|120(?:已经)?(?:来了|到了)|医生(?:看过|说)|检查(?:过|了|都)|恢复了|在抢救|救护车(?:已经)?(?:来了|到了))"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One text, read: which findings it states as present, passed, or denied, with their mentions."""

    source: Normalised
    present: dict[str, tuple[Mention, ...]]
    passed: frozenset[str]
    denied: frozenset[str]
    sentences: tuple[frozenset[str], ...]
    said: frozenset[str]
    curious: bool = False
    evidence: bool = False
    routine_topic: bool = False
    over: bool = False
    yes: bool = False
    no: bool = False
    question: bool = False
    excused: bool = False
    cautious: bool = False
    framed: bool = False

    def shifted(self, length: int) -> Reading:
        """The same reading with offsets into the text without its first `length` characters."""
        offsets = tuple(max(0, offset - length) for offset in self.source.offsets)
        return replace(self, source=Normalised(self.source.text, offsets))


@dataclass(slots=True)
class Facts:
    """The conversation's facts: `current` come from the newest message, `earlier` from the turns before."""

    current: set[str] = field(default_factory=set)
    earlier: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    newest: Reading | None = None
    recent: bool = False

    @property
    def all(self) -> set[str]:
        return self.current | self.earlier


def read_text(text: str, lexicon: Lexicon) -> Reading:
    """The facts that one message states."""
    source = normalise(text)
    scan = lexicon.scan(source.text)
    source = Normalised(scan.text, source.offsets)
    context = Context(scan)
    present: dict[str, list[Mention]] = {}
    passed: set[str] = set()
    denied: set[str] = set()
    unreal = False
    cancelled = _cancelled(scan.mentions, len(scan.text), lexicon)
    for mention in scan.mentions:
        if any(cancelled.get(mention.finding, b"")[mention.start : mention.end]):
            denied.add(mention.finding)
            continue
        spec = lexicon.findings[mention.finding]
        told = present.setdefault(mention.finding, [])
        if len(told) >= MOST_JUDGED:
            told.append(mention)
            continue
        status = context.status(mention, spec.negatable)
        if status is Status.PRESENT or status.value in spec.accept:
            told.append(mention)
        elif status is Status.RESOLVED:
            passed.add(mention.finding)
        elif status is Status.NEGATED:
            denied.add(mention.finding)
        else:
            unreal = True
    present = {name: told for name, told in present.items() if told}
    for name in list(present):
        spec = lexicon.findings[name]
        if spec.becomes is not None and spec.unless not in present:
            present.setdefault(spec.becomes, []).extend(present[name])
    whole = (0, len(scan.text))
    return Reading(
        source,
        {name: tuple(found) for name, found in present.items()},
        frozenset(passed - set(present)),
        frozenset(denied - set(present)),
        _by_sentence(context, present),
        frozenset(m.finding for m in scan.mentions),
        curious=bool(context.has("study", whole) or context.has("know", whole) or context.has("exam", whole)),
        evidence=context.present_evidence(whole),
        routine_topic=bool(ROUTINE_TOPIC.search(scan.text)),
        over=bool(OVER.search(scan.text)) and not context.has("still", whole),
        yes=bool(YES.match(scan.text)),
        no=bool(NO.match(scan.text)),
        question=bool(QUESTION.search(scan.text)),
        cautious=bool(denied - set(present)) or unreal or bool(context.has("mild", whole)),
        excused=_excused(scan.mentions, present, lexicon),
        framed=any(context.has(name, whole) for name in ("exam", "dream")),
    )


def _cancelled(mentions: Sequence[Mention], length: int, lexicon: Lexicon) -> dict[str, bytearray]:
    """By finding, the places of the text (`length` characters, 1 where so) that another finding takes back."""
    places: dict[str, bytearray] = {}
    for mention in mentions:
        for name in lexicon.findings[mention.finding].cancels:
            size = mention.end - mention.start
            places.setdefault(name, bytearray(length))[mention.start : mention.end] = b"\x01" * size
    return places


def _by_sentence(context: Context, present: Mapping[str, Sequence[Mention]]) -> tuple[frozenset[str], ...]:
    """The present findings of each sentence that has any."""
    found: dict[tuple[int, int], set[str]] = {}
    for name, mentions in present.items():
        for mention in mentions:
            found.setdefault(context.sentence_of(mention.start), set()).add(name)
    return tuple(frozenset(names) for _, names in sorted(found.items()))


def _excused(mentions: Sequence[Mention], present: Iterable[str], lexicon: Lexicon) -> bool:
    """Whether complaints were named and none of them counts (denied, past, asked about …)."""
    named = {m.finding for m in mentions if not lexicon.findings[m.finding].background}
    return bool(named) and not any(name in named for name in present)


def read_question(text: str, lexicon: Lexicon) -> Reading:
    """An assistant turn: only what it asked for matters, question by question, so no context is read."""
    source = normalise(text)
    questions = questions_in(source.text)
    asked = tuple(_asked_for(question, lexicon) for question in questions)
    said = frozenset[str]().union(*asked)
    return Reading(source, {}, frozenset(), frozenset(), asked, said, question=bool(asked))


def _asked_for(question: str, lexicon: Lexicon) -> frozenset[str]:
    """What a question asks for: the finding of a reviewed question, else what its words name."""
    own = frozenset(name for text, name in lexicon.asking.items() if text in question)
    named = own if own else frozenset(m.finding for m in lexicon.scan(question).mentions)
    return frozenset(n for n in named if own or not lexicon.findings[n].background)


def gather(readings: Sequence[tuple[str, Reading]], lexicon: Lexicon) -> Facts:
    """Facts of a conversation; `readings` are (role, reading) with the newest user message last."""
    facts = Facts()
    users = sum(role == "user" for role, _ in readings)
    seen = last = 0
    asked: tuple[frozenset[str], ...] = ()
    for role, reading in readings:
        if role != "user":
            asked = reading.sentences
            continue
        seen += 1
        _fold(facts, lexicon)
        _absorb(facts, reading, asked, recent=users - seen <= RECENT_TURNS, lexicon=lexicon)
        if not _only_background(reading, lexicon):
            last = seen
        asked = ()
    facts.recent = users - last <= STICKY_TURNS
    return facts


def _only_background(reading: Reading, lexicon: Lexicon) -> bool:
    return all(lexicon.findings[name].background for name in reading.present)


def _fold(facts: Facts, lexicon: Lexicon) -> None:
    facts.earlier |= facts.current
    facts.current = set()


def _absorb(
    facts: Facts, reading: Reading, asked: Sequence[frozenset[str]], *, recent: bool, lexicon: Lexicon
) -> None:
    present = set(reading.present)
    if reading.over and not present & {n for n in present if not lexicon.findings[n].background}:
        symptoms = {n for n in facts.earlier if not lexicon.findings[n].background}
        facts.earlier -= symptoms
    answered = frozenset[str]().union(*asked)
    affirmed, denied = answers(reading.source.text, asked, yes=reading.yes, no=reading.no)
    facts.earlier -= denied - present
    present |= affirmed - reading.denied
    if answered and answered <= reading.denied:
        facts.earlier -= answered - present
    facts.earlier -= reading.denied - present
    facts.passed = (facts.passed | reading.passed) - present
    facts.current = present if recent else {n for n in present if lexicon.findings[n].background}
    facts.newest = reading
