"""Decides how urgent a message is, before any model sees it.

Owns the order of the triage steps and the choice of level, category, notices and deciding questions. Recognition is
in `findings.py`, context in `context.py`, facts over turns in `triage_facts.py`, rules in `rules/*.yaml`, the
paraphrase detector in `triage_semantic.py`, and the texts in `notices.py`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from app.safety.normalise import normalise
from app.safety.notices import WAIT_NOT, notices_for
from app.safety.triage_answers import BARE_NUMBER, asked_quantity
from app.safety.triage_facts import (
    Facts,
    Reading,
    gather,
    read_question,
    read_text,
)
from app.safety.triage_rulebook import RULES_FOLDER, Rulebook, RuleFileError, load_rulebook
from app.safety.triage_rules import Fired, evaluate
from app.safety.triage_semantic import Matrix, Read, Semantic, embed_query, read_urgency, told
from app.safety.types import RANK, Level, Span, TriageResult, Turn, Vector

log = logging.getLogger(__name__)

MAX_CHARS = 4000
MAX_TURNS = 20
MAX_QUESTIONS = 3
CACHED_READINGS = 1024
MOST_SHOWN = 20
# A harmless cause that the message itself names; the rules still judge, likeness alone does not.
EXPLAINED = frozenset({"iron_or_food_black"})

Alarm = Callable[[str], None]
Embed = Callable[[str], Vector]


class TriageEngine:
    """Triage over a folder of rules; deterministic, no model, safe to share between threads after loading."""

    def __init__(
        self,
        book: Rulebook,
        folder: Path,
        semantic: Semantic | None = None,
        alarm: Alarm | None = None,
        embed: Embed | None = None,
        *,
        read: Read | None = None,
        detects: bool = True,
    ) -> None:
        self._book = book
        self._folder = folder
        self._semantic = semantic
        self._alarm = alarm
        self._embed = embed
        self._read_urgency = read
        self._detects = detects
        self._cache: OrderedDict[tuple[str, str], Reading] = OrderedDict()

    @classmethod
    def load(
        cls,
        folder: Path | None = None,
        *,
        alarm: Alarm | None = None,
        embed: Embed | None = embed_query,
        read: Read | None = read_urgency,
        semantic: bool = True,
    ) -> TriageEngine:
        """The engine over `folder` (the shipped rules by default). Raises RuleFileError or ValueError on bad files.

        `alarm` is told why a reload was refused. `embed` makes the query vector where the caller has none; with None
        the semantic detector reads words and facts only. `read` is the reader's opinion, None to do without.
        `semantic` False leaves the detector out, and the reader with it.
        """
        folder = RULES_FOLDER if folder is None else folder
        found = Semantic.load(folder) if semantic else None
        return cls(load_rulebook(folder), folder, found, alarm, embed, read=read, detects=semantic)

    @property
    def version(self) -> str:
        return self._book.version

    @property
    def book(self) -> Rulebook:
        return self._book

    def reload(self) -> bool:
        """Reads the folder again. A bad file keeps the rules in force, raises the alarm and returns False."""
        try:
            book = load_rulebook(self._folder)
            semantic = Semantic.load(self._folder) if self._detects else None
        except (RuleFileError, ValueError, OSError) as error:
            if self._alarm is not None:
                self._alarm(str(error))
            return False
        self._book, self._semantic, self._cache = book, semantic, OrderedDict()
        return True

    def assess(
        self, message: str, history: Sequence[Turn] = (), *, embedding: Vector | None = None
    ) -> TriageResult:
        """Level, category, notices and deciding questions for `message` in the light of `history` (oldest first).

        `embedding` is the message's query vector (384 values, unit length), made by `embed` when None.
        """
        reading, facts = self.gather(message, history)
        fired = self._fired(facts, reading)
        if not _emergency(fired):
            fired += self._paraphrased(message, history, embedding, reading, facts, bool(fired))
        elif not history and self._doubted(reading, facts, fired):
            fired = [self._lowered(f) for f in fired]
        return self._result(facts, reading, fired)

    def _doubted(self, reading: Reading, facts: Facts, fired: Sequence[Fired]) -> bool:
        """Whether the detectors are so sure of a harmless message that the rules' emergency becomes a doctor today.

        Only where every rule yields, and never for measured values: there a rule knows more than a likeness.
        """
        if self._semantic is None:
            return False
        if not all(self._yields(f) for f in fired if f.rule.level is Level.EMERGENCY):
            return False
        return self._semantic.doubts(reading.source.text, reading, facts, self._opinions)

    def _yields(self, fired: Fired) -> bool:
        measured = any(self._book.lexicon.findings[name].measures for name in fired.evidence)
        return fired.rule.yields and not measured

    @staticmethod
    def _lowered(fired: Fired) -> Fired:
        """The firing as something for today; its rule keeps its name, marked as doubted."""
        if fired.rule.level is not Level.EMERGENCY:
            return fired
        rule = fired.rule.model_copy(
            update={"id": f"{fired.rule.id}_doubted", "level": Level.URGENT, "category": "general"}
        )
        return Fired(rule, fired.evidence)

    def gather(self, message: str, history: Sequence[Turn] = ()) -> tuple[Reading, Facts]:
        """How the message is read, and what the conversation (oldest turn first) says about the patient."""
        turns = [(t.role, self._read(t.content, t.role)) for t in history[-MAX_TURNS:]]
        reading = self._read_answer(message, history)
        return reading, gather([*turns, ("user", reading)], self._book.lexicon)

    def _paraphrased(
        self,
        message: str,
        history: Sequence[Turn],
        embedding: Vector | None,
        reading: Reading,
        facts: Facts,
        urgent: bool,
    ) -> list[Fired]:
        if self._semantic is None or EXPLAINED & set(facts.current) or not reading.source.text.strip():
            return []
        if embedding is None and self._embed is not None:
            embedding = self._embed(message[:MAX_CHARS])
        text = told(reading, history)
        return self._semantic.judge(text, reading, facts, embedding, self._opinions, urgent=urgent)

    def _opinions(self, texts: Sequence[str]) -> Matrix | None:
        """The reader's opinion of texts, None without a reader. One that fails leaves rules and linear model in charge."""
        if self._read_urgency is None:
            return None
        try:
            return self._read_urgency(texts)
        except Exception as error:
            # Only the kind of error: its message or trace could hold the patient's words.
            log.error("reader failed: %s", type(error).__name__)
            return None

    def _read_answer(self, message: str, history: Sequence[Turn]) -> Reading:
        """The message, a bare number understood as the answer to the quantity last asked for."""
        quantity = (
            asked_quantity(history[-1].content) if history and history[-1].role == "assistant" else None
        )
        if quantity is None or not BARE_NUMBER.match(normalise(message).text):
            return self._read(message)
        reading = self._read(quantity + message)
        return reading.shifted(len(quantity))

    def read(self, text: str) -> Reading:
        """How one message is read, for explanations."""
        return self._read(text)

    def _read(self, text: str, role: str = "user") -> Reading:
        cached = self._cache.get((role, text))
        if cached is None:
            # Long texts keep both ends: what happened first and what is asked last.
            cut = text if len(text) <= MAX_CHARS else text[: MAX_CHARS // 2] + "\n" + text[-MAX_CHARS // 2 :]
            read = read_text if role == "user" else read_question
            cached = self._cache[role, text] = read(cut, self._book.lexicon)
            while len(self._cache) > CACHED_READINGS:
                self._cache.popitem(last=False)
        return cached

    def _fired(self, facts: Facts, reading: Reading) -> list[Fired]:
        fired = evaluate(self._book.rules, facts.all, facts.passed)
        fired += self._fired_locally(facts, reading, {f.rule.id for f in fired})
        newest = facts.current | set(reading.passed)
        return [f for f in fired if self._supported(f, facts, reading, newest)]

    def _fired_locally(self, facts: Facts, reading: Reading, known: set[str]) -> list[Fired]:
        """Rules that hold within one sentence although another sentence speaks against them (a year ago, a cold)."""
        book = self._book
        if len(reading.sentences) < 2 or facts.all.isdisjoint(book.vetoes):
            return []
        background = {n for n in facts.all if book.lexicon.findings[n].background} - book.vetoes
        vetoed = [r for r in book.rules if r.id not in known and not r.when.vetoes.isdisjoint(facts.all)]
        out: list[Fired] = []
        for sentence in dict.fromkeys(reading.sentences):
            told = sentence - background
            near = [r for r in vetoed if not r.when.evidence.isdisjoint(told)]
            for fired in evaluate(near, sentence | background, reading.passed):
                if fired.rule.id not in known:
                    known.add(fired.rule.id)
                    out.append(fired)
        return out

    def _supported(self, fired: Fired, facts: Facts, reading: Reading, newest: set[str]) -> bool:
        """Whether the newest message adds to the rule, or still speaks of the emergency that earlier turns told."""
        findings = self._book.lexicon.findings
        if any(name in newest and not findings[name].background for name in fired.evidence):
            return True
        if not any(not findings[name].background for name in fired.evidence):
            return bool(fired.evidence & newest)
        if reading.over or reading.no:
            return False
        if any(name in newest for name in fired.evidence):
            return True
        return (
            not (reading.curious or reading.routine_topic)
            and fired.evidence <= facts.earlier
            and facts.recent
        )

    def _result(self, facts: Facts, reading: Reading, fired: list[Fired]) -> TriageResult:
        order = sorted(
            fired, key=lambda f: (-RANK[f.rule.level], -f.rule.weight, -len(f.evidence), f.rule.id)
        )
        level = order[0].rule.level if order else Level.ROUTINE
        top = [f for f in order if f.rule.level is level]
        return TriageResult(
            level,
            top[0].rule.category if top else None,
            tuple(f.rule.id for f in order),
            tuple(_spans(order, reading)),
            notices_for((f.rule.category, level) for f in top),
            self._questions(facts, level),
            tuple(sorted(facts.all)),
        )

    def _questions(self, facts: Facts, level: Level) -> tuple[str, ...]:
        """What one more finding would raise the level with, as far as it suits a complaint; most telling first."""
        if level is Level.EMERGENCY:
            return ()
        findings, asks = self._book.lexicon.findings, self._book.asks
        complaints = [n for n in asks if n in facts.current and not findings[n].background]
        deciding = {
            name
            for rule in self._book.rules
            if rule.ask and RANK[rule.level] > RANK[level] and not rule.when.evidence.isdisjoint(complaints)
            for name in rule.when.one_short(facts.all)
        }
        suiting = [name for complaint in complaints for name in asks[complaint] if name in deciding]
        texts = list(dict.fromkeys(q for n in suiting if (q := findings[n].question) is not None))
        return (*texts[:MAX_QUESTIONS], WAIT_NOT) if texts else ()


def _emergency(fired: Sequence[Fired]) -> bool:
    return any(f.rule.level is Level.EMERGENCY for f in fired)


def _spans(fired: Sequence[Fired], reading: Reading) -> list[Span]:
    whole = (0, reading.source.offsets[-1] + 1) if reading.source.offsets else (0, 0)
    spans = {Span(*whole, f.rule.id) for f in fired if not f.evidence} | {
        Span(*reading.source.original_span(m.start, m.end), f.rule.id)
        for f in fired
        for name in f.evidence
        for m in reading.present.get(name, ())[:MOST_SHOWN]
    }
    return sorted(spans, key=lambda s: (s.start, s.end, s.rule))
