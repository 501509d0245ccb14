"""Follows the rule files of triage, or of review, while the service runs.

A changed folder is validated and taken over, or the last good version stays and an alarm counts. Every version that
comes into force is in the audit.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.admin.audit import AuditLog
from app.errors import AnxinError
from app.observability import log

ACTIVATED = "rules.activated"
REJECTED = "rules.rejected"
WATCH_S = 5.0


@dataclass(frozen=True, slots=True)
class Actions:
    """What the audit calls a version that came into force and one that was refused."""

    activated: str
    rejected: str


TRIAGE_RULES = Actions(ACTIVATED, REJECTED)
REVIEW_CODES = Actions("codes.activated", "codes.rejected")


class Reloadable(Protocol):
    """What follows a folder: `reload` returns False when the last good version stays."""

    @property
    def version(self) -> str: ...

    def reload(self) -> bool: ...


class RuleWatch:
    """`check` once, or `run` for ever."""

    def __init__(
        self, rules: Reloadable, folder: Path, audit: AuditLog, actions: Actions = TRIAGE_RULES
    ) -> None:
        self._rules = rules
        self._actions = actions
        self._folder = folder
        self._audit = audit
        self._seen = self._stamp()

    async def record_start(self) -> None:
        """Notes the version in force when it differs from the last one noted."""
        last = await self._audit.latest(self._actions.activated)
        if last is None or last.target != self._rules.version:
            await self._audit.record(None, self._actions.activated, self._rules.version, {"at": "start"})

    async def check(self) -> bool:
        """Takes over changed files; True when another version is in force afterwards."""
        stamp = await asyncio.to_thread(self._stamp)
        if stamp == self._seen:
            return False
        self._seen = stamp
        before = self._rules.version
        accepted = await asyncio.to_thread(self._rules.reload)
        if not accepted:
            log.error("rules_rejected", kept=before)
            await self._audit.record(None, self._actions.rejected, before, {"kept": before})
            return False
        if self._rules.version == before:
            return False
        log.warning("rules_changed", before=before, after=self._rules.version)
        await self._audit.record(
            None, self._actions.activated, self._rules.version, {"before": before, "at": "reload"}
        )
        return True

    async def run(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                await self.check()
            except AnxinError as error:
                log.error("rule_change_not_audited", code=error.code)

    def _stamp(self) -> tuple[tuple[str, int, int], ...]:
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return tuple((str(path), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in files)
