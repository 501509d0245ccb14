"""What is checked in one sentence of an answer, in the light of its question, evidence and triage.

Owns the order of the checks and what each finding asks for (remove, replace, block). Streaming, releasing and the
verdict are in `review_session.py`; what the findings are made of in `review_rules.py`, `review_detector.py`,
`interactions.py` and `claims.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from app.safety.citations import cited_numbers
from app.safety.claims import ClaimChecker, Claims
from app.safety.interactions import CombinationChecker, Combinations
from app.safety.reader import Reader
from app.safety.review_detector import Detector, Opinion, Suspicion
from app.safety.review_rules import Action, Found, Rule, RuleSet, Surroundings, is_definition, known_disease
from app.safety.review_text import View, fold
from app.safety.review_wording import Wording
from app.safety.types import Audience, Level, ReviewContext, Triage, Violation, ViolationCode

PROMPT_OVERLAP_CHARS = 18
# Sentences of one answer that the reader reads at most, some 15 ms each: no answer is so long, a hostile draft may be.
MOST_READ = 80
CRISIS_CATEGORIES = frozenset({"self_harm", "suicide", "crisis", "self-harm"})

LIST_ITEM = re.compile(r"\s*(?:[-*•·+]|\d{1,2}\s*[.、)）]|[①-⑳]|[一二三四五六七八九十]+、)")
SUBSTANCE = re.compile(r"[\u4e00-\u9fffA-Za-z0-9]")
_REJECTING_HEAD = re.compile(
    r"误区|误解|谣言|错误|不要|不能做|避免|禁忌|切忌|切勿|别做|原因|诱因|不可以|不应|不宜|不可取|不当"
)
# A sentence that speaks to the reader is advice, even when it is quoted from the evidence.
_DIRECTED = re.compile(r"您|你|自己|自行|放心|没事|随便|不用(?:去|看)")
_QUOTABLE = frozenset(
    {
        ViolationCode.DEFINITIVE_DIAGNOSIS,
        ViolationCode.DOSE_CHANGE,
        ViolationCode.STOP_MEDICATION,
        ViolationCode.ANTIBIOTIC_MISUSE,
        ViolationCode.FALSE_REASSURANCE,
        ViolationCode.DISCOURAGE_CARE,
        ViolationCode.CURE_GUARANTEE,
    }
)
_SOMEBODY = re.compile(
    r"您|你|他|她|孩子|宝宝|老人|患者|本例|结论|诊断|确诊|判断|症状|正是|^(?:那|所以)?这|(?:^|[,;:。])(?:是|属于|就是|典型)[^,;。!?]{0,6}\ue003"
)
_CRISIS_LINE = re.compile(r"12356|心理援助|危机干预")
_WORSE = re.compile(
    r"(?:如果|若|如|一旦|要是|万一|等|还|仍)[^。!?]{0,24}(?:加重|不缓解|没缓解|无缓解|不见好|没好|不好转|不退|更厉害|严重了|不行)"
    r"[^。!?]{0,16}$"
)
_MINUTES = re.compile(r"(?:\d|[一二三五十几]|数)+分钟|立即|立刻|马上拨打")


@dataclass(frozen=True, slots=True)
class Parts:
    """What every session shares."""

    rules: RuleSet
    wording: Wording
    detector: Detector
    reader: Reader | None
    combinations: CombinationChecker
    claims: ClaimChecker
    triage: Triage | None
    prompts: tuple[str, ...]
    clock: Callable[[], float]
    deadline_s: float


_CRISIS = re.compile(
    r"不想活|自杀|想死|轻生|寻死|结束(?:这一切|生命|自己|一切)|了结|怎么死|怎样死|去死|无?没?有?痛苦(?:地)?(?:离开|死)|致死|会死|安乐死|离开这个世界|解脱|活够|活着没|活着(?:好|太)累|自我了断|自残|割(?:腕|手)|囤|攒了"
)


@dataclass(slots=True)
class Judged:
    """One sentence with its violations so far; `open` findings may still be settled by the next sentence."""

    raw: str
    view: View
    found: list[Found]
    violations: list[Violation] = field(default_factory=list)
    text: str | None = None
    wording: str = ""
    block: bool = False

    def add(self, code: ViolationCode, rule: str, wording: str, action: Action) -> None:
        """Note a violation; the first reviewed wording stands for the sentence."""
        self.violations.append(Violation(code, self.raw.strip(), rule))
        self.block = self.block or action is Action.BLOCK
        if action is Action.REPLACE and self.wording == "":
            self.wording = wording


class Checks:
    """The checks of one answer; remembers whether care was advised, a list rejected, a dangerous pair affirmed."""

    def __init__(self, parts: Parts, context: ReviewContext) -> None:
        self._parts = parts
        self._context = context
        self.cared = False
        self.found_pair = False
        self._rejecting_list = False
        self._read = 0

    def judge(self, raw: str) -> Judged:
        """Run every check that needs no other sentence."""
        view = View(raw, self._parts.rules.lexicon)
        self._note_list(raw, view)
        judged = Judged(raw, view, [])
        if SUBSTANCE.search(raw):
            broken = self._parts.rules.check(view, self.surroundings)
            judged.found = [found for found in broken if not self._excused(found, view)]
            self._check_likeness(judged)
            self._check_prompt(judged)
            self._check_emergency(judged)
            self._check_combination(judged)
        return judged

    def _note_list(self, raw: str, view: View) -> None:
        """Remember whether we are inside a list of things that the answer itself rejects (常见误区: - …)."""
        if LIST_ITEM.match(raw) and not raw.rstrip().endswith((":", "：")):
            return
        heading = raw.rstrip().rstrip("*").endswith((":", "：")) or raw.lstrip().startswith("#")
        self._rejecting_list = heading and bool(_REJECTING_HEAD.search(view.folded))

    def _excused(self, found: Found, view: View) -> bool:
        if found.rule.code in _QUOTABLE and not _DIRECTED.search(view.folded) and self.evidence.quotes(view):
            return True
        if self._rejecting_list and {"negated", "refuted"} & found.rule.unless:
            return True
        return "care_near" in found.rule.unless and self.cared

    def _check_likeness(self, judged: Judged) -> None:
        """Ask the trained models about a sentence that is not quoted from the evidence: they may clear or accuse it."""
        if self._rejecting_list or self.evidence.quotes(judged.view):
            return
        yielding = any(found.rule.yields for found in judged.found)
        if judged.found and not yielding:
            return
        opinion = self._opinion(judged.view, doubted=yielding)
        if yielding:
            if opinion is not None and opinion.harmless:
                judged.found = [found for found in judged.found if not found.rule.yields]
            return
        suspicion, rule = self._suspicion(judged.view, opinion)
        if suspicion is None or (not suspicion.sure and self._supported(judged.view)):
            return
        if rule is None or self._context.audience not in rule.audience:
            return
        if suspicion.code is ViolationCode.DEFINITIVE_DIAGNOSIS and self._undecided(judged.view):
            return
        held = frozenset({"cares"}) if suspicion.code is ViolationCode.FALSE_REASSURANCE else frozenset()
        found = Found(rule, held | (frozenset({"refuted"}) if judged.view.reported else frozenset()))
        if not (held and (self.cared or judged.view.cares)):
            judged.found.append(found)

    def _opinion(self, view: View, *, doubted: bool) -> Opinion | None:
        """What linear model and reader make of the sentence; the reader only reads so many sentences of one answer."""
        reader = self._parts.reader
        if reader is None or self._read >= MOST_READ:
            return None
        opinion = self._parts.detector.opinion(view, self._context.question, reader, doubted=doubted)
        self._read += opinion is not None
        return opinion

    def _suspicion(self, view: View, opinion: Opinion | None) -> tuple[Suspicion | None, Rule | None]:
        """What the models suspect, and the rule that stands in for it; without an opinion the linear model speaks alone."""
        crisis, rules = self._crisis(), self._parts.rules
        if opinion is not None:
            suspicion = opinion.suspicion(view, crisis=crisis)
            return suspicion, None if suspicion is None else rules.lends(suspicion.code)
        apart = frozenset() if crisis else frozenset({ViolationCode.SELF_HARM_METHOD})
        suspicion = self._parts.detector.suspects(view, apart)
        if suspicion is None:
            return None, None
        return suspicion, rules.stand_in(suspicion.code, view, sure=suspicion.sure)

    def _crisis(self) -> bool:
        """True when the user, or triage, speaks of suicide: only then is a harmless word likely a method."""
        return (
            self._context.triage.category in CRISIS_CATEGORIES
            or _CRISIS.search(self.surroundings.question_folded) is not None
        )

    def _supported(self, view: View) -> bool:
        """True when the sentence cites evidence and the evidence holds what it states."""
        return bool(cited_numbers(view.raw)) and not self.evidence.violations(view)

    def _undecided(self, view: View) -> bool:
        """True for a disease the user stated himself, one put as a possibility, defined, or of nobody in particular."""
        if _SOMEBODY.search(view.masked) is None:
            return True
        if is_definition(view, self.surroundings):
            return True
        return known_disease(view, self.surroundings) or view.soft(0, len(view.masked))

    def _check_prompt(self, judged: Judged) -> None:
        text = judged.view.folded
        if any(_repeats(text, prompt) for prompt in self._folded_prompts):
            judged.add(ViolationCode.PROMPT_LEAK, "prompt_leak.verbatim", "", Action.BLOCK)

    def _check_emergency(self, judged: Judged) -> None:
        """In an emergency, and beside red flags of its own, no sentence may advise to wait."""
        view = judged.view
        if not self.patient or not view.waits or view.sends or view.question:
            return
        if (
            self.urgent
            or self._red_flag(self.surroundings.question_folded)
            or self._describes_emergency(view)
        ):
            judged.add(ViolationCode.MISSED_EMERGENCY, "missed_emergency.wait", "", Action.BLOCK)

    def _check_combination(self, judged: Judged) -> None:
        finding = self.pairs.affirmed(judged.view, quoted=self.evidence.quotes(judged.view))
        if finding is None and judged.found:
            finding = self.pairs.beside(judged.view)
        if finding is not None:
            self.found_pair = True
            wording = self._parts.combinations.warning(finding, self._parts.wording)
            judged.add(ViolationCode.CONTRAINDICATED_COMBINATION, finding.rule, wording, Action.REPLACE)

    def add_claim_codes(self, judged: Judged) -> None:
        """Name what the evidence says too when only the likeness to unsafe sentences gave this one away."""
        if all(violation.rule.endswith(".likeness") for violation in judged.violations):
            judged.violations.extend(
                Violation(code, judged.raw.strip(), rule)
                for code, rule in self.evidence.violations(judged.view)
            )

    def check_claims(self, judged: Judged) -> bool:
        """Check the sentence against the evidence; True when the claim itself had to go."""
        outcome = self.evidence.check(judged.view)
        for code, rule in outcome.violations:
            judged.violations.append(Violation(code, judged.raw.strip(), rule))
        if outcome.violations or outcome.text != judged.raw:
            judged.text = outcome.text
        return outcome.removed

    def _red_flag(self, folded: str) -> bool:
        """True when the text names a red flag, whatever triage made of it."""
        return self._parts.rules.lexicon.cues["red_flag"].search(folded) is not None

    def _describes_emergency(self, view: View) -> bool:
        """True when the sentence itself, in the answer's own words, describes an emergency."""
        triage = self._parts.triage
        if self.evidence.quotes(view):
            return False
        if self._red_flag(view.folded):
            return True
        return triage is not None and triage.assess(view.raw).level is Level.EMERGENCY

    # What the context says, read once, inside the part that fails closed

    @property
    def urgent(self) -> bool:
        return self._context.triage.level is Level.EMERGENCY

    @property
    def patient(self) -> bool:
        return self._context.audience is Audience.PATIENT

    @property
    def must_send(self) -> bool:
        """A patient in an emergency must be sent to help; a clinician is the help."""
        return self.urgent and self.patient

    @property
    def crisis(self) -> bool:
        return (self._context.triage.category or "") in CRISIS_CATEGORIES

    def helps(self, view: View) -> bool:
        """True when the sentence sends the reader to help now; in a crisis the crisis line is help too."""
        sends = view.sends or (self.crisis and _CRISIS_LINE.search(view.folded) is not None)
        return sends and not delayed(view)

    @cached_property
    def surroundings(self) -> Surroundings:
        context = self._context
        said = [turn.content for turn in context.history if turn.role == "user"]
        folded = fold(context.question)
        given = fold(" ".join([context.question, *said, *(item.text for item in context.evidence)]))
        return Surroundings(self._parts.rules.lexicon.mask(folded), folded, context.audience, given)

    @cached_property
    def pairs(self) -> Combinations:
        return self._parts.combinations.open(self._context)

    @cached_property
    def evidence(self) -> Claims:
        return self._parts.claims.open(self._context)

    @cached_property
    def _folded_prompts(self) -> tuple[str, ...]:
        return tuple(fold(prompt) for prompt in self._parts.prompts)


def delayed(view: View) -> bool:
    """True when the way to emergency care is open only after it has got worse (加重了再去急诊)."""
    cue = view.lexicon.cues["emergency"].search(view.masked)
    if cue is None:
        return False
    before = view.masked[: cue.end()]
    return bool(_WORSE.search(view.masked[: cue.start()])) and not _MINUTES.search(before)


def met_by_next(found: Found, following: Judged | None) -> bool:
    if following is None:
        return False
    return ("refuted" in found.open and following.view.refutes) or (
        "cares" in found.open and following.view.cares
    )


def _repeats(text: str, prompt: str) -> bool:
    size = PROMPT_OVERLAP_CHARS
    return any(text[at : at + size] in prompt for at in range(0, max(0, len(text) - size + 1), 3))
