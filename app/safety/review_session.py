"""The review of one answer while it is being written: hold, judge, release, amend, block.

Owns the order of checks on a sentence, what is released when, and the verdict. It fails closed: an exception or a
spent deadline ends the answer with the reviewed fallback sentence.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from app.safety.claims import ClaimChecker, Claims, cited_numbers
from app.safety.interactions import CombinationChecker, Combinations
from app.safety.review_detector import Detector
from app.safety.review_rules import Action, Found, RuleSet, Surroundings, known_disease
from app.safety.review_text import View, fold
from app.safety.review_wording import Wording
from app.safety.sentences import SentenceBuffer
from app.safety.types import Audience, Level, ReviewContext, ReviewResult, Triage, Verdict, Violation, ViolationCode

log = logging.getLogger(__name__)

PROMPT_OVERLAP_CHARS = 18
MOST = 0.5
CRISIS_CATEGORIES = frozenset({"self_harm", "suicide", "crisis", "self-harm"})

_LIST_ITEM = re.compile(r"\s*(?:[-*•·+]|\d{1,2}\s*[.、)）]|[①-⑳]|[一二三四五六七八九十]+、)")
_REJECTING_HEAD = re.compile(r"误区|误解|谣言|错误|不要|不能做|避免|禁忌|切忌|切勿|别做|原因|诱因|不可以|不应|不宜|不可取|不当")
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
_SUBSTANCE = re.compile(r"[\u4e00-\u9fffA-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class Parts:
    """What every session shares."""

    rules: RuleSet
    wording: Wording
    detector: Detector
    combinations: CombinationChecker
    claims: ClaimChecker
    triage: Triage | None
    prompts: tuple[str, ...]
    clock: Callable[[], float]
    deadline_s: float


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


class Session:
    """Implements `ReviewSession`. Not for use by several threads at once."""

    def __init__(self, parts: Parts, context: ReviewContext) -> None:
        self._parts = parts
        self._context = context
        self._buffer = SentenceBuffer()
        self._draft: list[str] = []
        self._shown: list[str] = []
        self._kept_back: list[str] = []
        self._held: Judged | None = None
        self._violations: list[Violation] = []
        self._wordings: set[str] = set()
        self._blocked = False
        self._closed: ReviewResult | None = None
        self._spent_s = 0.0
        self._rejecting_list = False
        self._cared = False
        self._sent = False
        self._sentences = 0
        self._faulty = 0
        self._found_pair = False
        self._around: Surroundings | None = None
        self._combinations: Combinations | None = None
        self._claims: Claims | None = None

    def feed(self, text: str) -> str:
        """Take a piece of the draft; return what may be shown now."""
        if self._closed is not None:
            return ""
        self._draft.append(text)
        return self._safely(lambda: self._take(self._buffer.feed(text)))

    def close(self) -> tuple[str, ReviewResult]:
        """Review the rest; return the last text to show and the result. A second call returns the same result."""
        if self._closed is not None:
            return "", self._closed
        rest = self._safely(self._finish)
        text = "".join(self._shown)
        verdict = Verdict.PASS
        if self._blocked:
            verdict = Verdict.BLOCKED
        elif self._violations or text != "".join(self._draft):
            verdict = Verdict.AMENDED
        self._closed = ReviewResult(verdict, text, tuple(self._violations), cited_numbers(text))
        return rest, self._closed

    # Showing text, and failing closed

    def _safely(self, step: Callable[[], None]) -> str:
        if self._blocked:
            return ""
        mark, started = len(self._shown), self._parts.clock()
        try:
            step()
            self._spent_s += self._parts.clock() - started
            if self._spent_s > self._parts.deadline_s:
                raise TimeoutError(f"review took {self._spent_s:.3f} s")
        except Exception as error:
            # Only the kind of error: its message or trace could hold the patient's words.
            log.error("review failed, answer blocked: %s", type(error).__name__)
            del self._shown[mark:]
            self._block(self._parts.wording.fallback)
        return "".join(self._shown[mark:])

    def _show(self, text: str) -> None:
        if text:
            self._shown.append(text)

    def _show_apart(self, text: str) -> None:
        """Show `text` on a line of its own."""
        if self._shown and not self._shown[-1].endswith("\n"):
            self._shown.append("\n")
        self._show(text)

    def _block(self, wording: str) -> None:
        self._blocked = True
        self._kept_back.clear()
        self._held = None
        self._show_apart(wording)

    # One sentence after the other

    def _take(self, sentences: list[str]) -> None:
        for raw in sentences:
            for ready in self._settle(self._judge(raw)):
                self._release(ready)
                if self._blocked:
                    return

    def _finish(self) -> None:
        self._take(self._buffer.close())
        for ready in () if self._blocked else self._settle(None):
            self._release(ready)
        if not self._blocked:
            self._end()

    def _judge(self, raw: str) -> Judged:
        view = View(raw, self._parts.rules.lexicon)
        self._note_list(raw, view)
        judged = Judged(raw, view, [])
        if not _SUBSTANCE.search(raw):
            return judged
        self._sentences += 1
        judged.found = [found for found in self._parts.rules.check(view, self._surroundings) if not self._excused(found, view)]
        self._check_likeness(judged)
        self._check_prompt(judged)
        self._check_emergency(judged)
        self._check_combination(judged)
        return judged

    def _settle(self, judged: Judged | None) -> list[Judged]:
        """Return the sentences whose judgement is final now that `judged` has followed them."""
        ready: list[Judged] = []
        if self._held is not None:
            held, self._held = self._held, None
            held.found = [found for found in held.found if not _met_by_next(found, judged)]
            ready.append(held)
        if judged is None:
            return ready
        if judged.found and all(found.open for found in judged.found) and not judged.violations:
            self._held = judged
        else:
            ready.append(judged)
        return ready

    def _release(self, judged: Judged) -> None:
        """Show the sentence or what stands for it, after its evidence has been checked."""
        for found in judged.found:
            self._add(judged, found.rule.code, found.rule.id, found.rule.wording, found.rule.action)
        if judged.violations:
            self._faulty += 1
            self._add_claim_codes(judged)
        elif _SUBSTANCE.search(judged.raw):
            self._check_claims(judged)
        self._violations.extend(judged.violations)
        if judged.block:
            self._block(self._blocking_wording(judged))
            return
        text = judged.raw if judged.text is None else judged.text
        if judged.violations and judged.text is None:
            text = self._amended(judged)
        self._cared = self._cared or (judged.view.cares and not judged.violations)
        self._show_through_emergency(text, judged)

    def _amended(self, judged: Judged) -> str:
        ending = "\n" if judged.raw.endswith("\n") else ""
        if judged.wording == "" or judged.wording in self._wordings:
            return ""
        self._wordings.add(judged.wording)
        lead = _LIST_ITEM.match(judged.raw)
        return (lead.group() if lead else "") + judged.wording + ending

    def _blocking_wording(self, judged: Judged) -> str:
        codes = {violation.code for violation in judged.violations}
        wording = self._parts.wording
        if ViolationCode.SELF_HARM_METHOD in codes or self._crisis:
            return wording.crisis
        if ViolationCode.MISSED_EMERGENCY in codes or self._urgent:
            return wording.emergency
        return wording.fallback

    def _show_through_emergency(self, text: str, judged: Judged) -> None:
        """In an emergency nothing is shown before a sentence that sends the reader to help."""
        if not self._must_send or self._sent:
            self._show(text)
            return
        self._kept_back.append(text)
        helped = judged.view.sends or (self._crisis and _CRISIS_LINE.search(judged.view.folded) is not None)
        if helped and not judged.violations and not delayed(judged.view):
            self._sent = True
            self._show("".join(self._kept_back))
            self._kept_back.clear()

    def _end(self) -> None:
        """Check the answer as a whole: emergency sent, dangerous pair warned of, enough left to be useful."""
        if self._must_send and not self._sent:
            self._add_emergency()
            return
        warning = self._missing_warning()
        if self._mostly_wrong() or (self._sentences and not _SUBSTANCE.search("".join(self._shown))):
            self._block(warning if warning else self._parts.wording.fallback)
        elif warning:
            self._show_apart(warning)

    # The checks

    def _note_list(self, raw: str, view: View) -> None:
        """Remember whether we are inside a list of things that the answer itself rejects (常见误区: - …)."""
        if _LIST_ITEM.match(raw) and not raw.rstrip().endswith((":", "：")):
            return
        heading = raw.rstrip().rstrip("*").endswith((":", "：")) or raw.lstrip().startswith("#")
        self._rejecting_list = heading and bool(_REJECTING_HEAD.search(view.folded))

    def _excused(self, found: Found, view: View) -> bool:
        if found.rule.code in _QUOTABLE and not _DIRECTED.search(view.folded) and self._evidence.quotes(view):
            return True
        if self._rejecting_list and {"negated", "refuted"} & found.rule.unless:
            return True
        return "care_near" in found.rule.unless and self._cared

    def _check_likeness(self, judged: Judged) -> None:
        """Ask the trained detector about a sentence that broke no rule and is not quoted from the evidence."""
        detector, rules = self._parts.detector, self._parts.rules
        if judged.found or self._rejecting_list or self._evidence.quotes(judged.view):
            return
        suspicion = detector.suspects(judged.view)
        if suspicion is None:
            return
        rule = rules.stand_in(suspicion.code, judged.view)
        if rule is None or self._context.audience not in rule.audience:
            return
        if suspicion.code is ViolationCode.DEFINITIVE_DIAGNOSIS and self._undecided(judged.view):
            return
        held = frozenset({"cares"}) if suspicion.code is ViolationCode.FALSE_REASSURANCE else frozenset()
        found = Found(rule, held | (frozenset({"refuted"}) if judged.view.reported else frozenset()))
        if not (held and (self._cared or judged.view.cares)):
            judged.found.append(found)

    def _undecided(self, view: View) -> bool:
        """True for a disease the user stated himself, or one put as a possibility."""
        return known_disease(view, self._surroundings) or view.soft(0, len(view.masked))

    def _check_prompt(self, judged: Judged) -> None:
        text = judged.view.folded
        if any(_repeats(text, prompt) for prompt in self._folded_prompts):
            self._add(judged, ViolationCode.PROMPT_LEAK, "prompt_leak.verbatim", "", Action.BLOCK)

    def _check_emergency(self, judged: Judged) -> None:
        """In an emergency no sentence may advise to wait."""
        view = judged.view
        grave = self._urgent or self._red_flag
        if grave and self._patient and view.waits and not view.sends and not view.question:
            self._add(judged, ViolationCode.MISSED_EMERGENCY, "missed_emergency.wait", "", Action.BLOCK)

    def _check_combination(self, judged: Judged) -> None:
        finding = self._pairs.affirmed(judged.view, quoted=self._evidence.quotes(judged.view))
        if finding is not None:
            self._found_pair = True
            wording = self._parts.combinations.warning(finding, self._parts.wording)
            self._add(judged, ViolationCode.CONTRAINDICATED_COMBINATION, finding.rule, wording, Action.REPLACE)

    def _add_claim_codes(self, judged: Judged) -> None:
        """Name what the evidence says too when only the likeness to unsafe sentences gave this one away."""
        if all(violation.rule.endswith(".likeness") for violation in judged.violations):
            outcome = self._evidence.check(judged.view)
            judged.violations.extend(Violation(code, judged.raw.strip(), rule) for code, rule in outcome.violations)

    def _check_claims(self, judged: Judged) -> None:
        outcome = self._evidence.check(judged.view)
        for code, rule in outcome.violations:
            judged.violations.append(Violation(code, judged.raw.strip(), rule))
        if outcome.violations or outcome.text != judged.raw:
            judged.text = outcome.text
        if outcome.removed:
            self._faulty += 1

    def _add_emergency(self) -> None:
        """The answer never sent the reader to help: say so first, and drop an answer that was faulty anyway."""
        span = "".join(self._draft).strip()
        self._violations.append(Violation(ViolationCode.MISSED_EMERGENCY, span, "missed_emergency.silent"))
        wording = self._parts.wording.crisis if self._crisis else self._parts.wording.emergency
        kept = "".join(self._kept_back)
        if self._faulty or not _SUBSTANCE.search(kept):
            self._block(wording)
            return
        self._kept_back.clear()
        self._show(wording + "\n")
        self._show(kept)

    def _missing_warning(self) -> str:
        finding = None if self._found_pair else self._pairs.unwarned()
        if finding is None:
            return ""
        code = ViolationCode.CONTRAINDICATED_COMBINATION
        self._violations.append(Violation(code, "".join(self._draft).strip(), f"{finding.rule}.silent"))
        return self._parts.combinations.warning(finding, self._parts.wording)

    def _mostly_wrong(self) -> bool:
        return self._sentences >= 2 and self._faulty / self._sentences > MOST

    def _add(self, judged: Judged, code: ViolationCode, rule: str, wording: str, action: Action) -> None:
        judged.violations.append(Violation(code, judged.raw.strip(), rule))
        judged.block = judged.block or action is Action.BLOCK
        if action is Action.REPLACE and judged.wording == "":
            judged.wording = wording

    # Read from the context once, inside the part that fails closed

    @property
    def _urgent(self) -> bool:
        return self._context.triage.level is Level.EMERGENCY

    @property
    def _red_flag(self) -> bool:
        """True when the question names a red flag, whatever triage made of it: then nobody is told to wait."""
        cue = self._parts.rules.lexicon.cues["red_flag"]
        return cue.search(self._surroundings.question_folded) is not None

    @property
    def _patient(self) -> bool:
        return self._context.audience is Audience.PATIENT

    @property
    def _must_send(self) -> bool:
        """A patient in an emergency must be sent to help; a clinician is the help."""
        return self._urgent and self._patient

    @property
    def _crisis(self) -> bool:
        return (self._context.triage.category or "") in CRISIS_CATEGORIES

    @property
    def _surroundings(self) -> Surroundings:
        if self._around is None:
            lexicon = self._parts.rules.lexicon
            context = self._context
            said = [turn.content for turn in context.history if turn.role == "user"]
            folded = fold(context.question)
            given = fold(" ".join([context.question, *said, *(item.text for item in context.evidence)]))
            self._around = Surroundings(lexicon.mask(folded), folded, context.audience, given)
        return self._around

    @property
    def _pairs(self) -> Combinations:
        if self._combinations is None:
            self._combinations = self._parts.combinations.open(self._context)
        return self._combinations

    @property
    def _evidence(self) -> Claims:
        if self._claims is None:
            self._claims = self._parts.claims.open(self._context)
        return self._claims

    @property
    def _folded_prompts(self) -> tuple[str, ...]:
        return tuple(fold(prompt) for prompt in self._parts.prompts)


_CRISIS_LINE = re.compile(r"12356|心理援助|危机干预")
_WORSE = re.compile(
    r"(?:如果|若|如|一旦|要是|万一|等|还|仍)[^。!?]{0,24}(?:加重|不缓解|没缓解|无缓解|不见好|没好|不好转|不退|更厉害|严重了|不行)"
    r"[^。!?]{0,16}$"
)
_MINUTES = re.compile(r"(?:\d|[一二三五十几]|数)+分钟|立即|立刻|马上拨打")


def delayed(view: View) -> bool:
    """True when the way to emergency care is open only after it has got worse (加重了再去急诊)."""
    cue = view.lexicon.cues["emergency"].search(view.masked)
    if cue is None:
        return False
    before = view.masked[: cue.end()]
    return bool(_WORSE.search(view.masked[: cue.start()])) and not _MINUTES.search(before)


def _met_by_next(found: Found, following: Judged | None) -> bool:
    if following is None:
        return False
    return ("refuted" in found.open and following.view.refutes) or ("cares" in found.open and following.view.cares)


def _repeats(text: str, prompt: str) -> bool:
    size = PROMPT_OVERLAP_CHARS
    return any(text[at : at + size] in prompt for at in range(0, max(0, len(text) - size + 1), 3))
