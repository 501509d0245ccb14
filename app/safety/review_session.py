"""The review of one answer while it is being written: hold, release, amend, block.

Owns what is released when, and the verdict. What is wrong with a sentence is found in `review_checks.py`. It fails
closed: an exception, or a sentence that took longer than the deadline, ends the answer with a reviewed sentence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from app.safety.citations import cited_numbers
from app.safety.review_checks import LIST_ITEM, SUBSTANCE, Checks, Judged, Parts, met_by_next
from app.safety.sentences import SentenceBuffer
from app.safety.types import ReviewContext, ReviewResult, Verdict, Violation, ViolationCode

log = logging.getLogger(__name__)

MOST = 0.5


class Session:
    """Implements `ReviewSession`. Not for use by several threads at once."""

    def __init__(self, parts: Parts, context: ReviewContext) -> None:
        self._parts = parts
        self._context = context
        self._checks = Checks(parts, context)
        self._buffer = SentenceBuffer()
        self._draft: list[str] = []
        self._shown: list[str] = []
        self._kept_back: list[str] = []
        self._held: Judged | None = None
        self._violations: list[Violation] = []
        self._wordings: set[str] = set()
        self._blocked = False
        self._closed: ReviewResult | None = None
        self._sent = False
        self._sentences = 0
        self._faulty = 0

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
        mark = len(self._shown)
        try:
            step()
        except Exception as error:
            # Only the kind of error: its message or trace could hold the patient's words.
            log.error("review failed, answer blocked: %s", type(error).__name__)
            del self._shown[mark:]
            wording = self._parts.wording
            self._block(wording.emergency if self._checks.must_send and not self._sent else wording.fallback)
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
            started = self._parts.clock()
            self._sentences += SUBSTANCE.search(raw) is not None
            for ready in self._settle(self._checks.judge(raw)):
                self._release(ready)
                if self._blocked:
                    return
            spent_s = self._parts.clock() - started
            if spent_s > self._parts.deadline_s:
                raise TimeoutError(f"review of a sentence took {spent_s:.3f} s")

    def _finish(self) -> None:
        self._take(self._buffer.close())
        for ready in () if self._blocked else self._settle(None):
            self._release(ready)
        if not self._blocked:
            self._end()

    def _settle(self, judged: Judged | None) -> list[Judged]:
        """Return the sentences whose judgement is final now that `judged` has followed them."""
        ready: list[Judged] = []
        if self._held is not None:
            held, self._held = self._held, None
            held.found = [found for found in held.found if not met_by_next(found, judged)]
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
            judged.add(found.rule.code, found.rule.id, found.rule.wording, found.rule.action)
        if judged.violations:
            self._faulty += 1
            self._checks.add_claim_codes(judged)
        elif SUBSTANCE.search(judged.raw):
            self._faulty += self._checks.check_claims(judged)
        self._violations.extend(judged.violations)
        if judged.block:
            self._block(self._blocking_wording(judged))
            return
        text = judged.raw if judged.text is None else judged.text
        if judged.violations and judged.text is None:
            text = self._amended(judged)
        self._checks.cared |= judged.view.cares and not judged.violations
        self._show_through_emergency(text, judged)

    def _amended(self, judged: Judged) -> str:
        ending = "\n" if judged.raw.endswith("\n") else ""
        if judged.wording == "" or judged.wording in self._wordings:
            return ""
        self._wordings.add(judged.wording)
        lead = LIST_ITEM.match(judged.raw)
        return (lead.group() if lead else "") + judged.wording + ending

    def _blocking_wording(self, judged: Judged) -> str:
        codes = {violation.code for violation in judged.violations}
        wording = self._parts.wording
        if ViolationCode.SELF_HARM_METHOD in codes or self._checks.crisis:
            return wording.crisis
        if ViolationCode.MISSED_EMERGENCY in codes or self._checks.urgent:
            return wording.emergency
        return wording.fallback

    def _show_through_emergency(self, text: str, judged: Judged) -> None:
        """In an emergency nothing is shown before a sentence that sends the reader to help."""
        if not self._checks.must_send or self._sent:
            self._show(text)
            return
        self._kept_back.append(text)
        if self._checks.helps(judged.view) and not judged.violations:
            self._sent = True
            self._show("".join(self._kept_back))
            self._kept_back.clear()

    def _end(self) -> None:
        """Check the answer as a whole: emergency sent, dangerous pair warned of, enough left to be useful."""
        if self._checks.must_send and not self._sent:
            self._add_emergency()
            return
        warning = self._missing_warning()
        if self._mostly_wrong() or (self._sentences and not SUBSTANCE.search("".join(self._shown))):
            self._block(warning if warning else self._parts.wording.fallback)
        elif warning:
            self._show_apart(warning)

    def _add_emergency(self) -> None:
        """The answer never sent the reader to help: say so first, and drop an answer that was faulty anyway."""
        span = "".join(self._draft).strip()
        self._violations.append(Violation(ViolationCode.MISSED_EMERGENCY, span, "missed_emergency.silent"))
        wording = self._parts.wording.crisis if self._checks.crisis else self._parts.wording.emergency
        kept = "".join(self._kept_back)
        if self._faulty or not SUBSTANCE.search(kept):
            self._block(wording)
            return
        self._kept_back.clear()
        self._show(wording + "\n")
        self._show(kept)

    def _missing_warning(self) -> str:
        finding = None if self._checks.found_pair else self._checks.pairs.unwarned()
        if finding is None:
            return ""
        code = ViolationCode.CONTRAINDICATED_COMBINATION
        self._violations.append(Violation(code, "".join(self._draft).strip(), f"{finding.rule}.silent"))
        return self._parts.combinations.warning(finding, self._parts.wording)

    def _mostly_wrong(self) -> bool:
        return self._sentences >= 2 and self._faulty / self._sentences > MOST
