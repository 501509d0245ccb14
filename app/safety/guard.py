"""Makes the review fail closed: whatever goes wrong inside a session becomes a blocked answer with an honest text."""

from __future__ import annotations

import structlog

from app.safety.types import ReviewContext, Reviewer, ReviewResult, ReviewSession, Verdict

FALLBACK = (
    "抱歉，这个回答没有通过安全审核，暂时不能展示。请换个问法再试，或直接咨询医生。"
    "如果现在情况紧急，请立即拨打120。"
)
log = structlog.get_logger("safety")


class GuardedSession:
    """A review session that never raises and never lets text pass once something broke."""

    def __init__(self, session: ReviewSession | None) -> None:
        self._session = session
        self._shown = ""

    def feed(self, text: str) -> str:
        if self._session is None:
            return ""
        try:
            ready = self._session.feed(text)
        except Exception as error:
            self._broken(error)
            return ""
        self._shown += ready
        return ready

    def close(self) -> tuple[str, ReviewResult]:
        if self._session is not None:
            try:
                return self._session.close()
            except Exception as error:
                self._broken(error)
        tail = f"\n\n{FALLBACK}" if self._shown else FALLBACK
        return tail, ReviewResult(Verdict.BLOCKED, self._shown + tail)

    def _broken(self, error: Exception) -> None:
        log.error("review_failed", error=type(error).__name__, exc_info=True)
        self._session = None


def guarded(reviewer: Reviewer, context: ReviewContext) -> ReviewSession:
    try:
        return GuardedSession(reviewer.open(context))
    except Exception as error:
        log.error("review_failed", error=type(error).__name__, exc_info=True)
        return GuardedSession(None)
