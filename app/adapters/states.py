"""The life of an adapter: its states, the moves between them, and its name. Pure; nothing is stored or called here.

registered -> loaded -> smoke_tested -> canary -> active
canary -> smoke_tested    the canary was ended
active -> smoke_tested    another version took over, or it was rolled back; it stays loaded
anything but active -> retired, which is final: the name is never used again
"""

from __future__ import annotations

import re
from enum import StrEnum

from app.adapters.errors import AdapterRejected, Reason
from app.chat.prompts import DEPARTMENTS
from app.errors import StateConflict


class State(StrEnum):
    REGISTERED = "registered"
    LOADED = "loaded"
    SMOKE_TESTED = "smoke_tested"
    CANARY = "canary"
    ACTIVE = "active"
    RETIRED = "retired"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.REGISTERED: frozenset({State.LOADED, State.RETIRED}),
    State.LOADED: frozenset({State.SMOKE_TESTED, State.RETIRED}),
    State.SMOKE_TESTED: frozenset({State.CANARY, State.ACTIVE, State.RETIRED}),
    State.CANARY: frozenset({State.ACTIVE, State.SMOKE_TESTED, State.RETIRED}),
    State.ACTIVE: frozenset({State.SMOKE_TESTED}),
    State.RETIRED: frozenset(),
}
ON_SERVERS = frozenset({State.LOADED, State.SMOKE_TESTED, State.CANARY, State.ACTIVE})
TAKES_TRAFFIC = frozenset({State.CANARY, State.ACTIVE})
_NAME = re.compile(r"([a-z_]{2,32})-v([1-9][0-9]{0,5})")


def require_transition(name: str, current: State, to: State) -> None:
    """Raises StateConflict when the table has no such move."""
    if to not in TRANSITIONS[current]:
        raise StateConflict(
            f"适配器 {name} 现在是 {current.value}，不能变为 {to.value}。",
            details={"name": name, "state": current.value, "wanted": to.value},
        )


def parse_name(name: str) -> tuple[str, int]:
    """Department and number of `<department>-v<N>`.

    Raises:
        AdapterRejected: another form, or an unknown department.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in DEPARTMENTS:
        raise AdapterRejected(Reason.BAD_NAME, "名称应为 <科室>-v<编号>，例如 cardiology-v3。")
    return match[1], int(match[2])
